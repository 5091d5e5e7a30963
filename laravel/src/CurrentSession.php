<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Throwable;

/**
 * The WebSocket session that the tab names in this web request. The header is
 * client input: it can hold anything, also the session of another user.
 */
final class CurrentSession
{
    /** Returns the value of `X-Socket-ID`, or null if there is none. */
    public static function id(): ?string
    {
        $session = request()->header('X-Socket-ID');

        return is_string($session) && $session !== '' ? $session : null;
    }

    /**
     * Returns the id of the user who sent this web request, if the request names
     * $session. The edge then excludes the session only if it belongs to that user.
     * Returns null if the user is unknown, as in a queue worker.
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

        return Recipients::isUserId($id) ? $id : null;
    }
}
