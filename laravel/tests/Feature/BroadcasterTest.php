<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Feature;

use App\Events\TicketNoted;
use App\Events\TicketTouched;
use App\Jobs\BroadcastInsideThenFail;
use App\Jobs\BroadcastThenFail;
use App\Models\User;
use App\Notifications\TicketAssigned;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Broadcasting\Channel;
use Illuminate\Broadcasting\PresenceChannel;
use Illuminate\Broadcasting\PrivateChannel;
use Illuminate\Http\Request;
use Illuminate\Notifications\Events\BroadcastNotificationCreated;
use Illuminate\Queue\WorkerOptions;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Queue;
use PwdEdge\Laravel\Edge;
use PwdEdge\Laravel\Events\BroadcastMissed;
use PwdEdge\Laravel\Tests\TestCase;
use PwdEdge\Laravel\TicketChannel;

/** BROADCAST_DRIVER=edge. */
final class BroadcasterTest extends TestCase
{
    /** @dataProvider channels */
    public function test_event_reaches_the_room_of_its_channel($channel): void
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

    public function test_event_on_several_channels_reaches_each_room(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $ben = $this->clientIn(3, 'ben');

        event(new TicketNoted([new PrivateChannel('ticket.1'), new PrivateChannel('ticket.3')], []));

        $this->assertCount(1, $this->received($ana, 1));
        $this->assertCount(1, $this->received($ben, 3));
    }

    public function test_to_others_excludes_the_requesting_tab(): void
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

    public function test_session_of_another_user_is_not_excluded(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $desk = $this->clientIn(1, 'desk');
        $this->ask($desk->sessionId(), 'ana');

        broadcast(new TicketNoted(['ticket.1'], ['n' => 1]))->toOthers();
        Edge::broadcast('note', 1, [], Edge::session());

        $this->assertCount(2, $this->received($desk));
        $this->assertCount(2, $this->received($ana));
    }

    public function test_own_session_is_excluded(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $this->ask($ana->sessionId(), 'ana');

        broadcast(new TicketNoted(['ticket.1'], ['n' => 1]))->toOthers();
        Edge::broadcast('note', 1, [], Edge::session());

        $this->assertSame([], $this->received($ana));
    }

    public function test_failure_throws_a_broadcast_exception(): void
    {
        $this->boot($this->stack->data.'/missing.sock');

        $this->expectException(BroadcastException::class);
        $this->expectExceptionMessage('No such file or directory');
        event(new TicketNoted(['ticket.1'], []));
    }

    public function test_event_on_a_channel_reaches_its_members(): void
    {
        $desk = $this->clientInChannel('private-desk', 'desk');
        $ana = $this->clientIn(1, 'ana');

        event(new TicketNoted([new PrivateChannel('ticket.1'), new PrivateChannel('desk'), 'news'], ['n' => 1]));

        $events = $this->received($desk, ['private-desk']);
        $this->assertSame(['private-desk'], array_column($events, 'channel'));
        $this->assertSame([['n' => 1]], array_column($events, 'payload'));
        $this->assertSame([['ticket_id' => 1, 'n' => 1]], array_column($this->received($ana), 'payload'));
    }

    public function test_facade_sends_to_channels(): void
    {
        $desk = $this->clientInChannel('private-desk', 'desk');

        $delivery = Edge::broadcast('ticket_opened', ['private-desk', 'news'], []);

        $this->assertTrue($delivery->reached(5));
        $this->assertSame(1, $delivery->sessions());
        $this->assertSame(['ticket_opened'], array_column($this->received($desk, ['private-desk']), 'type'));
        $this->assertSame(1, Edge::channelRoom('private-desk')['sessions']);
    }

    public function test_app_decides_who_joins_a_channel(): void
    {
        $ana = $this->clientIn(1, 'ana');

        foreach (['private-desk', 'presence-office', 'private-App.Models.User.4', 'private-unknown'] as $channel) {
            $ana->joinChannel($channel);
            $this->assertSame('denied', $ana->answerAbout($channel)['payload']['code'] ?? null, $channel);
        }
    }

    public function test_members_of_a_presence_channel_see_what_the_app_tells_of_them(): void
    {
        $this->clientInChannel('presence-office', 'admin');
        $desk = $this->clientInChannel('presence-office', 'desk');

        $desk->joinChannel('presence-office');
        $this->assertSame([
            ['user_id' => 1, 'user_name' => 'admin', 'user_info' => ['role' => 'Admin']],
            ['user_id' => 5, 'user_name' => 'desk', 'user_info' => ['role' => 'FrontDesk']],
        ], $desk->answerAbout('presence-office')['payload']['users']);
    }

    public function test_notification_reaches_the_users_own_channel(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $ben = $this->clientIn(3, 'ben');

        User::where('username', 'ana')->firstOrFail()->notify(new TicketAssigned(1));

        $events = $this->received($ana, ['private-App.Models.User.3']);
        $this->assertSame([BroadcastNotificationCreated::class], array_column($events, 'type'));
        $this->assertSame(['private-App.Models.User.3'], array_column($events, 'channel'));
        $this->assertSame([1], array_column(array_column($events, 'payload'), 'ticket_id'));
        $this->assertSame([], $this->received($ben, 3));
    }

    public function test_channel_without_a_room_does_not_lose_the_others(): void
    {
        $ana = $this->clientIn(1, 'ana');

        event(new TicketNoted(['private-a b', 'ticket.1', 'private-ticket.01'], ['n' => 1]));

        $this->assertCount(1, $this->received($ana));
        $logged = array_values($this->logged());
        $this->assertCount(2, $logged);
        $this->assertStringContainsString('channel "private-a b" has no room', $logged[0]);
        $this->assertStringContainsString('channel "private-ticket.01" has no room', $logged[1]);
        $this->assertStringContainsString('"event":"ticket_noted"', $logged[0]);
    }

    public function test_event_without_any_room_throws_a_broadcast_exception(): void
    {
        $this->expectException(BroadcastException::class);
        $this->expectExceptionMessage('"a b"');
        event(new TicketNoted(['a b'], []));
    }

    public function test_absent_users_of_a_ticket_channel_are_reported(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $missed = new \ArrayObject();
        app('events')->listen(static function (BroadcastMissed $event) use ($missed): void {
            $missed->append($event);
        });
        config(['queue.default' => 'database']);
        $ben = User::where('username', 'ben')->firstOrFail();

        broadcast(new TicketNoted([(new TicketChannel(1))->to([3, $ben]), new TicketChannel(3)], ['n' => 1]));
        $this->work();

        $this->assertCount(1, $this->received($ana));
        $this->assertCount(1, $missed);
        $this->assertSame(['ticket_noted', 1, [4]], [$missed[0]->type, $missed[0]->ticketId, $missed[0]->users]);
        $this->assertSame(['ticket_id' => 1, 'n' => 1], $missed[0]->payload);
    }

    /** The queue tries again, and the edge answers as it did the first time. */
    public function test_exception_of_a_listener_retries_the_job_without_a_second_event(): void
    {
        $ana = $this->clientIn(1, 'ana');
        $positions = [];
        app('events')->listen(static function (BroadcastMissed $event) use (&$positions): void {
            $positions[] = $event->position;
            if (count($positions) === 1) {
                throw new \DomainException('the mail server');
            }
        });
        config(['queue.default' => 'database']);
        broadcast(new TicketNoted([(new TicketChannel(1))->to([4])], ['n' => 1]));

        $this->work();
        $this->assertSame(1, DB::table('jobs')->count(), 'the first attempt failed');
        $this->work();

        $this->assertSame(0, DB::table('jobs')->count());
        $this->assertSame([$positions[0], $positions[0]], $positions);
        $this->assertCount(1, $this->received($ana));
    }

    public function test_retried_job_does_not_deliver_again(): void
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

    public function test_queued_event_is_delivered_once_if_its_job_reruns(): void
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

    public function test_retry_with_another_body_does_not_deliver_again(): void
    {
        $ana = $this->clientIn(1, 'ana');
        config(['queue.default' => 'database']);
        broadcast(new TicketTouched());
        $row = (array) DB::table('jobs')->first();

        $this->work();
        DB::table('jobs')->insert($row); // the worker died before it could delete the job
        $this->work();

        $this->assertSame(0, DB::table('jobs')->count());
        $this->assertCount(1, $this->received($ana));
    }

    public function test_retried_job_does_not_repeat_events_of_its_sync_job(): void
    {
        $ana = $this->clientIn(1, 'ana');
        Queue::connection('database')->push(new BroadcastInsideThenFail());

        $this->work();
        $this->assertSame([1, 2, 3], array_column(array_column($this->received($ana), 'payload'), 'n'));

        $this->work();
        $this->assertSame(0, DB::table('jobs')->count());
        $this->assertSame([], $this->received($ana));
    }

    public function test_queued_broadcast_is_retried_until_the_edge_runs(): void
    {
        $away = $this->boot($this->stack->data.'/missing.sock', ['queue.default' => 'database']);
        broadcast(new TicketNoted(['ticket.1'], ['n' => 1]));
        $this->workOf($away);
        $this->assertSame(1, DB::table('jobs')->count(), 'released for another attempt');

        $this->laravel = $this->boot($this->stack->edge->socket);
        $ana = $this->clientIn(1, 'ana');
        $this->work();

        $this->assertCount(1, $this->received($ana));
    }

    /** A request of a user's tab, inside this process. */
    private function ask(string $session, string $user): void
    {
        $request = Request::create('/');
        $request->headers->set('X-Socket-ID', $session);
        $this->laravel->instance('request', $request);
        $request->setUserResolver(static function () use ($user): User {
            return User::where('username', $user)->firstOrFail();
        });
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
