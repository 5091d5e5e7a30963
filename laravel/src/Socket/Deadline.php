<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Socket;

use PwdEdge\Laravel\Exceptions\EdgeTimedOut;

/**
 * One point in time for a whole call, so that connecting, a reconnect, writing
 * and reading share one limit instead of adding up. On the monotonic clock: a
 * change of the wall clock must not hang a web request.
 */
final class Deadline
{
    private float $seconds;

    private float $end;

    private string $awaited;

    public function __construct(float $seconds, string $awaited = 'answer from')
    {
        $this->awaited = $awaited;
        $this->seconds = $seconds;
        $this->end = self::now() + $seconds;
    }

    /** Seconds left, always more than nothing; past the end it throws. */
    public function remaining(): float
    {
        $left = $this->end - self::now();

        if ($left <= 0.0) {
            throw $this->exceeded();
        }

        return $left;
    }

    public function exceeded(): EdgeTimedOut
    {
        return EdgeTimedOut::after($this->seconds, $this->awaited);
    }

    public static function now(): float
    {
        return hrtime(true) / 1e9;
    }
}
