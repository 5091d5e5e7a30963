<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Broadcasting\BroadcastEvent;
use Illuminate\Contracts\Queue\Job;
use Illuminate\Queue\Jobs\SyncJob;
use Illuminate\Support\Str;
use WeakReference;

/**
 * Creates idempotency keys. Outside of a job each call has a new key, which covers
 * the transport's own retry. Inside a job the key comes from the job's UUID, which
 * is the same on every attempt: a retry does not deliver an event again.
 */
class JobKeys
{
    /**
     * The running job. A sync job inside it counts as part of it, because the UUID
     * of a sync job changes on each attempt. The reference is weak, because Laravel
     * fires no event for the end of a job if its `failed()` or a listener throws.
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
        // A worker runs its jobs one after the other, so only a sync job can be nested.
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
     * Returns the headers by which the edge recognizes a repeated call.
     *
     * @param  int  $events  the number of events in the body
     * @return array<string, string>
     */
    public function headers(string $body, int $events = 1): array
    {
        if (! $this->isInJob()) {
            return ['Idempotency-Key' => (string) Str::uuid()];
        }

        // Laravel's wrapper job broadcasts one event and does nothing else, so the
        // number of the call identifies it. The edge does not compare the body: on a
        // retry it may contain another time or a changed model. The number of events
        // is part of the key, because an event on many channels takes several calls,
        // and a retry may split them at another place.
        if ($this->isBroadcastEvent) {
            return ['Idempotency-Key' => $this->numbered('.'.$events), 'Idempotency-Match' => 'key'];
        }

        // Any other job may act differently on its second attempt, so the content is
        // part of the key: a lost message is worse than a duplicate.
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
     * Returns whether a UUID can be part of a key. A job that Laravel did not queue may
     * have none, or any value.
     *
     * @param  mixed  $uuid
     */
    private static function fitsKey($uuid): bool
    {
        return is_string($uuid) && preg_match('/\A[\x21-\x7e]{1,100}\z/', $uuid) === 1;
    }
}
