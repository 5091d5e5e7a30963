<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Closure;
use Psr\Log\LoggerInterface;
use PwdEdge\Laravel\Exceptions\EdgeTimedOut;
use PwdEdge\Laravel\Socket\Deadline;
use Throwable;

/**
 * Events on their way to the edge: at once, at the end of a batch, or when the
 * database transaction is committed. The one place that decides what a failure
 * means for the app: a line in the log and a Delivery that failed.
 */
class Outbox
{
    /** When an event leaves. */
    public const NOW = 'now';

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
     * @param  Closure(): LoggerInterface  $log  asked for only when there is something to say
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
     * @return array<int, Delivery> what the outermost batch sent; a batch inside another one is part of it
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

    /** The transaction is committed: what it staged leaves, as one call. */
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

    public function resume(): void
    {
        $this->pausedUntil = 0.0;
    }

    /**
     * One line in the log, never an exception: not even when the log itself
     * cannot be written.
     *
     * @param  array<string, mixed>  $context
     */
    public function warn(string $what, Throwable $cause, array $context = []): void
    {
        try {
            ($this->log)()->warning('pwd-edge: '.$what.': '.$cause->getMessage(), $context);
        } catch (Throwable $ignored) {
            // There is nowhere left to say it.
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
    }

    /**
     * @param  array<int, Event>  $events
     * @param  array<int, Delivery>  $deliveries
     */
    private function call(array $events, array $deliveries): void
    {
        try {
            $this->client->broadcast($events, static function (int $index, $answer) use ($deliveries): void {
                $deliveries[$index]->settle($answer);
            });
        } catch (Throwable $cause) {
            // An edge that hangs costs a request one timeout, not one for each event.
            if ($cause instanceof EdgeTimedOut) {
                $this->pausedUntil = Deadline::now() + $this->pauseSeconds;
            }

            $this->warn('broadcast not delivered', $cause, [
                'type' => $events[0]->type(),
                'ticket_id' => $events[0]->ticketId(),
                'events' => count($events),
            ]);
        }
    }
}
