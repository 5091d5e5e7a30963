<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Socket;

use PwdEdge\Laravel\Exceptions\EdgeRejected;

/**
 * A parsed HTTP/1.1 response. It supports only the bodies that the edge's socket
 * sends: with a known length, or up to the end of the connection.
 */
final class Response
{
    public int $status;

    public string $body = '';

    /** @var array<string, string> names in lower case */
    private array $headers;

    /**
     * @param  array<string, string>  $headers
     */
    private function __construct(int $status, array $headers)
    {
        $this->status = $status;
        $this->headers = $headers;
    }

    public static function fromHead(string $head): self
    {
        $lines = explode("\r\n", $head);

        if (preg_match('#^HTTP/1\.[01] ([1-5][0-9]{2})(?: |$)#', (string) array_shift($lines), $match) !== 1) {
            throw EdgeRejected::invalidResponse('the response is not HTTP; is this the socket of the edge?');
        }

        $headers = [];

        foreach ($lines as $line) {
            [$name, $value] = explode(':', $line, 2) + [1 => ''];
            $headers[strtolower($name)] = trim($value);
        }

        if (isset($headers['transfer-encoding'])) {
            throw EdgeRejected::invalidResponse('the response has a transfer encoding, which the edge never uses here');
        }

        return new self((int) $match[1], $headers);
    }

    /** Returns the length of the body, or null if it ends with the connection. */
    public function declaredLength(): ?int
    {
        $length = $this->headers['content-length'] ?? null;

        return $length === null ? null : (int) $length;
    }

    /** Prevents the reuse of the connection: the response came before the whole request was written. */
    public function withoutReuse(): self
    {
        $this->headers['connection'] = 'close';

        return $this;
    }

    public function allowsReuse(): bool
    {
        return $this->declaredLength() !== null
            && strtolower($this->headers['connection'] ?? '') !== 'close';
    }

    /**
     * @return mixed
     */
    public function json()
    {
        return json_decode($this->body, true);
    }
}
