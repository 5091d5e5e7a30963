<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

/**
 * The result of one event. Inside Edge::batch() it is pending until the batch is
 * sent. Then it names the users who receive the event, so that the app can e-mail
 * the others.
 */
final class Delivery
{
    private ?bool $sent = null;

    private int $sessions = 0;

    /** @var array<int, int|string> */
    private array $users = [];

    /**
     * @param  mixed  $result  the edge's result for this event
     */
    public function settle($result): void
    {
        $this->sent = true;
        $this->sessions = is_array($result) ? (int) ($result['sessions'] ?? 0) : 0;
        $this->users = is_array($result) && is_array($result['users'] ?? null) ? array_values($result['users']) : [];
    }

    public function fail(): void
    {
        $this->sent = false;
    }

    /** Returns whether the edge accepted the event. An empty room is not a failure. */
    public function sent(): bool
    {
        return $this->sent === true;
    }

    public function failed(): bool
    {
        return $this->sent === false;
    }

    /** Returns the number of sessions (tabs and devices) that receive the event. */
    public function sessions(): int
    {
        return $this->sessions;
    }

    /**
     * Returns the ids of the users of these sessions, at most 100.
     *
     * @return array<int, int|string>
     */
    public function users(): array
    {
        return $this->users;
    }

    /**
     * Returns whether one of the user's sessions receives the event.
     *
     * @param  int|string  $userId
     */
    public function reached($userId): bool
    {
        return in_array((string) $userId, array_map('strval', $this->users), true);
    }
}
