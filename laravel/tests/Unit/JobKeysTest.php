<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Unit;

use Illuminate\Broadcasting\BroadcastEvent;
use Illuminate\Container\Container;
use Illuminate\Contracts\Queue\Job;
use Illuminate\Queue\Jobs\SyncJob;
use PHPUnit\Framework\TestCase;
use PwdEdge\Laravel\JobKeys;

final class JobKeysTest extends TestCase
{
    private const UUID = '0b6c4f1e-7a52-4c7e-9a0a-6a3f5f2d8f11';

    public function test_retry_has_the_keys_of_the_first_attempt(): void
    {
        $attempt = function (): array {
            return $this->during(new JobKeys(), $this->job(['uuid' => self::UUID]), ['a', 'b', 'a']);
        };

        $this->assertSame($attempt(), $attempt());
        $this->assertCount(3, array_unique(array_column($attempt(), 'Idempotency-Key')), 'two alike are two');
    }

    public function test_other_content_of_an_ordinary_job_has_another_key(): void
    {
        $job = $this->job(['uuid' => self::UUID]);

        $this->assertNotEquals($this->during(new JobKeys(), $job, ['a']), $this->during(new JobKeys(), $job, ['b']));
        $this->assertArrayNotHasKey('Idempotency-Match', $this->during(new JobKeys(), $job, ['a'])[0]);
    }

    /** @dataProvider wrappers */
    public function test_queued_event_has_one_key_whatever_its_content(string $wrapper): void
    {
        $job = $this->job(['uuid' => self::UUID, 'data' => ['commandName' => $wrapper]]);
        $first = $this->during(new JobKeys(), $job, ['a', 'b']);

        $this->assertSame($first, $this->during(new JobKeys(), $job, ['c', 'd']));
        $this->assertSame(['key', 'key'], array_column($first, 'Idempotency-Match'));
        $this->assertNotSame($first[0], $first[1]);

        $keys = new JobKeys();
        $keys->begin($job);
        $this->assertNotSame($first[0], $keys->headers('a', 2), 'with one more channel it is not done');
    }

    /** @return array<int, array<int, string>> */
    public function wrappers(): array
    {
        // Laravel 11 has such a subclass, UniqueBroadcastEvent.
        $unique = new class(new \stdClass()) extends BroadcastEvent {
        };

        return [[BroadcastEvent::class], [get_class($unique)]];
    }

    /** @dataProvider noUuids */
    public function test_job_without_a_uuid_ends_like_any_other(array $payload): void
    {
        $keys = new JobKeys();
        $during = $this->during($keys, $this->job($payload), ['a'])[0]['Idempotency-Key'];

        $this->assertMatchesRegularExpression('/\A[\x21-\x7e]{1,200}\z/', $during);
        $this->assertStringStartsNotWith(substr($during, 0, 8), $keys->headers('a')['Idempotency-Key']);
    }

    /** @return array<int, array<int, mixed>> */
    public function noUuids(): array
    {
        return [[[]], [['uuid' => null]], [['uuid' => ['x']]], [['uuid' => "a\r\nHost: b"]], [['uuid' => str_repeat('x', 300)]]];
    }

    public function test_sync_job_shares_the_keys_of_its_outer_job(): void
    {
        $attempt = function (): array {
            $keys = new JobKeys();
            $keys->begin($outer = $this->job(['uuid' => self::UUID]));
            $sent = [$keys->headers('a')];
            $sent = array_merge($sent, $this->during($keys, $this->syncJob(), ['a', 'b']));
            $sent[] = $keys->headers('a');
            $keys->end($outer);

            return array_column($sent, 'Idempotency-Key');
        };

        $this->assertSame($attempt(), $attempt());
        $this->assertCount(4, array_unique($attempt()));
    }

    public function test_keys_of_a_lone_sync_job_end_with_it(): void
    {
        $keys = new JobKeys();
        $during = $this->during($keys, $job = $this->syncJob(), ['a'])[0]['Idempotency-Key'];

        $this->assertStringStartsWith($job->payload()['uuid'], $during);
        $this->assertStringStartsNotWith($job->payload()['uuid'], $keys->headers('a')['Idempotency-Key']);
    }

    public function test_job_without_an_end_event_does_not_affect_the_next(): void
    {
        $keys = new JobKeys();
        $keys->begin($this->job(['uuid' => 'the-lost-one']));
        $next = $this->during($keys, $this->job(['uuid' => self::UUID]), ['a'])[0]['Idempotency-Key'];

        $this->assertStringStartsWith(self::UUID, $next);
        $this->assertStringStartsNotWith('the-lost-one', $keys->headers('a')['Idempotency-Key']);
    }

    public function test_destroyed_job_ends_without_an_end_event(): void
    {
        $keys = new JobKeys();
        $keys->begin($lost = $this->syncJob());
        $uuid = $lost->payload()['uuid'];
        $this->assertStringStartsWith($uuid, $keys->headers('a')['Idempotency-Key']);
        unset($lost);

        $this->assertStringStartsNotWith($uuid, $keys->headers('a')['Idempotency-Key']);
    }

    /**
     * @param  array<int, string>  $bodies
     * @return array<int, array<string, string>>
     */
    private function during(JobKeys $keys, Job $job, array $bodies): array
    {
        $keys->begin($job);
        $headers = array_map([$keys, 'headers'], $bodies);
        $keys->end($job);

        return $headers;
    }

    /** One that a worker runs. */
    private function job(array $payload): Job
    {
        $job = $this->createStub(Job::class);
        $job->method('payload')->willReturn($payload);

        return $job;
    }

    private function syncJob(): SyncJob
    {
        return new SyncJob(new Container(), json_encode(['uuid' => bin2hex(random_bytes(16))]), 'sync', 'sync');
    }
}
