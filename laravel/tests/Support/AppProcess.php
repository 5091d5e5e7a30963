<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Support;

use RuntimeException;

/** The test app, served by `php -S`. */
final class AppProcess
{
    public int $port;

    private ?Process $process = null;

    /**
     * @param  array<string, string>  $environment
     */
    public function __construct(string $data, int $port, array $environment)
    {
        $this->port = $port;
        $root = dirname(__DIR__, 3).'/tests/laravel';

        $this->process = new Process(
            [PHP_BINARY, '-d', 'post_max_size=24M', '-S', '127.0.0.1:'.$this->port, '-t', 'public', 'server.php'],
            $data.'/php.log',
            $environment + ['APP_DATA' => $data, 'PHP_CLI_SERVER_WORKERS' => '3'],
            $root
        );
        $this->process->await('the app listening on '.$this->port, Wait::forPort($this->port));
    }

    /** @return array<string, string> user name => token */
    public static function seed(string $data): array
    {
        $command = sprintf(
            'APP_DATA=%s %s %s app:seed 2>&1',
            escapeshellarg($data),
            escapeshellarg(PHP_BINARY),
            escapeshellarg(dirname(__DIR__, 3).'/tests/laravel/artisan')
        );
        exec($command, $output, $status);

        if ($status !== 0) {
            throw new RuntimeException('app:seed: '.implode("\n", $output));
        }

        return json_decode((string) file_get_contents($data.'/tokens.json'), true);
    }

    public function stop(): void
    {
        if ($this->process !== null) {
            $this->process->stop();
            $this->process = null;
        }
    }
}
