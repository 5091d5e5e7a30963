<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Support\Facades\Facade;

/**
 * The facade for all calls to the edge. No method throws. On failure a method logs
 * the cause, and returns null or a failed Delivery.
 *
 * @method static Delivery broadcast(string $type, int|string|array<int, string> $room, mixed $payload = [], ?string $except = null, iterable $to = [])
 * @method static Delivery newMessage(int|string $ticketId, mixed $message, ?iterable $to = null)
 * @method static Delivery statusUpdate(int|string $ticketId, mixed $status, iterable $to = [])
 * @method static array<int, Delivery> batch(callable $callback)
 * @method static bool isAvailable()
 * @method static int|null disconnectUser(int|string $userId)
 * @method static int|null revalidateUser(int|string $userId)
 * @method static array<string, mixed>|null status()
 * @method static array<string, mixed>|null ticketRoom(int $ticketId)
 * @method static array<string, mixed>|null channelRoom(string $name)
 * @method static array<string, mixed>|null receipts(string $position)
 * @method static string|null session()
 *
 * @see Broadcasts
 */
class Edge extends Facade
{
    /**
     * @return string
     */
    protected static function getFacadeAccessor()
    {
        return Broadcasts::class;
    }

    /**
     * Resolves the instance anew on each call. It belongs to one request or job,
     * and the default would keep the first one for the life of the process.
     *
     * @param  object|string  $name
     * @return mixed
     */
    protected static function resolveFacadeInstance($name)
    {
        return app($name);
    }
}
