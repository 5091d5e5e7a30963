<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Exceptions;

/**
 * The edge is running and does not respond. It may have delivered the events, so a
 * retry must have the same idempotency key.
 */
final class EdgeTimedOut extends EdgeException
{
    public static function after(float $seconds, string $awaited): self
    {
        return new self(sprintf('no %s the edge within %d ms', $awaited, (int) round($seconds * 1000)));
    }
}
