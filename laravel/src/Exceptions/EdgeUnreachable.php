<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Exceptions;

/**
 * Nobody serves the socket, it may not be opened, or the connection broke.
 */
final class EdgeUnreachable extends EdgeException
{
    public static function cannotConnect(string $path, int $errno, string $reason): self
    {
        return new self(sprintf('cannot connect to %s: %s (errno %d)', $path, $reason, $errno), $errno);
    }

    public static function lost(string $path): self
    {
        return new self(sprintf('the connection to %s was closed before the answer was complete', $path));
    }
}
