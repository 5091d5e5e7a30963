<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests;

use Illuminate\Contracts\Console\Kernel;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Bootstrap;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Facade;
use PHPUnit\Framework\TestCase as PhpUnit;
use PwdEdge\Laravel\Client;
use PwdEdge\Laravel\Event;
use PwdEdge\Laravel\JobKeys;
use PwdEdge\Laravel\Socket\Transport;
use PwdEdge\Laravel\Tests\Support\Browser;
use PwdEdge\Laravel\Tests\Support\EdgeProcess;
use PwdEdge\Laravel\Tests\Support\Stack;
use PwdEdge\Laravel\Tests\Support\Wait;
use PwdEdge\Laravel\Tests\Support\WebSocketClient;

/**
 * The test app inside this process, beside the one that is served: what the
 * package does here arrives at clients of the same edge.
 */
abstract class TestCase extends PhpUnit
{
    protected Stack $stack;

    protected Application $laravel;

    /** @var array<int, WebSocketClient> */
    private array $clients = [];

    protected function setUp(): void
    {
        $this->stack = Stack::running();
        $this->laravel = $this->boot($this->stack->edge->socket);
        DB::table('support_tickets')->update(['status' => 'open']);
        DB::table('jobs')->delete();
        file_put_contents($this->logFile(), '');
    }

    protected function tearDown(): void
    {
        foreach ($this->clients as $client) {
            $client->close();
        }

        $api = $this->api();
        Wait::until('the rooms are empty', static function () use ($api): bool {
            return $api->status()['rooms'] === 0;
        });
    }

    /** The edge's socket, asked past the package's own connection. */
    protected function api(?EdgeProcess $edge = null): Client
    {
        return new Client(new Transport(($edge ?? $this->stack->edge)->socket, 1.0, 5.0), new JobKeys());
    }

    /**
     * @param  array<string, mixed>  $config
     */
    protected function boot(string $socket, array $config = []): Application
    {
        foreach (['APP_DATA' => $this->stack->data, 'EDGE_SOCKET' => $socket] as $name => $value) {
            putenv($name.'='.$value);
            $_SERVER[$name] = $_ENV[$name] = $value;
        }

        Facade::clearResolvedInstances();
        $app = require dirname(__DIR__, 2).'/tests/laravel/bootstrap/app.php';
        $app->make(Kernel::class);
        $app->afterBootstrapping(Bootstrap\LoadConfiguration::class, static function () use ($app, $config): void {
            // A loaded machine is no edge that hangs.
            $app['config']->set($config + ['edge.connect_timeout_ms' => 5000, 'edge.timeout_ms' => 10000]);
        });
        // Without HandleExceptions: errors belong to PHPUnit here.
        $app->bootstrapWith([
            Bootstrap\LoadEnvironmentVariables::class,
            Bootstrap\LoadConfiguration::class,
            Bootstrap\RegisterFacades::class,
            Bootstrap\SetRequestForConsole::class,
            Bootstrap\RegisterProviders::class,
            Bootstrap\BootProviders::class,
        ]);

        return $app;
    }

    /** A client that has joined a channel. */
    protected function clientInChannel(string $channel, string $user): WebSocketClient
    {
        $client = new WebSocketClient($this->stack->edge, $this->stack->tokens[$user]);
        $this->clients[] = $client;
        $client->joinChannel($channel);
        $answer = $client->answerAbout($channel);
        $this->assertSame('joined', $answer['type'], json_encode($answer) ?: '');

        return $client;
    }

    /** A client in the room of a ticket, known to the edge as a member of it. */
    protected function clientIn(int $ticketId, string $user, ?EdgeProcess $edge = null): WebSocketClient
    {
        $edge = $edge ?? $this->stack->edge;

        return $this->joined(new WebSocketClient($edge, $this->stack->tokens[$user]), $ticketId, $edge);
    }

    /** A WebSocket of a browser's page in the room of a ticket. */
    protected function pageIn(int $ticketId, Browser $browser): WebSocketClient
    {
        $edge = $this->stack->edge;

        return $this->joined(new WebSocketClient($edge, null, $browser->cookies()), $ticketId, $edge);
    }

    private function joined(WebSocketClient $client, int $ticketId, EdgeProcess $edge): WebSocketClient
    {
        $api = $this->api($edge);
        $before = $api->ticketRoom($ticketId)['sessions'];
        $this->clients[] = $client;
        $client->join($ticketId);

        Wait::until("one more in the room of ticket {$ticketId}", static function () use ($api, $ticketId, $before): bool {
            return $api->ticketRoom($ticketId)['sessions'] > $before;
        });

        return $client;
    }

    /**
     * What a client got so far. A marker is sent after it; rooms are ordered.
     *
     * @param  int|array<int, string>  $room  the ticket or the channels of the marker
     * @return array<int, array<string, mixed>>
     */
    protected function received(WebSocketClient $client, $room = 1): array
    {
        $marker = 'marker '.uniqid();
        $this->api()->broadcast([new Event($marker, $room)]);

        return $client->before($marker);
    }

    /** A new request: what was remembered of the last one is gone. */
    protected function nextRequest(): void
    {
        $this->laravel->forgetScopedInstances();
    }

    /** @return array<int, string> */
    protected function logged(): array
    {
        return preg_grep('/pwd-edge: /', file($this->logFile()) ?: []) ?: [];
    }

    /**
     * Over HTTPS through the edge, or straight to the app.
     *
     * @param  array<string, mixed>|null  $json
     * @param  array<int, string>  $headers
     * @return array{0: int, 1: mixed}
     */
    protected function http(string $method, string $url, string $user, ?array $json = null, array $headers = []): array
    {
        $curl = curl_init($url);
        curl_setopt_array($curl, [
            CURLOPT_CUSTOMREQUEST => $method,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => 20,
            CURLOPT_CAINFO => $this->stack->edge->certificate,
            CURLOPT_HTTPHEADER => array_merge([
                'Accept: application/json', 'Content-Type: application/json',
                'Authorization: Bearer '.$this->stack->tokens[$user],
            ], $headers),
        ]);
        if ($json !== null) {
            curl_setopt($curl, CURLOPT_POSTFIELDS, json_encode($json));
        }
        $body = curl_exec($curl);
        $this->assertNotFalse($body, curl_error($curl));

        return [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), json_decode((string) $body, true)];
    }

    protected function throughEdge(string $path): string
    {
        return 'https://localhost:'.$this->stack->edge->port.$path;
    }

    protected function straightToApp(string $path): string
    {
        return 'http://127.0.0.1:'.$this->stack->app->port.$path;
    }

    private function logFile(): string
    {
        return $this->stack->data.'/logs/laravel.log';
    }
}
