<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use PwdEdge\Laravel\Exceptions\EdgeException;
use PwdEdge\Laravel\Exceptions\EdgeRejected;
use PwdEdge\Laravel\Socket\Transport;

/**
 * The edge's socket API, one method for each request. Every method throws an
 * EdgeException on failure. Web requests, which must not fail for a broadcast,
 * use {@see Edge} instead.
 */
class Client
{
    /** The edge accepts at most 100 events and 1 MiB in one call. An event counts for each channel. */
    private const MAX_EVENTS = 100;

    private const MAX_BYTES = 1000000;

    private Transport $transport;

    private JobKeys $keys;

    public function __construct(Transport $transport, JobKeys $keys)
    {
        $this->transport = $transport;
        $this->keys = $keys;
    }

    /**
     * Sends events. The edge accepts or rejects each call as a whole. More events
     * than fit into one call are sent in several.
     *
     * @param  array<int, Event>  $events
     * @param  callable(int, mixed): void|null  $settled  receives the index and the result of each event, call by call
     *
     * @throws EdgeException
     */
    public function broadcast(array $events, ?callable $settled = null): void
    {
        foreach ($this->calls(array_values($events)) as $call) {
            $body = count($call) === 1 ? (string) reset($call) : '['.implode(',', $call).']';
            $response = $this->post('/broadcast', $body, count($call));
            $results = count($call) === 1 ? [$response] : $response;

            if (! is_array($results) || count($results) !== count($call)) {
                throw EdgeRejected::invalidResponse('the response does not match the number of events');
            }

            if ($settled !== null) {
                array_map($settled, array_keys($call), array_values($results));
            }
        }
    }

    /**
     * Closes the user's sessions: after a log-out, or when an account is closed.
     *
     * @param  int|string  $userId
     * @return int the number of closed sessions
     *
     * @throws EdgeException
     */
    public function disconnectUser($userId): int
    {
        return $this->sessions($this->post('/users/'.rawurlencode((string) $userId).'/disconnect'));
    }

    /**
     * Makes the edge ask Laravel again about the user's access: after a change
     * of role, or of a ticket's owner.
     *
     * @param  int|string  $userId
     * @return int the number of sessions that the edge checks
     *
     * @throws EdgeException
     */
    public function revalidateUser($userId): int
    {
        return $this->sessions($this->post('/users/'.rawurlencode((string) $userId).'/revalidate'));
    }

    /**
     * Returns the state of the edge.
     *
     * @return array<string, mixed> with version, uptime_seconds, sessions, rooms, upstream and more
     *
     * @throws EdgeException
     */
    public function status(): array
    {
        return $this->object($this->request('GET', '/status'));
    }

    /**
     * Returns the users and the number of sessions in the room of a ticket.
     *
     * @return array<string, mixed> with room, sessions and users
     *
     * @throws EdgeException
     */
    public function ticketRoom(int $ticketId): array
    {
        return $this->object($this->request('GET', '/rooms/ticket/'.$ticketId));
    }

    /**
     * Returns the users and the number of sessions in the room of a channel.
     *
     * @return array<string, mixed> with room, sessions and users
     *
     * @throws EdgeException
     */
    public function channelRoom(string $name): array
    {
        return $this->object($this->request('GET', '/rooms/channel/'.rawurlencode($name)));
    }

    /**
     * Returns the users who have confirmed the event at a position, and those who may yet.
     *
     * @param  string  $position  from {@see Delivery::position()}
     * @return array<string, mixed> with position, room, confirmed, pending, parked and complete
     *
     * @throws EdgeException
     */
    public function receipts(string $position): array
    {
        return $this->object($this->request('GET', '/positions/'.rawurlencode($position).'/receipts'));
    }

    public function socketPath(): string
    {
        return $this->transport->path();
    }

    /**
     * Splits events into calls.
     *
     * @param  array<int, Event>  $events
     * @return array<int, array<int, string>> encoded events for each call, under their original indices
     */
    private function calls(array $events): array
    {
        $calls = [];
        $call = [];
        $rooms = 0;
        $bytes = 0;

        foreach ($events as $index => $event) {
            $json = $event->toJson();

            if ($call !== [] && ($rooms + $event->rooms() > self::MAX_EVENTS || $bytes + strlen($json) > self::MAX_BYTES)) {
                $calls[] = $call;
                $call = [];
                $rooms = 0;
                $bytes = 0;
            }

            $call[$index] = $json;
            $rooms += $event->rooms();
            $bytes += strlen($json) + 1;
        }

        return $call === [] ? $calls : array_merge($calls, [$call]);
    }

    /**
     * @return mixed
     */
    private function post(string $target, string $body = '', int $events = 0)
    {
        $headers = $body === '' ? [] : [
            'Content-Type' => 'application/json',
        ] + $this->keys->headers($body, $events);

        return $this->request('POST', $target, $body, $headers);
    }

    /**
     * @param  array<string, string>  $headers
     * @return mixed the decoded response
     */
    private function request(string $method, string $target, string $body = '', array $headers = [])
    {
        $response = $this->transport->send($method, $target, $body, $headers);

        if ($response->status !== 200) {
            throw EdgeRejected::fromResponse($response->status, $response->json());
        }

        return $response->json();
    }

    /**
     * @param  mixed  $response
     */
    private function sessions($response): int
    {
        return (int) ($this->object($response)['sessions'] ?? 0);
    }

    /**
     * @param  mixed  $response
     * @return array<string, mixed>
     */
    private function object($response): array
    {
        if (! is_array($response)) {
            throw EdgeRejected::invalidResponse('the response is not a JSON object');
        }

        return $response;
    }
}
