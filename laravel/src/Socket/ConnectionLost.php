<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Socket;

use RuntimeException;

/**
 * The other side closed. Whether a byte of the answer had come decides if the
 * request may be repeated, so this is kept; it never leaves the transport.
 */
final class ConnectionLost extends RuntimeException
{
    private bool $answerBegan;

    public function __construct(bool $answerBegan)
    {
        parent::__construct('connection lost');

        $this->answerBegan = $answerBegan;
    }

    public function answerBegan(): bool
    {
        return $this->answerBegan;
    }
}
