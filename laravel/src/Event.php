<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use BackedEnum;
use Illuminate\Contracts\Support\Arrayable;
use Illuminate\Contracts\Support\Jsonable;
use InvalidArgumentException;
use JsonSerializable;
use UnitEnum;

/**
 * One event for the room of a ticket, or for those of channels. It is encoded at the
 * moment of the broadcast, so later changes of a model do not change the event.
 */
final class Event
{
    private string $type;

    private ?int $ticketId = null;

    /** @var array<int, string> */
    private array $channels = [];

    private string $json;

    /**
     * @param  mixed  $room  the id of a ticket, an integer or a string of digits such as a route parameter; or a list of names of channels
     * @param  mixed  $payload  an array, model, resource or collection that encodes to a JSON object
     * @param  string|null  $except  id of the session that does not receive the event (X-Socket-ID)
     * @param  int|string|null  $exceptUser  exclude the session only if it belongs to this user; null: in any case
     * @param  iterable<mixed>  $to  the users whom the event is for, see {@see Recipients::ids()}
     */
    public function __construct(
        string $type,
        $room,
        $payload = [],
        ?string $except = null,
        $exceptUser = null,
        iterable $to = []
    ) {
        if ($type === '' || strlen($type) > 200) {
            throw new InvalidArgumentException('an event type must have 1 to 200 bytes');
        }

        $this->type = $type;

        if (is_array($room)) {
            $this->channels = self::channels($room);
            // An empty array is the JSON of a list.
            $event = ['type' => $type, 'payload' => (object) self::members($payload), 'channels' => $this->channels];
        } else {
            $this->ticketId = self::ticket($room);
            $event = ['type' => $type, 'payload' => ['ticket_id' => $this->ticketId] + self::members($payload)];
        }

        if (self::isSession($except)) {
            $event['except'] = $except;

            if ($exceptUser !== null) {
                $event['except_user'] = $exceptUser;
            }
        }

        $users = Recipients::ids($to);

        if ($users !== []) {
            $event['to'] = $users;
        }

        $this->json = self::encode($event);
    }

    public function type(): string
    {
        return $this->type;
    }

    /**
     * Returns the ticket or the channels, for a log line.
     *
     * @return array<string, mixed>
     */
    public function room(): array
    {
        return $this->ticketId === null ? ['channels' => $this->channels] : ['ticket_id' => $this->ticketId];
    }

    /** Returns the number of rooms, by which the edge counts an event. */
    public function rooms(): int
    {
        return max(1, count($this->channels));
    }

    public function toJson(): string
    {
        return $this->json;
    }

    /**
     * Returns the payload as browsers get it.
     *
     * @return array<string, mixed>
     */
    public function payload(): array
    {
        return json_decode($this->json, true, 512, JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING)['payload'];
    }

    /**
     * Converts a value to the form that `response()->json()` encodes. Laravel's own
     * classes are JsonSerializable. For other classes the order of the checks is that
     * of JsonResponse.
     *
     * @param  mixed  $value
     * @return mixed
     */
    public static function plain($value)
    {
        // An enum without values has no JSON form; Laravel's casts store its name.
        if ($value instanceof UnitEnum && ! $value instanceof BackedEnum) {
            return $value->name;
        }

        if ($value instanceof JsonSerializable || ! is_object($value)) {
            return $value;
        }

        if ($value instanceof Jsonable) {
            return json_decode($value->toJson(), false, 512, JSON_THROW_ON_ERROR);
        }

        return $value instanceof Arrayable ? $value->toArray() : $value;
    }

    /**
     * Returns a copy of a value as JSON data, independent of the objects in it.
     *
     * @param  mixed  $value
     * @return mixed
     */
    public static function frozen($value)
    {
        return json_decode(self::encode(self::plain($value)), false, 512, JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
    }

    /**
     * @param  mixed  $value
     */
    public static function encode($value): string
    {
        return json_encode($value, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
    }

    /**
     * Returns whether $except has the form of a session id. It comes from a header
     * that any client can fill, for example with "undefined" or the id of another kind
     * of server. The edge would reject the whole event for such a value.
     */
    private static function isSession(?string $except): bool
    {
        return $except !== null
            && preg_match('/\A([0-9]{1,10})\.([0-9]{1,10})\z/', $except, $parts) === 1
            && max((int) $parts[1], (int) $parts[2]) <= 0xFFFFFFFF;
    }

    /**
     * Returns whether a channel can have a room on the edge.
     *
     * @param  mixed  $name
     */
    public static function isChannel($name): bool
    {
        return is_string($name) && preg_match('/\A[-a-zA-Z0-9_=@,.;]{1,200}\z/', $name) === 1;
    }

    /**
     * Returns whether a value is the id of a ticket.
     *
     * @param  mixed  $id
     */
    public static function isTicket($id): bool
    {
        $digits = is_int($id) ? (string) $id : $id;

        // 18 digits always fit into an integer. A cast would turn "1abc" into 1.
        return is_string($digits) && preg_match('/\A[1-9][0-9]{0,17}\z/', $digits) === 1;
    }

    /**
     * @param  array<mixed>  $names
     * @return array<int, string>
     */
    private static function channels(array $names): array
    {
        $wrong = array_filter($names, static function ($name): bool {
            return ! self::isChannel($name);
        });

        if ($names === [] || $wrong !== []) {
            throw new InvalidArgumentException(
                'a channel must have a name of 1 to 200 letters, digits and characters of -_=@,.;'
            );
        }

        return array_values(array_unique($names));
    }

    /**
     * @param  mixed  $ticketId
     */
    private static function ticket($ticketId): int
    {
        if (! self::isTicket($ticketId)) {
            throw new InvalidArgumentException('a ticket id must be a positive whole number');
        }

        return (int) $ticketId;
    }

    /**
     * Returns the members of the payload object. Nested JSON objects stay objects, so
     * that an empty {} does not become [].
     *
     * @param  mixed  $payload
     * @return array<string, mixed>
     */
    private static function members($payload): array
    {
        if (! is_array($payload)) {
            $payload = self::frozen($payload);
            $payload = is_object($payload) ? get_object_vars($payload) : $payload;
        }

        if (! is_array($payload) || ($payload !== [] && array_keys($payload) === range(0, count($payload) - 1))) {
            throw new InvalidArgumentException('a payload must be a JSON object, not a list or a single value');
        }

        return array_map([self::class, 'plain'], $payload);
    }
}
