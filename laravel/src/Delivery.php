<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

/**
 * The result of one event. Inside Edge::batch() it is pending until the batch is
 * sent.
 */
final class Delivery
{
    private ?bool $sent = null;

    private int $sessions = 0;

    /** @var array<int, int|string> */
    private array $users = [];

    /** @var array<int, int|string> */
    private array $absent = [];

    private ?string $position = null;

    private bool $stored = false;

    /**
     * @param  mixed  $result  the edge's result for this event
     */
    public function settle($result): void
    {
        $result = is_array($result) ? $result : [];
        $position = $result['position'] ?? null;

        $this->sent = true;
        $this->sessions = (int) ($result['sessions'] ?? 0);
        $this->users = array_values((array) ($result['users'] ?? []));
        $this->absent = array_values((array) ($result['absent'] ?? []));
        $this->position = is_string($position) ? $position : null;
        $this->stored = ($result['stored'] ?? null) === true;
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

    /**
     * Returns the ids of those users whom the event is for and who had not joined the
     * ticket; none if the event named no users.
     *
     * @return array<int, int|string>
     */
    public function absent(): array
    {
        return $this->absent;
    }

    /** Returns the position of the event, or null if the edge keeps no history. */
    public function position(): ?string
    {
        return $this->position;
    }

    /** Returns whether the event survives a restart of the edge. */
    public function stored(): bool
    {
        return $this->stored;
    }
}
