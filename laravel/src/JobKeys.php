<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Broadcasting\BroadcastEvent;
use Illuminate\Contracts\Queue\Job;
use Illuminate\Support\Str;

/**
 * Idempotency keys. Outside of a job each call gets a fresh one, good for the
 * one silent reconnect. Inside a job the key comes from the job's UUID, which
 * is the same on every attempt: what the first attempt delivered, the retry
 * does not deliver again.
 *
 * Sync jobs run inside other jobs, hence a stack.
 */
class JobKeys
{
    /** @var array<int, array{uuid: string, wrapper: bool, counts: array<string, int>}> */
    private array $running = [];

    public function begin(Job $job): void
    {
        $payload = $job->payload();

        $this->running[] = [
            'uuid' => (string) ($payload['uuid'] ?? Str::uuid()),
            'wrapper' => ($payload['data']['commandName'] ?? null) === BroadcastEvent::class,
            'counts' => [],
        ];
    }

    public function end(Job $job): void
    {
        $uuid = (string) ($job->payload()['uuid'] ?? '');

        for ($i = count($this->running) - 1; $i >= 0; $i--) {
            if ($this->running[$i]['uuid'] === $uuid) {
                $this->running = array_slice($this->running, 0, $i);

                return;
            }
        }
    }

    public function next(string $body): string
    {
        if ($this->running === []) {
            return (string) Str::uuid();
        }

        $job = &$this->running[count($this->running) - 1];

        // Laravel's wrapper around a broadcast event does one thing, so its
        // calls are told apart by their number; the payload may hold a time
        // that differs between attempts. Any other job may take another way on
        // its second attempt: there the content decides, as a message lost is
        // worse than one sent twice.
        $which = $job['wrapper'] ? '' : '.'.substr(hash('sha256', $body), 0, 32);
        $job['counts'][$which] = ($job['counts'][$which] ?? 0) + 1;

        return $job['uuid'].$which.'.'.$job['counts'][$which];
    }
}
