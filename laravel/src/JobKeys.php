<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Broadcasting\BroadcastEvent;
use Illuminate\Contracts\Queue\Job;
use Illuminate\Queue\Jobs\SyncJob;
use Illuminate\Support\Str;
use WeakReference;

/**
 * Idempotency keys. Outside of a job each call gets a fresh one, good for the
 * one silent reconnect. Inside a job the key comes from the job's UUID, which
 * is the same on every attempt: what the first attempt delivered, the retry
 * does not deliver again.
 */
class JobKeys
{
    /**
     * The job that runs. A sync job inside of it is part of it: its own UUID is
     * another one on each attempt. Held weakly, because the end of a job is not
     * announced when its `failed()` or another listener throws.
     *
     * @var WeakReference<Job>|null
     */
    private ?WeakReference $job = null;

    private string $uuid = '';

    private bool $isBroadcastEvent = false;

    /** @var array<string, int> */
    private array $counts = [];

    public function begin(Job $job): void
    {
        // A worker runs one job after the other: one of its jobs is never inside another.
        if ($job instanceof SyncJob && $this->isInJob()) {
            return;
        }

        $payload = $job->payload();
        $uuid = $payload['uuid'] ?? null;
        $command = $payload['data']['commandName'] ?? null;

        $this->job = WeakReference::create($job);
        $this->uuid = self::fitsKey($uuid) ? $uuid : (string) Str::uuid();
        $this->isBroadcastEvent = is_string($command) && is_a($command, BroadcastEvent::class, true);
        $this->counts = [];
    }

    public function end(Job $job): void
    {
        if ($this->job !== null && $this->job->get() === $job) {
            $this->job = null;
            $this->counts = [];
        }
    }

    /**
     * The headers by which the edge knows a call again.
     *
     * @param  int  $events  how many the body holds
     * @return array<string, string>
     */
    public function headers(string $body, int $events = 1): array
    {
        if (! $this->isInJob()) {
            return ['Idempotency-Key' => (string) Str::uuid()];
        }

        // Laravel's wrapper around a broadcast event does one thing, so its
        // calls are told apart by their number, and the edge compares no body:
        // the event may say another time, or its model something else, than on
        // the attempt that was delivered. The size is part of the key because
        // many channels are several calls, which may be cut elsewhere then.
        if ($this->isBroadcastEvent) {
            return ['Idempotency-Key' => $this->numbered('.'.$events), 'Idempotency-Match' => 'key'];
        }

        // Any other job may take another way on its second attempt: there the
        // content decides, as a message lost is worse than one sent twice.
        return ['Idempotency-Key' => $this->numbered('.'.substr(hash('sha256', $body), 0, 32))];
    }

    private function isInJob(): bool
    {
        return $this->job !== null && $this->job->get() !== null;
    }

    private function numbered(string $which): string
    {
        $this->counts[$which] = ($this->counts[$which] ?? 0) + 1;

        return $this->uuid.$which.'.'.$this->counts[$which];
    }

    /**
     * A job that something else than Laravel queued may have none, or anything.
     *
     * @param  mixed  $uuid
     */
    private static function fitsKey($uuid): bool
    {
        return is_string($uuid) && preg_match('/\A[\x21-\x7e]{1,100}\z/', $uuid) === 1;
    }
}
