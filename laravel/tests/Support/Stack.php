<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Support;

/** The app with the edge in front of it, started once for all tests. */
final class Stack
{
    public EdgeProcess $edge;

    public AppProcess $app;

    public string $data;

    /** @var array<string, string> */
    public array $tokens;

    private static ?self $running = null;

    public static function running(): self
    {
        return self::$running ?? self::$running = new self();
    }

    private function __construct()
    {
        EdgeProcess::binary();

        // Short: the path of a Unix socket has at most 107 bytes.
        $this->data = sys_get_temp_dir().'/pwdl-'.getmypid();
        is_dir($this->data) || mkdir($this->data, 0700, true);
        register_shutdown_function([$this, 'stop'], (int) getmypid());

        $this->tokens = AppProcess::seed($this->data);
        $appPort = Wait::freePort();
        $this->edge = new EdgeProcess($this->data.'/edge', $appPort);
        $this->app = new AppProcess($this->data, $appPort, ['EDGE_SOCKET' => $this->edge->socket]);
    }

    /** A second edge in front of the same app, to the tests' own liking. */
    public function anotherEdge(string $name, ?int $onlyUid = null): EdgeProcess
    {
        return new EdgeProcess($this->data.'/'.$name, $this->app->port, $onlyUid);
    }

    public function stop(int $owner): void
    {
        // A test forks; its child must not end what belongs to the parent.
        if ($owner !== (int) getmypid()) {
            return;
        }

        foreach (['edge', 'app'] as $part) {
            if (isset($this->$part)) {
                $this->$part->stop();
            }
        }

        if (getenv('KEEP_TEST_DATA') === false) {
            exec('rm -rf '.escapeshellarg($this->data));
        }
    }
}
