<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Feature;

use App\Enums\TicketStatus;
use App\Models\SupportTicket;
use App\Models\SupportTicketMessage;
use App\Models\User;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Str;
use PwdEdge\Laravel\Events\BroadcastMissed;
use PwdEdge\Laravel\ModelWatcher;
use PwdEdge\Laravel\Tests\Support\AppProcess;
use PwdEdge\Laravel\Tests\Support\Wait;
use PwdEdge\Laravel\Tests\TestCase;
use PwdEdge\Laravel\WebSocketBroadcastService;

final class WatchedModelsTest extends TestCase
{
    public function test_created_message_is_broadcast_as_the_api_shows_it(): void
    {
        $ana = $this->clientIn(1, 'ana');

        $message = $this->message('watched');

        $shown = json_decode((string) response()->json($message)->getContent(), true);
        $this->assertSame([['ticket_id' => 1, 'message' => $shown]], array_column($this->received($ana), 'payload'));
    }

    public function test_status_is_broadcast_only_if_changed(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $ticket = SupportTicket::find(1);

        $ticket->update(['subject' => 'another '.uniqid()]);
        $ticket->update(['status' => 'closed']);
        $ticket->update(['status' => 'closed']);
        $ticket->update(['status' => 'open']);
        $ticket->update(['status' => 'closed']);

        $this->assertSame(['closed', 'open', 'closed'], $this->statuses($this->received($ana)));
    }

    public function test_events_in_a_transaction_are_sent_after_the_commit(): void
    {
        $ana = $this->clientIn(1, 'ana');

        DB::transaction(function () use ($ana): void {
            $this->message('first');
            DB::transaction(function (): void {
                $this->message('second');
            });
            SupportTicket::find(1)->update(['status' => 'resolved']);
            $this->assertSame([], $this->received($ana));
        });

        $this->assertSame(['new_message', 'new_message', 'ticket_status_update'], array_column($this->received($ana), 'type'));
    }

    public function test_rolled_back_message_is_not_broadcast(): void
    {
        $ana = $this->clientIn(1, 'ana');

        DB::beginTransaction();
        $this->message('never');
        DB::rollBack();
        DB::transaction(function (): void {
            $this->message('kept');
            try {
                DB::transaction(function (): void {
                    $this->message('savepoint');
                    throw new \DomainException();
                });
            } catch (\DomainException $expected) {
                return;
            }
        });

        $this->assertSame(['kept'], $this->texts($this->received($ana)));
    }

    public function test_message_is_broadcast_as_it_was_created(): void
    {
        $ana = $this->clientIn(1, 'ana');

        DB::transaction(function (): void {
            $message = $this->message('as created');
            $message->message = 'changed afterwards';
        });

        $this->assertSame(['as created'], $this->texts($this->received($ana)));
    }

    public function test_nested_object_is_broadcast_as_it_was_created(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $message = new class() extends SupportTicketMessage {
            protected $table = 'support_ticket_messages';

            protected $appends = ['mood'];

            public ?\ArrayObject $mood = null;

            public function getMoodAttribute()
            {
                return $this->mood ?? $this->mood = new \ArrayObject(['is' => 'as created']);
            }
        };
        (new ModelWatcher())->watch(app('events'), [get_class($message) => 'support_ticket_id'], []);

        DB::transaction(function () use ($message): void {
            $message->fill(['support_ticket_id' => 1, 'message' => 'x', 'sender_type' => 'admin', 'sender_id' => 1])->save();
            $message->mood['is'] = 'changed';
        });

        $this->assertSame([['is' => 'as created']], array_column(
            array_column(array_column($this->received($ana), 'payload'), 'message'), 'mood'));
    }

    public function test_users_whom_a_watched_model_names_are_reported_if_absent(): void
    {
        $this->clientIn(1, 'ana');
        $message = new class() extends SupportTicketMessage {
            protected $table = 'support_ticket_messages';

            public function broadcastTo(): array
            {
                return [3, 4, User::where('username', 'desk')->first()];
            }
        };
        $ticket = new class() extends SupportTicket {
            protected $table = 'support_tickets';

            public function broadcastTo(): array
            {
                return [$this->status === 'closed' ? 4 : 5];
            }
        };
        (new ModelWatcher())->watch(app('events'), [get_class($message) => 'support_ticket_id'], [get_class($ticket) => 'status']);
        $missed = [];
        app('events')->listen(static function (BroadcastMissed $event) use (&$missed): void {
            $missed[] = [$event->type, $event->users];
        });

        DB::transaction(function () use ($message, $ticket, &$missed): void {
            $message->fill(['support_ticket_id' => 1, 'message' => 'x', 'sender_type' => 'admin', 'sender_id' => 1])->save();
            $ticket->newQuery()->find(1)->update(['status' => 'closed']);
            $this->assertSame([], $missed);
        });
        WebSocketBroadcastService::broadcastNewMessage(1, $message);

        $this->assertSame([['new_message', [4, 5]], ['ticket_status_update', [4]]], $missed);
    }

    public function test_model_that_cannot_name_its_users_is_broadcast_all_the_same(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $message = new class() extends SupportTicketMessage {
            protected $table = 'support_ticket_messages';

            public function broadcastTo(): array
            {
                throw new \DomainException('no member');
            }
        };
        (new ModelWatcher())->watch(app('events'), [get_class($message) => 'support_ticket_id'], []);

        $message->fill(['support_ticket_id' => 1, 'message' => 'x', 'sender_type' => 'admin', 'sender_id' => 1])->save();

        $this->assertSame(['x'], $this->texts($this->received($ana)));
        $this->assertStringContainsString('broadcast without its recipients: no member', implode('', $this->logged()));
    }

    public function test_watched_and_explicit_broadcast_is_sent_once(): void
    {
        $ana = $this->clientIn(1, 'ana');

        $message = $this->message('both ways');
        $this->assertTrue(WebSocketBroadcastService::broadcastNewMessage('1', $message));
        SupportTicket::find(1)->update(['status' => 'closed']);
        $this->assertTrue(WebSocketBroadcastService::broadcastTicketStatusUpdate(1, 'closed'));

        $this->assertSame(['new_message', 'ticket_status_update'], array_column($this->received($ana), 'type'));
    }

    /**
     * @requires PHP 8.1
     * @dataProvider waysToSayClosed
     */
    public function test_watched_and_explicit_status_of_any_type_is_sent_once(string $given): void
    {
        $ana = $this->clientIn(1, 'ana');
        $ticket = new class() extends SupportTicket {
            protected $table = 'support_tickets';

            protected $casts = ['status' => TicketStatus::class];
        };
        (new ModelWatcher())->watch(app('events'), [], [get_class($ticket) => 'status']);

        $ticket->newQuery()->find(1)->update(['status' => TicketStatus::Closed]);
        $status = ['enum' => TicketStatus::Closed, 'value' => 'closed', 'stringable' => Str::of('closed')][$given];
        $this->assertTrue(WebSocketBroadcastService::broadcastTicketStatusUpdate(1, $status));

        $this->assertSame(['closed'], $this->statuses($this->received($ana)));
    }

    /** @return array<int, array<int, string>> */
    public function waysToSayClosed(): array
    {
        return [['enum'], ['value'], ['stringable']];
    }

    public function test_explicit_broadcast_before_the_commit_is_sent_once(): void
    {
        $ana = $this->clientIn(1, 'ana');

        DB::transaction(function (): void {
            $message = $this->message('early');
            $this->assertTrue(WebSocketBroadcastService::broadcastNewMessage(1, $message));
        });

        $this->assertCount(1, $this->received($ana));
    }

    public function test_explicit_broadcast_replaces_one_watched_change_only(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $ticket = SupportTicket::find(1);

        foreach (['closed', 'open', 'closed'] as $status) {
            $ticket->update(['status' => $status]);
            WebSocketBroadcastService::broadcastTicketStatusUpdate(1, $status);
        }

        $this->assertSame(['closed', 'open', 'closed'], $this->statuses($this->received($ana)));
    }

    public function test_deduplication_ends_with_the_request(): void
    {
        $ana = $this->clientIn(1, 'ana');

        WebSocketBroadcastService::broadcastNewMessage(1, ['id' => 1]);
        WebSocketBroadcastService::broadcastNewMessage(1, ['id' => 1]);
        $this->nextRequest();
        WebSocketBroadcastService::broadcastNewMessage(1, ['id' => 1]);

        $this->assertCount(2, $this->received($ana));
    }

    public function test_message_posted_over_https_arrives_over_wss(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $desk = $this->clientIn(1, 'desk');

        [$status, $answer] = $this->http('POST', $this->throughEdge('/api/support-tickets/1/messages'), 'desk', ['message' => 'Magandang umaga ☀']);

        $this->assertSame(201, $status);
        foreach ([$ana, $desk] as $client) {
            $events = $this->received($client);
            $this->assertSame(['new_message', 'ticket_status_update'], array_column($events, 'type'));
            $this->assertSame($answer['ticket_message'], $events[0]['payload']['message']);
            $this->assertSame('in_progress', $events[1]['payload']['status']);
        }

        [$status] = $this->http('PUT', $this->throughEdge('/api/support-tickets/1'), 'desk', ['status' => 'resolved']);
        $this->assertSame(200, $status);
        $this->assertSame(['resolved'], $this->statuses($this->received($ana)));
        $this->assertSame([], $this->logged());
    }

    public function test_socket_id_header_reaches_the_app(): void
    {
        $asking = $this->clientIn(1, 'ana');
        [$status, $answer] = $this->http('GET', $this->throughEdge('/echo/headers'), 'ana', null, ['X-Socket-ID: '.$asking->sessionId()]);

        $this->assertSame([200, [$asking->sessionId()]], [$status, $answer['x-socket-id']]);
    }

    public function test_logout_closes_the_sessions_of_the_user(): void
    {
        [$status, $login] = $this->http('POST', $this->throughEdge('/api/login'), 'ben', ['username' => 'ben', 'password' => 'secret-ben']);
        $this->assertSame(200, $status);
        $this->stack->tokens['ben, again'] = $login['access_token'];
        $ben = $this->clientIn(3, 'ben, again');

        [$status] = $this->http('POST', $this->throughEdge('/api/logout'), 'ben, again');

        $this->assertSame(200, $status);
        $ben->awaitClose();
        $this->assertNotNull($ben->closedWith);
    }

    public function test_controller_that_throws_after_the_insert_still_broadcasts(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $app = new AppProcess($this->stack->data, Wait::freePort(), ['EDGE_SOCKET' => $this->stack->edge->socket, 'APP_UNMODIFIED' => '1']);
        [$status] = $this->http('POST', 'http://127.0.0.1:'.$app->port.'/api/support-tickets/1/messages', 'ana', ['message' => 'stored']);
        $app->stop();

        $this->assertSame(500, $status);
        $this->assertSame(['stored'], $this->texts($this->received($ana)));
    }

    private function message(string $text): SupportTicketMessage
    {
        return SupportTicketMessage::create([
            'support_ticket_id' => 1, 'message' => $text, 'sender_type' => 'pwd_member', 'sender_id' => 1,
        ]);
    }

    /**
     * @param  array<int, array<string, mixed>>  $events
     * @return array<int, string>
     */
    private function texts(array $events): array
    {
        return array_column(array_column(array_column($events, 'payload'), 'message'), 'message');
    }

    /**
     * @param  array<int, array<string, mixed>>  $events
     * @return array<int, string>
     */
    private function statuses(array $events): array
    {
        return array_column(array_column($events, 'payload'), 'status');
    }
}
