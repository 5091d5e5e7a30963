<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Closure;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Foundation\Http\Events\RequestHandled;
use Illuminate\Routing\Events\RouteMatched;
use Illuminate\Session\Store;
use SessionHandlerInterface;

/**
 * Reads a session and never stores it, for the edge's own requests.
 *
 * The edge asks Laravel with the session cookie of a user. Without this class such a
 * request would be one more page of the user: it would prolong the session, use up
 * the messages that are flashed for the next page, and could store the session of a
 * user again who logs out at that moment.
 */
final class ReadOnlySessionHandler implements SessionHandlerInterface
{
    private SessionHandlerInterface $stored;

    private function __construct(SessionHandlerInterface $stored)
    {
        $this->stored = $stored;
    }

    /** Makes the sessions of the edge's requests read-only, and only for their time. */
    public static function watch(Dispatcher $events): void
    {
        $events->listen(RouteMatched::class, static function (RouteMatched $event): void {
            // The edge removes this header from the requests of clients.
            if ($event->request->headers->get('X-Edge-Request') === 'authorization') {
                self::replace(static function (SessionHandlerInterface $handler): SessionHandlerInterface {
                    return $handler instanceof self ? $handler : new self($handler);
                });
            }
        });

        // Octane uses the same session store for the next request.
        $events->listen(RequestHandled::class, static function (): void {
            self::replace(static function (SessionHandlerInterface $handler): SessionHandlerInterface {
                return $handler instanceof self ? $handler->stored : $handler;
            });
        });
    }

    /** @param  Closure(SessionHandlerInterface): SessionHandlerInterface  $replacement */
    private static function replace(Closure $replacement): void
    {
        if (config('session.driver') === null) {
            return;
        }

        $session = app('session')->driver();

        // A session in the cookie itself is stored in no place that the request could change.
        if ($session instanceof Store && ! $session->handlerNeedsRequest()) {
            // Laravel 8 has no setHandler().
            (function () use ($replacement): void {
                $this->handler = $replacement($this->handler);
            })->call($session);
        }
    }

    public function open(string $path, string $name): bool
    {
        return $this->stored->open($path, $name);
    }

    public function close(): bool
    {
        return $this->stored->close();
    }

    public function read(string $id): string|false
    {
        return $this->stored->read($id);
    }

    public function write(string $id, string $data): bool
    {
        return true;
    }

    public function destroy(string $id): bool
    {
        return true;
    }

    public function gc(int $max_lifetime): int|false
    {
        return 0;
    }
}
