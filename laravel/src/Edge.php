<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Support\Facades\Facade;

/**
 * The edge, from anywhere in an app. Nothing here throws; a failure is in the
 * log, and null or a Delivery that was not sent() is returned.
 *
 * @method static Delivery broadcast(string $type, int|string $ticketId, mixed $payload = [], ?string $except = null)
 * @method static Delivery newMessage(int|string $ticketId, mixed $message)
 * @method static Delivery statusUpdate(int|string $ticketId, mixed $status)
 * @method static array<int, Delivery> batch(callable $callback)
 * @method static bool isAvailable()
 * @method static int|null disconnectUser(int|string $userId)
 * @method static int|null recheckUser(int|string $userId)
 * @method static array<string, mixed>|null status()
 * @method static array<string, mixed>|null ticketRoom(int $ticketId)
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
     * Asked anew each time: what stands behind it belongs to one request or
     * job, and a facade would hold on to it for the life of the process.
     *
     * @param  object|string  $name
     * @return mixed
     */
    protected static function resolveFacadeInstance($name)
    {
        return app($name);
    }
}
