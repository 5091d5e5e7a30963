<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Console;

use Illuminate\Console\Command;
use PwdEdge\Laravel\Client;
use PwdEdge\Laravel\Exceptions\EdgeException;
use PwdEdge\Laravel\Exceptions\EdgeRejected;
use PwdEdge\Laravel\Exceptions\EdgeUnreachable;

class StatusCommand extends Command
{
    /** @var string */
    protected $signature = 'edge:status {--json : print the response of the edge as JSON}';

    /** @var string */
    protected $description = 'Show the health of the edge and the models that this app watches';

    /** The exit codes of `pwd-edge status`, which are those of a Nagios plug-in. */
    private const HEALTHY = 0;
    private const DEGRADED = 1;
    private const UNREACHABLE = 2;

    public function handle(Client $client): int
    {
        try {
            $status = $client->status();
        } catch (EdgeException $cause) {
            $this->error('The edge is unreachable: '.$cause->getMessage());
            $this->line($this->advice($cause, $client->socketPath()));

            return self::UNREACHABLE;
        }

        if ($this->option('json')) {
            $this->line((string) json_encode($status, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES));
        } else {
            $this->table([], array_merge($this->rows($status, $client->socketPath()), $this->watched()));
        }

        return $this->health($status);
    }

    /** @param  array<string, mixed>  $status */
    private function health(array $status): int
    {
        if (! is_bool($status['healthy'] ?? null)) {
            return self::UNREACHABLE;
        }

        return $status['healthy'] ? self::HEALTHY : self::DEGRADED;
    }

    /**
     * @param  array<string, mixed>  $status
     * @return array<int, array<int, string>>
     */
    private function rows(array $status, string $path): array
    {
        $upstream = is_array($status['upstream'] ?? null) ? $status['upstream'] : [];
        $healthy = $upstream['healthy'] ?? null;
        $reached = match (true) {
            $healthy === null => '?',
            ($upstream['contacted'] ?? true) === false => 'not contacted yet',
            default => $healthy ? 'healthy' : 'unreachable',
        };
        $words = [self::HEALTHY => 'healthy', self::DEGRADED => 'DEGRADED', self::UNREACHABLE => 'unknown'];

        return array_merge([['edge', $words[$this->health($status)]]], array_map(
            static fn ($problem): array => ['problem', (string) $problem],
            array_values((array) ($status['problems'] ?? []))
        ), [
            ['socket', $path],
            ['version', (string) ($status['version'] ?? '?')],
            ['uptime', ($status['uptime_seconds'] ?? '?').' s'],
            ['sessions', (string) ($status['sessions'] ?? '?')],
            ['rooms', (string) ($status['rooms'] ?? '?')],
            ['upstream', $reached],
        ]);
    }

    /**
     * @return array<int, array<int, string>>
     */
    private function watched(): array
    {
        $rows = [];

        foreach ((array) config('edge.watch', []) as $models) {
            foreach ((array) $models as $class => $attribute) {
                $rows[] = ['watched', $class.' ('.$attribute.')'.(class_exists($class) ? '' : ': no such class')];
            }
        }

        return $rows;
    }

    private function advice(EdgeException $cause, string $path): string
    {
        if ($cause instanceof EdgeRejected && $cause->status() === 403) {
            return 'The edge rejects the user '.$this->user().'. Add the uid to allowed_uids in [broadcast] of config.toml, or run this command as the user of php-fpm.';
        }

        if (! $cause instanceof EdgeUnreachable) {
            return 'The edge is running. Read its log for the cause.';
        }

        $advice = [
            2 => 'The file '.$path.' does not exist. Is the edge running? Is EDGE_SOCKET the socket of [broadcast] in config.toml?',
            13 => 'The user '.$this->user().' may not open '.$path.'. Add the user to the group of the socket, then restart php-fpm and the queue workers.',
            111 => 'The socket file exists, but no process listens on it. The edge is starting, or it was killed.',
        ];

        return $advice[$cause->getCode()] ?? 'Is '.$path.' the socket of the edge?';
    }

    private function user(): string
    {
        $user = function_exists('posix_geteuid') ? posix_getpwuid(posix_geteuid()) : false;

        return is_array($user) ? $user['name'] : get_current_user();
    }
}
