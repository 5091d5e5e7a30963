<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Throwable;

/**
 * The WebSocket session of the tab that made this web request, if it says so:
 * the header can hold anything, another user's session too.
 */
final class CurrentSession
{
    public static function id(): ?string
    {
        $session = request()->header('X-Socket-ID');

        return is_string($session) && $session !== '' ? $session : null;
    }

    /**
     * Whose the session must be, if this web request named it: the user's who
     * made the request. Null where that is not known, as in a queue worker.
     *
     * @return int|string|null
     */
    public static function ownerOf(?string $session)
    {
        try {
            $user = $session !== null && $session === self::id() ? request()->user() : null;
            $id = $user === null ? null : $user->getAuthIdentifier();
        } catch (Throwable $unknown) {
            return null;
        }

        return self::isUserId($id) ? $id : null;
    }

    /**
     * What the edge takes for one; with anything else it would refuse the event.
     *
     * @param  mixed  $id
     */
    private static function isUserId($id): bool
    {
        return is_int($id) ? $id >= 0 : is_string($id) && strlen($id) <= 64 && preg_match('/\A\P{Cc}+\z/u', $id) === 1;
    }
}
