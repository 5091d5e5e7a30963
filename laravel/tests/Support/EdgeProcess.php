<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Support;

use RuntimeException;

/** The edge itself: the binary that PWD_EDGE_BINARY names. */
final class EdgeProcess
{
    public int $port;

    public string $socket;

    public string $certificate;

    private string $directory;

    private string $config;

    private ?Process $process = null;

    public function __construct(string $directory, int $appPort, ?int $onlyUid = null)
    {
        is_dir($directory) || mkdir($directory, 0700, true);
        $this->directory = $directory;
        $this->port = Wait::freePort();
        $this->socket = $directory.'/b.sock';
        $this->certificate = $directory.'/cert.pem';
        $this->config = EdgeConfig::write($directory, $this->port, $appPort, $this->socket, $onlyUid);
        $this->start();
    }

    public function start(): void
    {
        $this->process = new Process([self::binary(), 'run', '--config', $this->config], $this->directory.'/edge.log', [], $this->directory);
        $this->process->await('the edge listening on '.$this->port, Wait::forPort($this->port));
        $this->process->await('the edge listening on '.$this->socket, function (): bool {
            $stream = @stream_socket_client('unix://'.$this->socket, $errno, $reason, 1.0);

            return $stream !== false && fclose($stream);
        });
    }

    public function stop(int $signal = SIGTERM): void
    {
        if ($this->process !== null) {
            $this->process->stop($signal);
            $this->process = null;
        }
    }

    public function freeze(): void
    {
        $this->process->signal(SIGSTOP);
    }

    public function thaw(): void
    {
        $this->process->signal(SIGCONT);
    }

    /** There is no skipping: without the edge these tests say nothing. */
    public static function binary(): string
    {
        $binary = getenv('PWD_EDGE_BINARY');

        if (! is_string($binary) || ! is_executable($binary)) {
            throw new RuntimeException(
                'PWD_EDGE_BINARY must name the edge these tests run against, for example '
                .'PWD_EDGE_BINARY=$PWD/target/debug/pwd-edge; it is '.var_export($binary, true)
            );
        }

        return (string) realpath($binary);
    }
}
