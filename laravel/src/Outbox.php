<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Closure;
use Psr\Log\LoggerInterface;
use PwdEdge\Laravel\Events\BroadcastMissed;
use PwdEdge\Laravel\Exceptions\EdgeTimedOut;
use PwdEdge\Laravel\Socket\Deadline;
use Throwable;

/**
 * Sends events at once, at the end of a batch, or after the commit of a database
 * transaction. All failures end here: with one log line and a failed Delivery.
 */
class Outbox
{
    /** Send the event at once, or at the end of the batch. */
    public const NOW = 'now';

    /** Send the event when the transaction is committed. */
    public const AFTER_COMMIT = 'after commit';

    private Client $client;

    /** @var Closure(): LoggerInterface */
    private Closure $log;

    private float $pauseSeconds;

    private float $pausedUntil = 0.0;

    private int $batchDepth = 0;

    /** @var array<int, array{0: Event, 1: Delivery}> */
    private array $batched = [];

    /** @var array<int, array{0: Event, 1: Delivery}> */
    private array $staged = [];

    /**
     * @param  Closure(): LoggerInterface  $log  called only if there is something to log
     */
    public function __construct(Client $client, Closure $log, float $pauseSeconds)
    {
        $this->client = $client;
        $this->log = $log;
        $this->pauseSeconds = $pauseSeconds;
    }

    public function put(Event $event, Delivery $delivery, string $when): void
    {
        if ($when === self::AFTER_COMMIT) {
            $this->staged[] = [$event, $delivery];
        } elseif ($this->batchDepth > 0) {
            $this->batched[] = [$event, $delivery];
        } else {
            $this->send([[$event, $delivery]]);
        }
    }

    /**
     * @return array<int, Delivery> the deliveries of the outermost batch, which includes nested ones; a nested batch returns none
     */
    public function batch(callable $callback): array
    {
        $this->batchDepth++;
        $sent = [];

        try {
            $callback();
        } finally {
            if (--$this->batchDepth === 0) {
                $sent = $this->batched;
                $this->batched = [];
                $this->send($sent);
            }
        }

        return array_column($sent, 1);
    }

    /** Sends the events of a committed transaction in one call. */
    public function flushStaged(): void
    {
        $staged = $this->staged;
        $this->staged = [];

        if ($this->batchDepth > 0) {
            $this->batched = array_merge($this->batched, $staged);
        } else {
            $this->send($staged);
        }
    }

    /** Ends the pause after a timeout. */
    public function resume(): void
    {
        $this->pausedUntil = 0.0;
    }

    /**
     * Logs one line. It never throws, not even if the log cannot be written.
     *
     * @param  array<string, mixed>  $context
     */
    public function warn(string $what, Throwable $cause, array $context = []): void
    {
        try {
            ($this->log)()->warning('pwd-edge: '.$what.': '.$cause->getMessage(), $context);
        } catch (Throwable $ignored) {
            // There is no other place to report it.
        }
    }

    /**
     * @param  array<int, array{0: Event, 1: Delivery}>  $pairs
     */
    private function send(array $pairs): void
    {
        if ($pairs === []) {
            return;
        }

        $deliveries = array_column($pairs, 1);

        if (Deadline::now() >= $this->pausedUntil) {
            $this->call(array_column($pairs, 0), $deliveries);
        }

        foreach ($deliveries as $delivery) {
            if (! $delivery->sent()) {
                $delivery->fail();
            }
        }

        foreach ($pairs as [$event, $delivery]) {
            $this->reportAbsent($event, $delivery);
        }
    }

    /** Fires BroadcastMissed. An exception of a listener must not fail the web request. */
    private function reportAbsent(Event $event, Delivery $delivery): void
    {
        try {
            BroadcastMissed::fireFor($event, $delivery);
        } catch (Throwable $cause) {
            $this->warn('absent users not notified', $cause, [
                'type' => $event->type(),
            ] + $event->room());
        }
    }

    /**
     * @param  array<int, Event>  $events
     * @param  array<int, Delivery>  $deliveries
     */
    private function call(array $events, array $deliveries): void
    {
        try {
            $this->client->broadcast($events, static function (int $index, $result) use ($deliveries): void {
                $deliveries[$index]->settle($result);
            });
        } catch (Throwable $cause) {
            // If the edge hangs, a request waits for one timeout, not for one per event.
            if ($cause instanceof EdgeTimedOut) {
                $this->pausedUntil = Deadline::now() + $this->pauseSeconds;
            }

            $this->warn('broadcast not delivered', $cause, [
                'type' => $events[0]->type(),
            ] + $events[0]->room() + [
                'events' => count($events),
            ]);
        }
    }
}
