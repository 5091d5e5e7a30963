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
    private bool $responseBegan;

    public function __construct(bool $responseBegan)
    {
        parent::__construct('connection lost');

        $this->responseBegan = $responseBegan;
    }

    public function responseBegan(): bool
    {
        return $this->responseBegan;
    }
}
