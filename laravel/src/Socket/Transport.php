<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Socket;

use PwdEdge\Laravel\Exceptions\EdgeUnreachable;

/**
 * Sends requests to the edge, and keeps the connection open between them.
 *
 * A queue worker or an Octane process keeps this object, and with it the connection.
 * Under php-fpm all objects end with the web request, so PHP's persistent streams keep
 * the connection. This is safe because such a process serves one request at a time.
 */
final class Transport
{
    /** Server APIs whose processes serve one web request after the other, and keep no objects between them. */
    private const FORGETFUL_SAPIS = ['fpm-fcgi', 'cgi-fcgi', 'apache2handler', 'litespeed', 'cli-server'];

    private string $path;

    private float $connectSeconds;

    private float $totalSeconds;

    private bool $keep;

    private bool $persistent;

    /** The idle connection. It is removed while in use, so a second coroutine of the process opens its own. */
    private ?Connection $idle = null;

    /** The connection in use; see closeWhatWasCutOff(). */
    private ?Connection $inUse = null;

    private bool $watchesShutdown = false;

    public function __construct(string $path, float $connectSeconds, float $totalSeconds, bool $keep = true, ?string $sapi = null)
    {
        $this->path = $path;
        $this->connectSeconds = $connectSeconds;
        $this->totalSeconds = $totalSeconds;
        $this->keep = $keep;
        $this->persistent = $keep && in_array($sapi ?? PHP_SAPI, self::FORGETFUL_SAPIS, true);
    }

    public function path(): string
    {
        return $this->path;
    }

    /**
     * @param  array<string, string>  $headers
     */
    public function send(string $method, string $target, string $body = '', array $headers = []): Response
    {
        $request = $this->encode($method, $target, $body, $headers);
        $deadline = new Deadline($this->totalSeconds);

        try {
            return $this->attempt($request, $deadline, true);
        } catch (ConnectionLost $lost) {
            throw EdgeUnreachable::lost($this->path);
        }
    }

    /**
     * Sends the request, and retries once on a new connection. The edge may have closed
     * a kept connection, for example in a restart. A retry happens only if no byte of a
     * response has arrived. It is harmless even if the edge received the first request:
     * both have the same idempotency key, or are safe to repeat.
     */
    private function attempt(string $request, Deadline $deadline, bool $mayRepeat): Response
    {
        $connection = $this->idleConnection() ?? $this->connect($deadline);

        try {
            return $this->over($connection, $request, $deadline);
        } catch (ConnectionLost $lost) {
            if (! $mayRepeat || ! $connection->wasKept() || $lost->responseBegan()) {
                throw $lost;
            }
        }

        return $this->attempt($request, $deadline, false);
    }

    private function over(Connection $connection, string $request, Deadline $deadline): Response
    {
        $this->inUse = $connection;
        $reusable = false;

        try {
            $response = $connection->exchange($request, $deadline);
            $reusable = $this->keep && $response->allowsReuse();

            return $response;
        } finally {
            $this->inUse = null;
            $reusable ? $this->keepForLater($connection) : $connection->close();
        }
    }

    private function idleConnection(): ?Connection
    {
        $connection = $this->idle;
        $this->idle = null;

        if ($connection === null || $connection->isIdleAndOurs()) {
            return $connection;
        }

        $connection->close();

        return null;
    }

    private function connect(Deadline $deadline): Connection
    {
        $connecting = new Deadline(min($this->connectSeconds, $deadline->remaining()), 'connection to');
        $connection = Connection::open($this->path, $connecting, $this->persistent);

        if ($connection->wasKept() && ! $connection->isIdleAndOurs()) {
            $connection->close();
            $connection = Connection::open($this->path, $connecting, $this->persistent);
        }

        if ($this->persistent) {
            $this->closeWhatWasCutOff();
        }

        return $connection;
    }

    private function keepForLater(Connection $connection): void
    {
        if ($this->idle !== null) {
            $connection->close();

            return;
        }

        $connection->markKept();
        $this->idle = $connection;
    }

    /**
     * Closes a connection whose call was aborted by a fatal error, such as
     * max_execution_time. Otherwise the next web request of the worker would read the
     * response of that call from the persistent stream. Shutdown functions run even
     * after a fatal error.
     */
    private function closeWhatWasCutOff(): void
    {
        if ($this->watchesShutdown) {
            return;
        }

        $this->watchesShutdown = true;

        register_shutdown_function(function (): void {
            if ($this->inUse !== null) {
                $this->inUse->close();
            }
        });
    }

    /**
     * @param  array<string, string>  $headers
     */
    private function encode(string $method, string $target, string $body, array $headers): string
    {
        $headers += ['Host' => 'pwd-edge', 'Accept' => 'application/json', 'User-Agent' => 'pwd-edge-laravel'];

        if ($body !== '' || $method === 'POST') {
            $headers['Content-Length'] = (string) strlen($body);
        }

        if (! $this->keep) {
            $headers['Connection'] = 'close';
        }

        $head = $method.' '.$target." HTTP/1.1\r\n";

        foreach ($headers as $name => $value) {
            $head .= $name.': '.$value."\r\n";
        }

        return $head."\r\n".$body;
    }
}
