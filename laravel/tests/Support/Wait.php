<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Support;

use RuntimeException;

final class Wait
{
    /** True as soon as it is done, false when the time is over. */
    public static function quietly(float $seconds, callable $done): bool
    {
        $end = hrtime(true) + (int) ($seconds * 1e9);

        while (! $done()) {
            if (hrtime(true) > $end) {
                return false;
            }
            usleep(5000);
        }

        return true;
    }

    public static function until(string $what, callable $done): void
    {
        if (! self::quietly(20.0, $done)) {
            throw new RuntimeException('waited in vain for: '.$what);
        }
    }

    public static function forPort(int $port): callable
    {
        return static function () use ($port): bool {
            $stream = @stream_socket_client('tcp://127.0.0.1:'.$port, $errno, $reason, 1.0);

            return $stream !== false && fclose($stream);
        };
    }

    public static function freePort(): int
    {
        $server = stream_socket_server('tcp://127.0.0.1:0');
        $port = (int) substr((string) strrchr((string) stream_socket_get_name($server, false), ':'), 1);
        fclose($server);

        return $port;
    }
}
