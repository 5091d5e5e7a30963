<?php

/**
 * What one broadcast adds to a PHP request: 1 000 calls through the package, as
 * a controller makes them, and the time of each. Run by bench/broadcast.
 */

declare(strict_types=1);

require __DIR__.'/../laravel/tests/bootstrap.php';

use PwdEdge\Laravel\Client;
use PwdEdge\Laravel\Event;
use PwdEdge\Laravel\Exceptions\EdgeException;
use PwdEdge\Laravel\JobKeys;
use PwdEdge\Laravel\Socket\Transport;

[, $socket, $calls, $name] = $argv;

$message = ['id' => 14, 'message' => str_repeat('x', 200), 'sender_name' => 'Ana Alpha', 'is_admin' => false];
$event = new Event('new_message', 1, ['ticket_id' => 1, 'message' => $message]);

/** A new connection for each call, as the first broadcast of a new worker. */
function fresh(string $socket): Client
{
    return new Client(new Transport($socket, 0.25, 1.0), new JobKeys());
}

foreach (['kept' => true, 'new' => false] as $connection => $keep) {
    $client = fresh($socket);
    $micros = [];
    $delivered = 0;

    for ($call = 0; $call < (int) $calls; $call++) {
        $client = $keep ? $client : fresh($socket);
        $start = hrtime(true);
        try {
            $client->broadcast([$event]);
            $delivered++;
        } catch (EdgeException $away) {
        }
        $micros[] = (hrtime(true) - $start) / 1000;
    }

    sort($micros);
    printf(
        "| %s, %s connection | %.0f | %.0f | %d |\n",
        $name,
        $connection,
        $micros[(int) (count($micros) / 2)],
        $micros[(int) (count($micros) * 0.99)],
        $delivered
    );
}
