<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Closure;
use Illuminate\Broadcasting\Broadcasters\Broadcaster;
use Illuminate\Broadcasting\Broadcasters\UsePusherChannelConventions;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Support\Arr;
use InvalidArgumentException;
use JsonException;
use Psr\Log\LoggerInterface;
use PwdEdge\Laravel\Events\BroadcastMissed;
use PwdEdge\Laravel\Exceptions\EdgeException;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

/**
 * The driver for BROADCAST_DRIVER=edge: sends Laravel's broadcast events to the rooms
 * of their channels. `ticket.{id}` is the room of a ticket, each other channel has a
 * room of its own.
 *
 * A failure throws a BroadcastException, so that the queue retries the job.
 */
class EdgeBroadcaster extends Broadcaster
{
    use UsePusherChannelConventions;

    /** The edge accepts at most so many channels in one event. */
    private const MAX_CHANNELS = 100;

    private Client $client;

    /** @var Closure(): LoggerInterface */
    private Closure $log;

    private ?ChannelSignature $signature;

    /**
     * @param  Closure(): LoggerInterface  $log  called only if there is something to log
     */
    public function __construct(Client $client, Closure $log, ?ChannelSignature $signature = null)
    {
        $this->client = $client;
        $this->log = $log;
        $this->signature = $signature;
    }

    /**
     * Authorizes a channel. The edge asks when a client joins one.
     *
     * @param  \Illuminate\Http\Request  $request
     * @return mixed
     */
    public function auth($request)
    {
        $channel = $this->normalizeChannelName((string) $request->input('channel_name'));

        if ($channel === '' || ! $this->retrieveUser($request, $channel)) {
            throw new AccessDeniedHttpException();
        }

        return $this->verifyUserCanAccessChannel($request, $channel);
    }

    /**
     * @param  \Illuminate\Http\Request  $request
     * @param  mixed  $result
     * @return mixed
     */
    public function validAuthenticationResponse($request, $result)
    {
        if ($result === false) {
            return ['authorized' => false];
        }

        if ($this->signature !== null) {
            return ['authorized' => true] + $this->sign($this->signature, $request, $result);
        }

        return ['authorized' => true] + ($result === true ? [] : ['channel_data' => $this->member($request, $result)]);
    }

    /**
     * Returns what a Pusher client takes to the edge.
     *
     * @param  \Illuminate\Http\Request  $request
     * @param  mixed  $result
     * @return array<string, string>
     */
    private function sign(ChannelSignature $signature, $request, $result): array
    {
        $socket = (string) $request->input('socket_id');
        $channel = (string) $request->input('channel_name');

        // Parts of a signed text are separated by colons, so nothing else may hold one.
        if (preg_match('/\A\d+\.\d+\z/', $socket) !== 1 || ! Event::isChannel($channel)) {
            throw new AccessDeniedHttpException();
        }

        if (strncmp($channel, 'presence-', 9) !== 0) {
            return ['auth' => $signature->sign($socket, $channel)];
        }

        $member = json_encode($this->member($request, $result), JSON_THROW_ON_ERROR);

        return ['auth' => $signature->sign($socket, $channel, $member), 'channel_data' => $member];
    }

    /**
     * Returns what the members of a presence channel learn about the user.
     *
     * @param  \Illuminate\Http\Request  $request
     * @param  mixed  $info
     * @return array<string, mixed>
     */
    private function member($request, $info): array
    {
        $user = $this->retrieveUser($request, $this->normalizeChannelName((string) $request->input('channel_name')));
        $id = method_exists($user, 'getAuthIdentifierForBroadcasting')
            ? $user->getAuthIdentifierForBroadcasting()
            : $user->getAuthIdentifier();

        return ['user_id' => $id, 'user_info' => $info];
    }

    /**
     * @param  array<int, mixed>  $channels
     * @param  string  $event
     * @param  array<string, mixed>  $payload
     * @return void
     */
    public function broadcast(array $channels, $event, array $payload = [])
    {
        $session = Arr::pull($payload, 'socket');
        $except = is_string($session) ? $session : null;
        $owner = CurrentSession::ownerOf($except);

        [$rooms, $lost] = $this->rooms($channels);

        try {
            if ($rooms === [] && $lost !== []) {
                throw new InvalidArgumentException(self::noRoom($lost[0]));
            }

            $events = array_map(static function (array $room) use ($event, $payload, $except, $owner): Event {
                return new Event((string) $event, $room[0], $payload, $except, $owner, $room[1]);
            }, $rooms);

            $deliveries = $this->send($events);
        } catch (EdgeException | InvalidArgumentException | JsonException $cause) {
            throw new BroadcastException('pwd-edge: '.$cause->getMessage(), 0, $cause);
        }

        // The other channels have the event, and another attempt would not help this one.
        foreach ($lost as $channel) {
            ($this->log)()->error('pwd-edge: event not sent: '.self::noRoom($channel), ['event' => $event]);
        }

        // After all events are sent: a listener may throw.
        array_map([BroadcastMissed::class, 'fireFor'], $events, $deliveries);
    }

    /**
     * @param  array<int, Event>  $events
     * @return array<int, Delivery>
     *
     * @throws EdgeException
     */
    private function send(array $events): array
    {
        $deliveries = array_map(static function (): Delivery {
            return new Delivery();
        }, $events);

        $this->client->broadcast($events, static function (int $index, $result) use ($deliveries): void {
            $deliveries[$index]->settle($result);
        });

        return $deliveries;
    }

    /**
     * Sorts channels: the tickets and the lists of channels that have rooms on the edge,
     * each with the users whom the event is for, and the channels that can have none.
     *
     * @param  array<int, mixed>  $channels
     * @return array{0: array<int, array{0: int|string|array<int, string>, 1: array<int, int|string>}>, 1: array<int, string>}
     */
    private function rooms(array $channels): array
    {
        $tickets = [];
        $names = [];
        $lost = [];

        foreach ($channels as $channel) {
            $name = (string) $channel;
            $ticket = $this->ticketOf($name);

            if ($ticket !== null && Event::isTicket($ticket)) {
                $users = $channel instanceof TicketChannel ? $channel->users() : [];
                $tickets[$ticket] = array_merge($tickets[$ticket] ?? [], $users);

                // Pusher clients are in the channel, and not in the room of the ticket.
                if ($this->signature !== null && Event::isChannel($name)) {
                    $names[$name] = $name;
                }
            } elseif ($ticket === null && Event::isChannel($name)) {
                $names[$name] = $name;
            } else {
                $lost[$name] = $name;
            }
        }

        $rooms = array_map(null, array_keys($tickets), array_values($tickets));

        foreach (array_chunk(array_values($names), self::MAX_CHANNELS) as $chunk) {
            $rooms[] = [$chunk, []];
        }

        return [$rooms, array_values($lost)];
    }

    /** Returns the id in the name of a ticket's channel; null for all other channels. */
    private function ticketOf(string $channel): ?string
    {
        $isTicket = preg_match('/\Aticket\.([0-9]+)\z/', $this->normalizeChannelName($channel), $match) === 1;

        return $isTicket ? $match[1] : null;
    }

    private static function noRoom(string $channel): string
    {
        return sprintf(
            'channel "%s" has no room on the edge; a name has 1 to 200 letters, digits and characters of -_=@,.;',
            $channel
        );
    }
}
