<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Broadcasting\Broadcasters\Broadcaster;
use Illuminate\Broadcasting\Broadcasters\UsePusherChannelConventions;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Support\Arr;
use InvalidArgumentException;
use JsonException;
use PwdEdge\Laravel\Events\BroadcastMissed;
use PwdEdge\Laravel\Exceptions\EdgeException;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

/**
 * The driver for BROADCAST_DRIVER=edge: sends Laravel's broadcast events on
 * `ticket.{id}`.
 *
 * A failure throws a BroadcastException, so that the queue retries the job.
 */
class EdgeBroadcaster extends Broadcaster
{
    use UsePusherChannelConventions;

    private Client $client;

    public function __construct(Client $client)
    {
        $this->client = $client;
    }

    /**
     * Authorizes a channel for a client that asks. The edge's clients do not: the
     * edge itself asks Laravel whether a user may see a ticket.
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
        return is_bool($result) ? ['authorized' => $result] : ['authorized' => true, 'user_info' => $result];
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

        try {
            $events = array_map(function ($channel) use ($event, $payload, $except, $owner): Event {
                $to = $channel instanceof TicketChannel ? $channel->users() : [];

                return new Event((string) $event, $this->ticketOf((string) $channel), $payload, $except, $owner, $to);
            }, array_values($channels));

            $deliveries = $this->send($events);
        } catch (EdgeException | InvalidArgumentException | JsonException $cause) {
            throw new BroadcastException('pwd-edge: '.$cause->getMessage(), 0, $cause);
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

    private function ticketOf(string $channel): string
    {
        if (preg_match('/\Aticket\.([0-9]+)\z/', $this->normalizeChannelName($channel), $match) !== 1) {
            throw new InvalidArgumentException(sprintf(
                'channel "%s" has no room on the edge; its rooms are "ticket.{id}"',
                $channel
            ));
        }

        return $match[1];
    }
}
