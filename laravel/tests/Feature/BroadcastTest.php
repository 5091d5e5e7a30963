<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Feature;

use App\Models\SupportTicketMessage;
use PwdEdge\Laravel\Client;
use PwdEdge\Laravel\Edge;
use PwdEdge\Laravel\Events\BroadcastMissed;
use PwdEdge\Laravel\Exceptions\EdgeRejected;
use PwdEdge\Laravel\Socket\Transport;
use PwdEdge\Laravel\Tests\Support\Wait;
use PwdEdge\Laravel\Tests\TestCase;
use PwdEdge\Laravel\WebSocketBroadcastService;

final class BroadcastTest extends TestCase
{
    public function test_message_arrives_as_the_api_shows_it(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $message = (new SupportTicketMessage())->forceFill([
            'id' => 4711, 'support_ticket_id' => 1, 'message' => 'hello', 'sender_type' => 'admin', 'sender_id' => 1,
        ]);

        $this->assertTrue(WebSocketBroadcastService::broadcastNewMessage(1, $message));

        $shown = json_decode((string) response()->json($message)->getContent(), true);
        $this->assertSame([
            ['type' => 'new_message', 'payload' => ['ticket_id' => 1, 'message' => $shown]],
        ], $this->withoutEnvelope($this->received($ana)));
    }

    public function test_status_arrives_with_a_numeric_ticket_id(): void
    {
        $ana = $this->clientIn(1, 'ana');

        $this->assertTrue(WebSocketBroadcastService::broadcastTicketStatusUpdate('1', 'resolved'));

        $this->assertSame([
            ['type' => 'ticket_status_update', 'payload' => ['ticket_id' => 1, 'status' => 'resolved']],
        ], $this->withoutEnvelope($this->received($ana)));
    }

    public function test_old_class_name_is_an_alias(): void
    {
        $this->assertTrue(class_exists('App\Services\WebSocketBroadcastService'));
        $this->assertTrue(\App\Services\WebSocketBroadcastService::isAvailable());
    }

    public function test_delivery_lists_the_reached_users(): void
    {
        $this->clientIn(1, 'ana');
        $this->clientIn(1, 'ana');
        $this->clientIn(1, 'admin');

        $delivery = Edge::broadcast('note', 1, ['n' => 1]);

        $users = $delivery->users();
        sort($users);
        $this->assertSame([3, [1, 3]], [$delivery->sessions(), $users]);
        $this->assertTrue($delivery->reached(3));
        $this->assertFalse($delivery->reached(4));
    }

    public function test_delivery_has_the_position_and_the_absent_users(): void
    {
        $this->clientIn(1, 'ana');

        $delivery = Edge::broadcast('note', 1, [], null, [3, 4, '9']);
        $later = Edge::broadcast('note', 1);

        $this->assertSame([4, 9], $delivery->absent());
        $this->assertMatchesRegularExpression('/\A[A-Za-z]{8}\.[0-9]+\z/', (string) $delivery->position());
        $this->assertNotSame($delivery->position(), $later->position());
        $this->assertSame([], $later->absent());
        $this->assertFalse($delivery->stored(), 'this edge keeps its history in memory');
    }

    public function test_receipts_name_the_users_who_have_an_event(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $position = (string) Edge::broadcast('note', 1)->position();

        $receipts = Edge::receipts($position);
        $this->assertSame(['ticket/1', [], [3], []], [$receipts['room'], $receipts['confirmed'], $receipts['pending'], $receipts['parked']]);

        Wait::until('the edge knows that ana has it', function () use ($ana, $position): bool {
            $this->received($ana);

            return Edge::receipts($position)['confirmed'] === [3];
        });
        $this->assertNull(Edge::receipts('no position'));
        $this->assertCount(1, $this->logged());
    }

    public function test_absent_users_are_reported_to_the_app(): void
    {
        $this->clientIn(1, 'ana');
        $missed = $this->missed();

        Edge::newMessage(1, ['id' => 7, 'message' => 'hello'], [3, 4]);
        Edge::statusUpdate(1, 'closed', [3]);
        $deliveries = Edge::batch(static function (): void {
            Edge::broadcast('note', 1, ['n' => 1], null, [5]);
        });

        $this->assertSame(['new_message', 'note'], array_column((array) $missed, 'type'));
        $this->assertSame([[4], [5]], array_column((array) $missed, 'users'));
        $this->assertSame(['ticket_id' => 1, 'message' => ['id' => 7, 'message' => 'hello']], $missed[0]->payload);
        $this->assertSame([1, $deliveries[0]->position()], [$missed[1]->ticketId, $missed[1]->position]);
    }

    public function test_exception_of_a_listener_does_not_fail_the_broadcast(): void
    {
        app('events')->listen(BroadcastMissed::class, static function (): void {
            throw new \DomainException('the mail server');
        });

        $this->assertTrue(Edge::broadcast('note', 1, [], null, [4])->sent());
        $this->assertStringContainsString('absent users not notified: the mail server', implode('', $this->logged()));
    }

    public function test_event_with_wrong_recipients_is_sent_without_them(): void
    {
        $missed = $this->missed();

        $this->assertTrue(Edge::broadcast('note', 1, [], null, [''])->sent());
        $this->assertTrue(Edge::newMessage(1, ['id' => 8], range(1, 101))->sent());

        $this->assertCount(0, $missed);
        $this->assertCount(2, $this->logged());
    }

    public function test_broadcast_to_an_empty_room_succeeds(): void
    {
        $delivery = Edge::broadcast('note', 4);

        $this->assertSame([true, 0, []], [$delivery->sent(), $delivery->sessions(), $delivery->users()]);
        $this->assertSame([], $this->logged());
    }

    public function test_broadcast_reaches_only_the_room_of_its_ticket(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $ben = $this->clientIn(3, 'ben');

        Edge::broadcast('note', 1, ['n' => 1]);

        $this->assertCount(1, $this->received($ana, 1));
        $this->assertSame([], $this->received($ben, 3));
    }

    public function test_session_in_except_receives_nothing(): void
    {
        $writing = $this->clientIn(1, 'ana');
        $other = $this->clientIn(1, 'ana');

        Edge::broadcast('note', 1, [], $writing->sessionId());

        $this->assertSame([], $this->received($writing));
        $this->assertCount(1, $this->received($other));
    }

    /** @dataProvider texts */
    public function test_text_arrives_byte_for_byte(string $text): void
    {
        $ana = $this->clientIn(1, 'ana');

        $this->assertTrue(WebSocketBroadcastService::broadcastNewMessage(1, ['message' => $text]));

        $got = $this->received($ana)[0]['payload']['message']['message'];
        $this->assertSame([strlen($text), hash('sha256', $text)], [strlen($got), hash('sha256', $got)]);
    }

    /** @return array<string, array<int, string>> */
    public function texts(): array
    {
        $mixed = "Kumusta? ñ Ünï 漢字 👩‍🦽 \u{202E}שלום\u{202C} \u{0} \u{2028}\u{2029} \"\\/ </script> \r\n\t e\u{301}";

        return [
            'unicode' => [$mixed],
            '200 KiB of ASCII' => [str_repeat('0123456789abcde ', 12800)],
            '200 KiB of Unicode' => [substr(str_repeat("漢字 👩‍🦽 ", 20000), 0, 20 * 10240 - 20 * 10240 % 19)],
            'empty' => [''],
        ];
    }

    public function test_batch_is_one_call_and_keeps_its_order(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $ben = $this->clientIn(3, 'ben');

        $deliveries = Edge::batch(function (): void {
            foreach ([1, 2, 3] as $n) {
                $this->assertFalse(Edge::broadcast('note', 1, ['n' => $n])->sent());
            }
            Edge::broadcast('note', 3, ['n' => 4]);
            $this->assertTrue(WebSocketBroadcastService::broadcastTicketStatusUpdate(1, 'closed'));
        });

        $this->assertSame([true, true, true, true, true], array_map(static function ($delivery) {
            return $delivery->sent();
        }, $deliveries));
        $this->assertSame([3], $deliveries[0]->users());
        $this->assertSame([4], $deliveries[3]->users());
        $this->assertSame([1, 2, 3, null], array_map(static function ($event) {
            return $event['payload']['n'] ?? null;
        }, $this->received($ana)));
        $this->assertCount(1, $this->received($ben, 3));
    }

    public function test_batch_larger_than_one_call_is_sent_whole(): void
    {
        $ana = $this->clientIn(1, 'ana');

        $deliveries = Edge::batch(static function (): void {
            for ($n = 0; $n < 230; $n++) {
                Edge::broadcast('note', 1, ['n' => $n]);
            }
            // Together over the limit of one call. No client reads them, because a client's queue is bounded too.
            Edge::broadcast('big', 4, ['text' => str_repeat('a', 700000)]);
            Edge::broadcast('big', 4, ['text' => str_repeat('b', 700000)]);
        });

        $this->assertCount(232, array_filter($deliveries, static function ($delivery): bool {
            return $delivery->sent();
        }));
        $this->assertSame(range(0, 229), array_column(array_column($this->received($ana), 'payload'), 'n'));
    }

    public function test_batch_that_throws_sends_its_earlier_events(): void
    {
        $ana = $this->clientIn(1, 'ana');

        try {
            Edge::batch(static function (): void {
                Edge::broadcast('note', 1);
                throw new \DomainException('the app');
            });
            $this->fail('the exception of the app was swallowed');
        } catch (\DomainException $apps) {
            $this->assertCount(1, $this->received($ana));
        }
    }

    public function test_repeated_idempotency_key_is_delivered_once(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $transport = new Transport($this->stack->edge->socket, 0.25, 1.0);
        $send = static function (string $key) use ($transport): array {
            return $transport->send('POST', '/broadcast', '{"type":"note","payload":{"ticket_id":1}}', [
                'Content-Type' => 'application/json', 'Idempotency-Key' => $key,
            ])->json();
        };

        $key = 'key-'.uniqid();
        $first = $send($key);
        $this->assertSame($first, $send($key));
        $send($key.'-other');

        $this->assertCount(2, $this->received($ana));
    }

    public function test_error_names_the_event_and_the_field(): void
    {
        $response = (new Transport($this->stack->edge->socket, 0.25, 1.0))->send('POST', '/broadcast',
            '[{"type":"a","payload":{"ticket_id":1}},{"type":"a","payload":{"ticket_id":"x"}}]',
            ['Content-Type' => 'application/json']);
        $cause = EdgeRejected::fromResponse($response->status, $response->json());

        $this->assertSame([400, 1, '/payload/ticket_id'], [$cause->status(), $cause->index(), $cause->pointer()]);
    }

    public function test_user_is_revalidated_and_disconnected(): void
    {
        $ben = $this->clientIn(3, 'ben');

        $this->assertSame(1, Edge::revalidateUser(4));
        $this->assertSame([], $this->received($ben, 3));
        $this->assertSame(1, Edge::disconnectUser(4));
        $ben->awaitClose();
        $this->assertNotNull($ben->closedWith);
        $this->assertSame(0, Edge::disconnectUser(4));
    }

    public function test_status_and_room_are_returned(): void
    {
        $this->clientIn(2, 'ana');

        $status = Edge::status();
        $room = Edge::ticketRoom(2);

        $this->assertSame([1, 2, true], [$status['sessions'], $status['rooms'], $status['upstream']['healthy']]);
        $this->assertSame('ticket/2', $room['room']);
        $this->assertSame([['user_id' => 3, 'user_name' => 'ana']], $room['users']);
    }

    public function test_calls_share_one_connection(): void
    {
        $client = app(Client::class);
        $this->assertSame($client, app(Client::class));
        $this->nextRequest();
        $this->assertSame($client, app(Client::class), 'the connection belongs to the process');
    }

    /** Collects the events about absent users. */
    private function missed(): \ArrayObject
    {
        $missed = new \ArrayObject();
        app('events')->listen(static function (BroadcastMissed $event) use ($missed): void {
            $missed->append($event);
        });

        return $missed;
    }

    /**
     * @param  array<int, array<string, mixed>>  $events
     * @return array<int, array<string, mixed>>
     */
    private function withoutEnvelope(array $events): array
    {
        return array_map(static function (array $event): array {
            return array_diff_key($event, ['timestamp' => 0, 'position' => '']);
        }, $events);
    }
}
