<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Feature;

use App\Models\SupportTicketMessage;
use PwdEdge\Laravel\Edge;
use PwdEdge\Laravel\Tests\Support\AppProcess;
use PwdEdge\Laravel\Tests\Support\EdgeProcess;
use PwdEdge\Laravel\Tests\Support\Wait;
use PwdEdge\Laravel\Tests\TestCase;
use PwdEdge\Laravel\WebSocketBroadcastService;

/** The edge is away, hangs or says no: the request goes on and the log has one line. */
final class FailureTest extends TestCase
{
    private ?EdgeProcess $other = null;

    protected function tearDown(): void
    {
        if ($this->other !== null) {
            $this->other->stop();
        }
        parent::tearDown();
    }

    public function test_broadcast_without_an_edge_fails_with_one_log_line(): void
    {
        $this->boot($this->stack->data.'/missing.sock');

        $this->assertFalse(WebSocketBroadcastService::broadcastNewMessage(1, ['id' => 1]));
        $this->assertCount(1, $this->logged());
        $this->assertStringContainsString('No such file or directory', implode($this->logged()));

        $this->assertFalse(WebSocketBroadcastService::isAvailable());
        $this->assertCount(1, $this->logged(), 'asking is not a failure');
    }

    public function test_facade_without_an_edge_returns_null(): void
    {
        $this->boot($this->stack->data.'/missing.sock');

        $this->assertSame([null, null, null, null, null], [
            Edge::disconnectUser(1), Edge::revalidateUser(1), Edge::status(), Edge::ticketRoom(1), Edge::receipts('kQzVbTfa.1'),
        ]);
        $this->assertCount(5, $this->logged());
    }

    public function test_web_request_without_an_edge_succeeds(): void
    {
        $app = new AppProcess($this->stack->data, Wait::freePort(), ['EDGE_SOCKET' => $this->stack->data.'/missing.sock']);
        [$status] = $this->http('POST', 'http://127.0.0.1:'.$app->port.'/api/support-tickets/1/messages', 'ana', ['message' => 'x']);
        $app->stop();

        $this->assertSame(201, $status);
        $this->assertCount(1, $this->logged(), 'watched and called, but logged once');
    }

    public function test_hanging_edge_delays_only_one_broadcast(): void
    {
        $this->other = $this->stack->anotherEdge('hang');
        $this->boot($this->other->socket, ['edge.timeout_ms' => 1000]);
        $this->other->freeze();

        try {
            for ($n = 0; $n < 50; $n++) {
                $this->assertFalse(WebSocketBroadcastService::broadcastNewMessage(1, ['id' => $n]));
            }
        } finally {
            $this->other->thaw();
        }

        $this->assertCount(1, $this->logged(), 'after the first, the rest of the request is not held up');
        $this->assertStringContainsString('no response from the edge within 1000 ms', implode($this->logged()));
        Wait::until('the edge responds again', [WebSocketBroadcastService::class, 'isAvailable']);
        $this->assertTrue(WebSocketBroadcastService::broadcastNewMessage(1, ['id' => 51]));
    }

    public function test_broadcast_after_a_restart_arrives_without_a_log_line(): void
    {
        $this->other = $this->stack->anotherEdge('restart');
        $this->boot($this->other->socket);
        $this->assertTrue(Edge::broadcast('note', 1)->sent());

        foreach ([SIGTERM, SIGKILL] as $signal) {
            $this->other->stop($signal);
            $this->other->start();
            $ana = $this->clientIn(1, 'ana', $this->other);

            $delivery = Edge::broadcast('note', 1, ['signal' => $signal]);
            Edge::broadcast('last', 1);

            $this->assertSame([true, 1], [$delivery->sent(), $delivery->sessions()]);
            $this->assertSame([$signal], array_map(static function ($event) {
                return $event['payload']['signal'];
            }, $ana->before('last')));
            $ana->close();
        }

        $this->assertSame([], $this->logged());
    }

    public function test_broadcast_fails_while_stopped_and_works_after_start(): void
    {
        $this->other = $this->stack->anotherEdge('between');
        $this->boot($this->other->socket);
        $this->assertTrue(Edge::broadcast('note', 1)->sent());

        $this->other->stop();
        $this->assertFalse(Edge::broadcast('note', 1)->sent());
        $this->other->start();
        $this->assertTrue(Edge::broadcast('note', 1)->sent());
        $this->assertCount(1, $this->logged());
    }

    public function test_broadcast_by_an_unlisted_uid_fails_with_403(): void
    {
        $this->other = $this->stack->anotherEdge('reject', posix_geteuid() + 1);
        $this->boot($this->other->socket);

        $this->assertFalse(WebSocketBroadcastService::broadcastTicketStatusUpdate(1, 'closed'));
        $this->assertFalse(WebSocketBroadcastService::isAvailable());
        $this->assertCount(1, $this->logged());
        $this->assertStringContainsString('the edge responded 403', implode($this->logged()));
    }

    public function test_invalid_payload_causes_one_log_line(): void
    {
        $this->assertFalse(WebSocketBroadcastService::broadcastNewMessage(1, ['text' => "\xff"]));
        $this->assertFalse(WebSocketBroadcastService::broadcastNewMessage('1abc', ['text' => 'x']));
        $this->assertCount(2, $this->logged());
    }

    public function test_too_large_message_causes_one_log_line(): void
    {
        $this->assertFalse(WebSocketBroadcastService::broadcastNewMessage(1, ['text' => str_repeat('x', 2 << 20)]));
        $this->assertCount(1, $this->logged());
        $this->assertStringContainsString('the edge responded 413', implode($this->logged()));
        $this->assertTrue(WebSocketBroadcastService::isAvailable());
    }

    public function test_throwing_accessor_does_not_fail_the_insert(): void
    {
        $message = new class() extends SupportTicketMessage {
            protected $table = 'support_ticket_messages';

            public function getSenderNameAttribute()
            {
                throw new \DomainException('no sender');
            }
        };
        config(['edge.watch' => ['messages' => [get_class($message) => 'support_ticket_id']]]);
        (new \PwdEdge\Laravel\ModelWatcher())->watch(app('events'), [get_class($message) => 'support_ticket_id'], []);

        $message->fill(['support_ticket_id' => 1, 'message' => 'x', 'sender_type' => 'admin', 'sender_id' => 1])->save();

        $this->assertTrue($message->exists);
        $this->assertStringContainsString('no sender', implode($this->logged()));
    }

    public function test_disabled_package_sends_and_logs_nothing(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $this->boot($this->stack->edge->socket, ['edge.enabled' => false]);

        $this->assertFalse(WebSocketBroadcastService::broadcastNewMessage(1, ['id' => 1]));
        $this->assertFalse(WebSocketBroadcastService::isAvailable());
        $this->assertNull(Edge::disconnectUser(3));
        $this->assertSame([], $this->received($ana));
        $this->assertSame([], $this->logged());
    }
}
