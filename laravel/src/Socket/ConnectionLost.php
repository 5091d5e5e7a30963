<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Socket;

use RuntimeException;

/**
 * The edge closed the connection. The request may be retried only if no byte of the
 * response has arrived. This exception never leaves the transport.
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
