<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Socket;

use PwdEdge\Laravel\Exceptions\EdgeTimedOut;

/**
 * The deadline of a whole call. Connecting, a reconnect, writing and reading share
 * it, so that their times do not add up. It uses the monotonic clock, because a change
 * of the wall clock must not block a web request.
 */
final class Deadline
{
    private float $seconds;

    private float $end;

    private string $awaited;

    public function __construct(float $seconds, string $awaited = 'response from')
    {
        $this->awaited = $awaited;
        $this->seconds = $seconds;
        $this->end = self::now() + $seconds;
    }

    /** Returns the seconds left, more than 0. Throws after the deadline. */
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
