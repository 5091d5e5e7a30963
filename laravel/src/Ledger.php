<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Contracts\Support\Arrayable;
use Illuminate\Http\Resources\Json\JsonResource;
use PwdEdge\Laravel\Socket\Deadline;
use Throwable;

/**
 * What has already been broadcast in this request or job, so that one event is
 * not sent twice when a controller calls the service and the model is watched
 * as well.
 *
 * It lives as long as one request or job, and an entry one minute at most, for
 * a daemon that never ends its scope.
 */
class Ledger
{
    /** The app called a broadcast method. */
    public const CALLED = 'called';

    /** A watched model changed. */
    public const WATCHED = 'watched';

    private const SECONDS = 60.0;

    private const MAX_ENTRIES = 1000;

    /** @var array<string, array{source: string, delivery: Delivery, at: float}> */
    private array $entries = [];

    /**
     * The delivery of an event that is about to be sent.
     *
     * @param  string|null  $key  null: nothing by which it could be known again
     */
    public function record(?string $key, string $source): Delivery
    {
        $delivery = new Delivery();

        if ($key === null) {
            return $delivery;
        }

        unset($this->entries[$key]);

        if (count($this->entries) >= self::MAX_ENTRIES) {
            array_shift($this->entries);
        }

        $this->entries[$key] = ['source' => $source, 'delivery' => $delivery, 'at' => Deadline::now()];

        return $delivery;
    }

    /**
     * For something that exists once, as a message with an id does: sent is
     * sent. After a failure the same caller may try again; the other one is
     * told of the failure and does not make the request wait a second time.
     */
    public function message(?string $key, string $source): ?Delivery
    {
        $entry = $this->entry($key);

        if ($entry === null || ($entry['source'] === $source && $entry['delivery']->failed())) {
            return null;
        }

        return $entry['delivery'];
    }

    /**
     * For a change, which may happen again: open, closed, open. Each one that
     * was seen in one way excuses one seen in the other way, no more.
     */
    public function change(string $key, string $source): ?Delivery
    {
        $entry = $this->entry($key);

        if ($entry === null || $entry['source'] === $source) {
            return null;
        }

        unset($this->entries[$key]);

        return $entry['delivery'];
    }

    /**
     * @return array{source: string, delivery: Delivery, at: float}|null
     */
    private function entry(?string $key): ?array
    {
        $entry = $key === null ? null : $this->entries[$key] ?? null;

        if ($entry !== null && Deadline::now() - $entry['at'] > self::SECONDS) {
            unset($this->entries[$key]);

            return null;
        }

        return $entry;
    }

    /**
     * @param  mixed  $ticketId
     * @param  mixed  $message
     */
    public static function messageKey($ticketId, $message): ?string
    {
        $id = self::idOf($message);

        return $id === null || $id === '' ? null : 'message '.self::word($ticketId).' '.self::word($id);
    }

    /**
     * @param  mixed  $ticketId
     * @param  mixed  $status
     */
    public static function statusKey($ticketId, $status): string
    {
        return 'status '.self::word($ticketId).' '.self::word($status);
    }

    /**
     * The id of a message, whatever it is given as.
     *
     * @param  mixed  $message
     * @return mixed
     */
    private static function idOf($message)
    {
        if ($message instanceof JsonResource) {
            return self::idOf($message->resource);
        }

        try {
            if ($message instanceof Arrayable && ! method_exists($message, 'getKey')) {
                return $message->id ?? $message->toArray()['id'] ?? null;
            }

            if (is_object($message)) {
                return method_exists($message, 'getKey') ? $message->getKey() : $message->id ?? null;
            }

            return is_array($message) ? $message['id'] ?? null : null;
        } catch (Throwable $unknown) {
            return null;
        }
    }

    /**
     * A value as clients will see it: an enum, its value and an object that
     * prints it are one. What has no JSON is not sent, so it is like nothing else.
     *
     * @param  mixed  $value
     */
    private static function word($value): string
    {
        try {
            $value = is_scalar($value) ? $value : Event::frozen($value);

            return is_scalar($value) ? (string) $value : Event::encode($value);
        } catch (Throwable $unsayable) {
            return uniqid('unsayable ', true);
        }
    }
}
