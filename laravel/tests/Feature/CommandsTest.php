<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Feature;

use Illuminate\Contracts\Console\Kernel;
use PwdEdge\Laravel\Tests\TestCase;

final class CommandsTest extends TestCase
{
    public function test_status_shows_the_edge_and_watched_models(): void
    {
        $this->boot($this->stack->edge->socket, ['edge.watch' => ['messages' => ['App\Models\NoSuch' => 'ticket']]]);

        [$code, $output] = $this->artisan('edge:status');

        $this->assertSame(0, $code, $output);
        $this->assertMatchesRegularExpression('/edge +\| healthy/', $output);
        $this->assertMatchesRegularExpression('/upstream +\| healthy/', $output);
        $this->assertStringContainsString('App\Models\NoSuch (ticket): no such class', $output);
    }

    public function test_status_with_json_option_prints_json(): void
    {
        [$code, $output] = $this->artisan('edge:status', ['--json' => true]);

        $this->assertSame(0, $code, $output);
        $this->assertTrue(json_decode($output, true)['healthy']);
    }

    public function test_status_without_an_edge_reports_the_cause(): void
    {
        $this->boot($this->stack->data.'/missing.sock');

        [$code, $output] = $this->artisan('edge:status');

        $this->assertSame(2, $code);
        $this->assertStringContainsString('The edge is unreachable', $output);
        $this->assertStringContainsString('Is the edge running', $output);
    }

    public function test_broadcast_sends_one_event(): void
    {
        $ana = $this->clientIn(1, 'ana');

        [$code, $output] = $this->artisan('edge:broadcast', ['ticket' => '1', 'payload' => '{"a":{}}', '--type' => 'note']);

        $this->assertSame([0, "Delivered to 1 session(s), users 3.\n"], [$code, $output]);
        $this->assertSame(['note'], array_column($this->received($ana), 'type'));
    }

    public function test_broadcast_names_the_absent_users(): void
    {
        $this->clientIn(1, 'ana');

        [$code, $output] = $this->artisan('edge:broadcast', ['ticket' => '1', '--to' => ['3', '4']]);

        $this->assertSame([0, "Delivered to 1 session(s), users 3. Absent: 4.\n"], [$code, $output]);
    }

    public function test_broadcast_with_invalid_arguments_reports_the_error(): void
    {
        foreach ([['ticket' => 'x'], ['ticket' => '1', 'payload' => '[1]'], ['ticket' => '1', 'payload' => '{']] as $arguments) {
            [$code, $output] = $this->artisan('edge:broadcast', $arguments);
            $this->assertSame(1, $code);
            $this->assertStringContainsString('Not sent: ', $output);
        }
    }

    public function test_install_publishes_the_config_and_shows_the_proxy_change(): void
    {
        $file = $this->laravel->configPath('edge.php');
        $this->assertFileDoesNotExist($file);

        try {
            [$code, $output] = $this->artisan('edge:install', ['--trust-proxies' => true, '--no-interaction' => true]);
            $this->assertFileEquals(dirname(__DIR__, 2).'/config/edge.php', $file);
        } finally {
            @unlink($file);
        }

        $this->assertSame(0, $code);
        $this->assertStringContainsString("+    protected \$proxies = ['127.0.0.1'];", $output);
    }

    /**
     * @param  array<string, mixed>  $arguments
     * @return array{0: int, 1: string}
     */
    private function artisan(string $command, array $arguments = []): array
    {
        $kernel = app(Kernel::class);
        $code = $kernel->call($command, $arguments);

        return [$code, $kernel->output()];
    }
}
