<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Support;

use RuntimeException;

/** A program with its children, in a session of its own, so that all of it can be ended. */
final class Process
{
    /** @var resource|null */
    private $handle;

    private int $pid;

    private string $log;

    /**
     * @param  array<int, string>  $command
     * @param  array<string, string>  $environment
     */
    public function __construct(array $command, string $log, array $environment = [], ?string $directory = null)
    {
        $this->log = $log;
        $output = ['file', $log, 'a'];
        $handle = proc_open(
            array_merge(['setsid'], $command),
            [['file', '/dev/null', 'r'], $output, $output],
            $pipes,
            $directory,
            $environment + getenv()
        );

        if ($handle === false) {
            throw new RuntimeException('cannot start '.implode(' ', $command));
        }

        $this->handle = $handle;
        $this->pid = proc_get_status($handle)['pid'];
    }

    public function signal(int $signal): void
    {
        posix_kill(-$this->pid, $signal);
    }

    public function stop(int $signal = SIGTERM): void
    {
        if ($this->handle === null) {
            return;
        }

        $this->signal($signal);
        $gone = Wait::quietly(15.0, function (): bool {
            return ! $this->isRunning();
        });

        if (! $gone) {
            $this->signal(SIGKILL);
        }

        proc_close($this->handle);
        $this->handle = null;
    }

    public function isRunning(): bool
    {
        return $this->handle !== null && proc_get_status($this->handle)['running'];
    }

    /** Waits for something that the program brings about, or shows what it said instead. */
    public function await(string $what, callable $done): void
    {
        $ready = Wait::quietly(20.0, function () use ($done): bool {
            return ! $this->isRunning() || $done();
        });

        if (! $ready || ! $this->isRunning()) {
            throw new RuntimeException($what.' did not happen; the program said: '.file_get_contents($this->log));
        }
    }
}
