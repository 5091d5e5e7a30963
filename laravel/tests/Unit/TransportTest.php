<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Unit;

use PHPUnit\Framework\TestCase;
use PwdEdge\Laravel\Exceptions\EdgeTimedOut;
use PwdEdge\Laravel\Exceptions\EdgeUnreachable;
use PwdEdge\Laravel\Socket\Response;
use PwdEdge\Laravel\Socket\Transport;
use PwdEdge\Laravel\Tests\Support\Process;
use PwdEdge\Laravel\Tests\Support\Wait;

/** The connection, against a peer that misbehaves on demand. */
final class TransportTest extends TestCase
{
    private string $directory;

    private ?Process $peer = null;

    protected function setUp(): void
    {
        $this->directory = sys_get_temp_dir().'/pwdt-'.getmypid().'-'.uniqid();
        mkdir($this->directory);
    }

    protected function tearDown(): void
    {
        if ($this->peer !== null) {
            $this->peer->stop(SIGKILL);
        }
        exec('rm -rf '.escapeshellarg($this->directory));
    }

    public function test_connection_is_kept_for_the_next_request(): void
    {
        $transport = $this->transportTo('respond', 'respond');

        $this->assertSame([1, 1], [$this->ask($transport)['sessions'], $this->ask($transport)['sessions']]);
    }

    public function test_request_without_keep_alive_uses_a_new_connection(): void
    {
        $this->transportTo('close', 'close');
        $transport = new Transport($this->path(), 0.25, 1.0, false);

        $this->assertSame([1, 2], [$this->ask($transport)['sessions'], $this->ask($transport)['sessions']]);
    }

    public function test_connection_closed_while_idle_is_replaced(): void
    {
        $transport = $this->transportTo('close', 'respond');

        $this->assertSame(1, $this->ask($transport)['sessions']);
        $this->assertSame(2, $this->ask($transport)['sessions']);
    }

    public function test_request_on_a_dead_connection_is_retried_with_its_key(): void
    {
        $transport = $this->transportTo('respond', 'drop', 'respond');
        $this->ask($transport);

        $response = $this->ask($transport, 'the-key');

        $this->assertSame([2, 'the-key'], [$response['sessions'], $response['key']]);
    }

    public function test_request_is_retried_only_once(): void
    {
        $transport = $this->transportTo('respond', 'drop', 'drop', 'respond');
        $this->ask($transport);

        $this->expectException(EdgeUnreachable::class);
        $this->ask($transport);
    }

    public function test_fresh_connection_that_dies_is_a_failure(): void
    {
        $transport = $this->transportTo('drop', 'respond');

        $this->expectException(EdgeUnreachable::class);
        $this->ask($transport);
    }

    public function test_request_with_a_partial_response_is_not_retried(): void
    {
        $transport = $this->transportTo('respond', 'half', 'respond');
        $this->ask($transport);

        try {
            $this->ask($transport);
            $this->fail('a partial response was accepted');
        } catch (EdgeUnreachable $cut) {
            $this->assertSame(2, $this->ask($transport)['sessions']);
        }
    }

    public function test_silent_edge_times_out_and_its_late_response_is_dropped(): void
    {
        $this->transportTo('silence', 'respond');
        $transport = new Transport($this->path(), 1.0, 1.0);

        try {
            $this->ask($transport);
            $this->fail('silence was accepted as a response');
        } catch (EdgeTimedOut $cause) {
            $this->assertSame('no response from the edge within 1000 ms', $cause->getMessage());
        }

        $this->assertSame(2, $this->ask($transport)['sessions']);
    }

    public function test_rejection_before_the_end_of_the_body_is_read(): void
    {
        $transport = $this->transportTo('reject');

        $response = $transport->send('POST', '/broadcast', str_repeat('x', 4000000));

        $this->assertSame([413, 'too_large'], [$response->status, $response->json()['code']]);
    }

    public function test_full_backlog_is_retried(): void
    {
        $this->start(1, 'slow-accept', 'slow-accept', 'slow-accept', 'slow-accept');
        $opener = new Transport($this->path(), 1.0, 5.0);
        $this->ask($opener);

        // While the peer sleeps, others take every place in its backlog.
        $waiting = [];
        do {
            $stream = @stream_socket_client('unix://'.$this->path(), $errno, $reason, 0.1);
            $stream === false || $waiting[] = $stream;
        } while ($stream !== false && count($waiting) < 100);
        $this->assertSame(11, $errno);

        $this->assertGreaterThan(1, $this->ask(new Transport($this->path(), 1.0, 5.0))['sessions']);
    }

    public function test_child_process_does_not_use_its_parents_connection(): void
    {
        $transport = $this->transportTo('respond', 'respond', 'respond');
        $this->ask($transport);
        $result = $this->directory.'/child';

        $child = pcntl_fork();
        if ($child === 0) {
            file_put_contents($result, $this->ask($transport)['sessions']);
            posix_kill(getmypid(), SIGKILL);
        }
        pcntl_waitpid($child, $status);

        $this->assertSame('2', file_get_contents($result));
        $this->assertSame(1, $this->ask($transport)['sessions']);
    }

    public function test_connection_under_php_fpm_outlives_the_web_request(): void
    {
        $this->start(100, 'respond', 'respond', 'drop', 'respond');
        $webRequest = function (): array {
            return $this->ask(new Transport($this->path(), 0.25, 1.0, true, 'fpm-fcgi'));
        };

        $this->assertSame([1, 1], [$webRequest()['sessions'], $webRequest()['sessions']]);
        $this->assertSame(2, $webRequest()['sessions'], 'a dead one is replaced, silently');
    }

    public function test_transports_on_one_persistent_stream_survive_its_end(): void
    {
        $this->start(100, 'respond', 'respond', 'close', 'respond', 'half', 'respond');
        $one = new Transport($this->path(), 1.0, 5.0, true, 'fpm-fcgi');
        $other = new Transport($this->path(), 1.0, 5.0, true, 'fpm-fcgi');

        $asked = [$this->ask($one), $this->ask($other), $this->ask($one), $this->ask($other)];
        $this->assertSame([1, 1, 1, 2], array_column($asked, 'sessions'), 'the edge closed it');

        try {
            $this->ask($one);
            $this->fail('a partial response was accepted');
        } catch (EdgeUnreachable $closed) {
            $this->assertSame(3, $this->ask($other)['sessions'], 'the other one closed it');
        }
    }

    public function test_web_server_process_keeps_the_connection(): void
    {
        $this->start(100);
        $port = Wait::freePort();
        $server = new Process(
            [PHP_BINARY, '-S', '127.0.0.1:'.$port, dirname(__DIR__).'/Support/web.php'],
            $this->directory.'/web.log',
            ['PEER' => $this->path()]
        );

        try {
            $server->await('the web server', static function () use ($port): bool {
                return @file_get_contents('http://127.0.0.1:'.$port) === '[1,1]';
            });
            $this->assertSame('[1,1]', file_get_contents('http://127.0.0.1:'.$port));

            $this->peer->stop(SIGKILL);
            unlink($this->path());
            $this->start(100, 'respond', 'respond', 'respond');
            $this->assertSame('[1,1]', file_get_contents('http://127.0.0.1:'.$port), 'the new peer, on its first connection');
        } finally {
            $server->stop();
        }
    }

    public function test_missing_socket_fails_with_its_reason(): void
    {
        $this->expectException(EdgeUnreachable::class);
        $this->expectExceptionMessage('No such file or directory (errno 2)');
        $this->ask(new Transport($this->path(), 0.25, 1.0));
    }

    public function test_response_that_is_not_http_is_rejected(): void
    {
        $this->expectExceptionMessage('the response is not HTTP');
        Response::fromHead('+OK redis');
    }

    /** @return array<string, mixed> */
    private function ask(Transport $transport, string $key = 'key'): array
    {
        return $transport->send('POST', '/broadcast', '{}', ['Idempotency-Key' => $key])->json();
    }

    private function transportTo(string ...$actions): Transport
    {
        $this->start(100, ...$actions);

        return new Transport($this->path(), 1.0, 5.0);
    }

    private function start(int $backlog, string ...$actions): void
    {
        @unlink($this->directory.'/log');
        $command = array_merge([PHP_BINARY, dirname(__DIR__).'/Support/peer.php', $this->path(), (string) $backlog], $actions);
        $this->peer = new Process($command, $this->directory.'/log');
        $this->peer->await('the peer listening', function (): bool {
            return strpos((string) @file_get_contents($this->directory.'/log'), 'listening') !== false;
        });
    }

    private function path(): string
    {
        return $this->directory.'/s';
    }
}
