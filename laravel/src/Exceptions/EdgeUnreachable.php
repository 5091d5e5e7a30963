<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Exceptions;

/**
 * No process listens on the socket, the user may not open it, or the connection was
 * lost.
 */
final class EdgeUnreachable extends EdgeException
{
    public static function cannotConnect(string $path, int $errno, string $reason): self
    {
        return new self(sprintf('cannot connect to %s: %s (errno %d)', $path, $reason, $errno), $errno);
    }

    public static function lost(string $path): self
    {
        return new self(sprintf('the connection to %s was closed before the response was complete', $path));
    }
}
