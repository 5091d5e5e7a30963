<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

/**
 * What became of one event. Inside Edge::batch() it is pending until the batch
 * is sent; afterwards it says who was reached, so that the app can write an
 * e-mail to those who were not.
 */
final class Delivery
{
    private ?bool $sent = null;

    private int $sessions = 0;

    /** @var array<int, int|string> */
    private array $users = [];

    /**
     * @param  mixed  $answer  one element of the edge's answer
     */
    public function settle($answer): void
    {
        $this->sent = true;
        $this->sessions = is_array($answer) ? (int) ($answer['sessions'] ?? 0) : 0;
        $this->users = is_array($answer) && is_array($answer['users'] ?? null) ? array_values($answer['users']) : [];
    }

    public function fail(): void
    {
        $this->sent = false;
    }

    /** The edge took it. That nobody was in the room is no failure. */
    public function sent(): bool
    {
        return $this->sent === true;
    }

    public function failed(): bool
    {
        return $this->sent === false;
    }

    /** How many open tabs and devices got it. */
    public function sessions(): int
    {
        return $this->sessions;
    }

    /**
     * Ids of the users behind those sessions; the edge names at most 100.
     *
     * @return array<int, int|string>
     */
    public function users(): array
    {
        return $this->users;
    }

    /**
     * @param  int|string  $userId
     */
    public function reached($userId): bool
    {
        return in_array((string) $userId, array_map('strval', $this->users), true);
    }
}
