<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Exceptions;

/**
 * The edge is there and does not answer. Whether it delivered is unknown, so
 * a repetition must carry the same idempotency key.
 */
final class EdgeTimedOut extends EdgeException
{
    public static function after(float $seconds, string $awaited): self
    {
        return new self(sprintf('no %s the edge within %d ms', $awaited, (int) round($seconds * 1000)));
    }
}
