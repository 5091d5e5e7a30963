<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Feature;

use App\Events\TicketNoted;
use App\Jobs\BroadcastThenFail;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PresenceChannel;
use Illuminate\Broadcasting\PrivateChannel;
use Illuminate\Http\Request;
use Illuminate\Queue\WorkerOptions;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Queue;
use PwdEdge\Laravel\Tests\TestCase;

/** BROADCAST_DRIVER=edge. */
final class BroadcasterTest extends TestCase
{
    /** @dataProvider channels */
    public function test_an_event_reaches_the_room_of_its_channel($channel): void
    {
        $ana = $this->clientIn(1, 'ana');

        event(new TicketNoted([$channel], ['note' => 'ñ', 'ticket_id' => 9]));

        $events = $this->received($ana);
        $this->assertSame(['ticket_noted'], array_column($events, 'type'));
        $this->assertSame([['ticket_id' => 1, 'note' => 'ñ']], array_column($events, 'payload'));
    }

    /** @return array<string, array<int, mixed>> */
    public function channels(): array
    {
        return [
            'public' => [new Channel('ticket.1')],
            'private' => [new PrivateChannel('ticket.1')],
            'presence' => [new PresenceChannel('ticket.1')],
            'by name' => ['private-encrypted-ticket.1'],
        ];
    }

    public function test_several_channels_are_one_call(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $ben = $this->clientIn(3, 'ben');

        event(new TicketNoted([new PrivateChannel('ticket.1'), new PrivateChannel('ticket.3')], []));

        $this->assertCount(1, $this->received($ana, 1));
        $this->assertCount(1, $this->received($ben, 3));
    }

    public function test_to_others_leaves_out_the_tab_that_asked(): void
    {
        $asking = $this->clientIn(1, 'ana');
        $other = $this->clientIn(1, 'ana');
        $this->assertMatchesRegularExpression('/\A\d+\.\d+\z/', $asking->sessionId());
        $request = Request::create('/');
        $request->headers->set('X-Socket-ID', $asking->sessionId());
        $this->laravel->instance('request', $request);

        broadcast(new TicketNoted(['ticket.1'], ['n' => 1]))->toOthers();

        $this->assertSame([], $this->received($asking));
        $this->assertCount(1, $this->received($other));
    }

    public function test_a_failure_is_a_broadcast_exception(): void
    {
        $this->boot($this->stack->data.'/nobody.sock');

        $this->expectException(BroadcastException::class);
        $this->expectExceptionMessage('No such file or directory');
        event(new TicketNoted(['ticket.1'], []));
    }

    public function test_a_channel_without_a_room_is_a_broadcast_exception(): void
    {
        $this->expectException(BroadcastException::class);
        $this->expectExceptionMessage('"private-App.Models.User.3"');
        event(new TicketNoted([new PrivateChannel('App.Models.User.3')], []));
    }

    public function test_a_retried_job_does_not_deliver_again(): void
    {
        $ana = $this->clientIn(1, 'ana');
        Queue::connection('database')->push(new BroadcastThenFail());

        $this->work();
        $this->assertSame(1, DB::table('jobs')->count(), 'the first attempt failed');
        $this->assertCount(2, $this->received($ana), 'two events alike in one job are two events');

        $this->work();
        $this->assertSame(0, DB::table('jobs')->count(), 'the second one did not');
        $this->assertSame([], $this->received($ana));
    }

    public function test_a_queued_broadcast_event_is_delivered_once_however_often_its_job_runs(): void
    {
        $ana = $this->clientIn(1, 'ana');
        config(['queue.default' => 'database']);
        broadcast(new TicketNoted(['ticket.1'], ['n' => 1]));
        $row = (array) DB::table('jobs')->first();

        $this->work();
        DB::table('jobs')->insert($row); // the worker died before it could delete the job
        $this->work();

        $this->assertSame(0, DB::table('jobs')->count());
        $this->assertCount(1, $this->received($ana));
    }

    public function test_a_queued_broadcast_waits_for_the_edge(): void
    {
        $away = $this->boot($this->stack->data.'/nobody.sock', ['queue.default' => 'database']);
        broadcast(new TicketNoted(['ticket.1'], ['n' => 1]));
        $this->workOf($away);
        $this->assertSame(1, DB::table('jobs')->count(), 'released for another attempt');

        $this->laravel = $this->boot($this->stack->edge->socket);
        $ana = $this->clientIn(1, 'ana');
        $this->work();

        $this->assertCount(1, $this->received($ana));
    }

    private function work(): void
    {
        $this->workOf($this->laravel);
    }

    private function workOf($app): void
    {
        $options = new WorkerOptions();
        $options->maxTries = 3;
        $options->backoff = 0;
        $options->sleep = 0;
        $app->make('queue.worker')->runNextJob('database', 'default', $options);
    }
}
