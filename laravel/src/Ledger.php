<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Contracts\Support\Arrayable;
use Illuminate\Http\Resources\Json\JsonResource;
use PwdEdge\Laravel\Socket\Deadline;
use Throwable;

/**
 * The events that this request or job has already broadcast. They prevent a
 * duplicate if a controller calls the service for a model that is also watched.
 *
 * The ledger lives for one request or job. An entry expires after one minute, for a
 * daemon that never ends its scope.
 */
class Ledger
{
    /** Source: the app called a broadcast method. */
    public const CALLED = 'called';

    /** Source: a watched model changed. */
    public const WATCHED = 'watched';

    private const SECONDS = 60.0;

    private const MAX_ENTRIES = 1000;

    /** @var array<string, array{source: string, delivery: Delivery, at: float}> */
    private array $entries = [];

    /**
     * Records an event that is about to be sent, and returns its delivery.
     *
     * @param  string|null  $key  null if the event cannot be identified; then it is not recorded
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
     * Returns the delivery of a message that has already been sent, or null if it must
     * be sent now. After a failure the same source may retry. The other source receives
     * the failed delivery, so that the web request does not wait a second time.
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
     * Returns the delivery of a change that the other source has sent, or null if it
     * must be sent now. The same change may happen again (open, closed, open), so each
     * change from one source matches one change from the other source, and no more.
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
     * Returns an entry that has not expired.
     *
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
     * Returns the key of a message, or null if it has no id.
     *
     * @param  mixed  $ticketId
     * @param  mixed  $message
     */
    public static function messageKey($ticketId, $message): ?string
    {
        $id = self::idOf($message);

        return $id === null || $id === '' ? null : 'message '.self::word($ticketId).' '.self::word($id);
    }

    /**
     * Returns the key of a change of status.
     *
     * @param  mixed  $ticketId
     * @param  mixed  $status
     */
    public static function statusKey($ticketId, $status): string
    {
        return 'status '.self::word($ticketId).' '.self::word($status);
    }

    /**
     * Returns the id of a message in any form.
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
     * Returns a value in the form that clients see: an enum, its value and an object
     * that encodes to it are equal. A value without a JSON form is not sent, so it
     * equals no other.
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
