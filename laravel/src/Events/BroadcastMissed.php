<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Events;

use PwdEdge\Laravel\Delivery;
use PwdEdge\Laravel\Event;

/**
 * Users whom an event is for had not joined its ticket when the edge delivered it. The
 * app listens to this event to notify them in another way.
 *
 * A retry of a job can fire it again, with the same position.
 */
final class BroadcastMissed
{
    /** The type of the event, such as `new_message`. */
    public string $type;

    /** The id of the ticket; null if the event is for channels. */
    public ?int $ticketId;

    /** @var array<int, string> the names of the channels; empty if the event is for a ticket */
    public array $channels;

    /** @var array<string, mixed> the payload, as browsers get it */
    public array $payload;

    /** @var array<int, int|string> the ids of the users */
    public array $users;

    /** The position of the event on the edge; null if the edge keeps no history, and for channels. */
    public ?string $position;

    /** Whether the event survives a restart of the edge. */
    public bool $stored;

    public function __construct(Event $event, Delivery $delivery)
    {
        $this->type = $event->type();
        $this->ticketId = $event->room()['ticket_id'] ?? null;
        $this->channels = $event->room()['channels'] ?? [];
        $this->payload = $event->payload();
        $this->users = $delivery->absent();
        $this->position = $delivery->position();
        $this->stored = $delivery->stored();
    }

    /** Fires this event if there are such users. */
    public static function fireFor(Event $event, Delivery $delivery): void
    {
        if ($delivery->absent() !== []) {
            event(new self($event, $delivery));
        }
    }
}
