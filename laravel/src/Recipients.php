<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Contracts\Auth\Authenticatable;
use Illuminate\Http\Resources\Json\JsonResource;
use InvalidArgumentException;

/**
 * The users whom an event is for. The edge says which of them have not joined the
 * ticket.
 */
final class Recipients
{
    /** The edge accepts at most 100 users for one event. */
    private const MAX_USERS = 100;

    /**
     * Returns the ids of users, each once.
     *
     * @param  iterable<mixed>  $users  ids, or users of Laravel; null is no user
     * @return array<int, int|string>
     *
     * @throws InvalidArgumentException if one is no user, or there are more than 100
     */
    public static function ids(iterable $users): array
    {
        $ids = [];

        foreach ($users as $user) {
            $id = $user instanceof Authenticatable ? $user->getAuthIdentifier() : $user;

            if ($id === null) {
                continue;
            }

            if (! self::isUserId($id)) {
                throw new InvalidArgumentException('the recipients of an event must be users, or ids of users');
            }

            $ids[(string) $id] ??= $id;
        }

        if (count($ids) > self::MAX_USERS) {
            throw new InvalidArgumentException('an event can have at most '.self::MAX_USERS.' recipients');
        }

        return array_values($ids);
    }

    /**
     * Yields the users that a model names in its method `broadcastTo()`, and none if it
     * has no such method. The method runs when they are read.
     *
     * @param  mixed  $model  a model, its resource, or anything else
     * @return iterable<mixed>
     */
    public static function namedBy($model): iterable
    {
        $model = $model instanceof JsonResource ? $model->resource : $model;

        if (is_object($model) && method_exists($model, 'broadcastTo')) {
            foreach ($model->broadcastTo() as $user) {
                yield $user;
            }
        }
    }

    /**
     * Returns whether the edge accepts $id as a user id. It would reject the whole
     * event for any other value.
     *
     * @param  mixed  $id
     */
    public static function isUserId($id): bool
    {
        return is_int($id) ? $id >= 0 : is_string($id) && strlen($id) <= 64 && preg_match('/\A\P{Cc}+\z/u', $id) === 1;
    }
}
