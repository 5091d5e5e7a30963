<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Socket;

use PwdEdge\Laravel\Exceptions\EdgeUnreachable;

/**
 * Requests to the edge over a connection that is kept between them.
 *
 * Where it is kept depends on who runs PHP. A queue worker or Octane process
 * holds this object, and with it the connection. Under php-fpm every object
 * dies with the web request, so PHP's own persistent streams hold it there; a
 * process then serves one request at a time, which is what makes that safe.
 */
final class Transport
{
    /** Where one process serves one web request after the other and forgets all objects between them. */
    private const FORGETFUL_SAPIS = ['fpm-fcgi', 'cgi-fcgi', 'apache2handler', 'litespeed', 'cli-server'];

    private string $path;

    private float $connectSeconds;

    private float $totalSeconds;

    private bool $keep;

    private bool $persistent;

    /** The idle connection. Taken out while in use: a second coroutine of the same process opens its own. */
    private ?Connection $idle = null;

    /** In use right now; see closeWhatWasCutOff(). */
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
     * A kept connection may have died while idle: the edge was restarted. If
     * not one byte of an answer came, the request is said once more on a new
     * one. It is harmless if the first one did arrive, because both carry the
     * same idempotency key or ask for something that can be asked twice.
     */
    private function attempt(string $request, Deadline $deadline, bool $mayRepeat): Response
    {
        $connection = $this->idleConnection() ?? $this->connect($deadline);

        try {
            return $this->over($connection, $request, $deadline);
        } catch (ConnectionLost $lost) {
            if (! $mayRepeat || ! $connection->wasKept() || $lost->answerBegan()) {
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
     * A fatal error in the middle of a call (max_execution_time) leaves a
     * persistent stream with an answer on its way, which the worker's next web
     * request would take for its own. Shutdown functions run even then.
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
