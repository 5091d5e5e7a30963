<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Broadcasting\PrivateChannel;

/**
 * The channel of a ticket, for `broadcastOn()` of a broadcast event. It can name the
 * users whom the event is for. With another driver it is a private channel.
 */
class TicketChannel extends PrivateChannel
{
    /** @var array<int, int|string> */
    private array $users = [];

    /**
     * @param  int|string  $ticketId
     */
    public function __construct($ticketId)
    {
        parent::__construct('ticket.'.$ticketId);
    }

    /**
     * Names the users whom the event is for. The app gets a BroadcastMissed event with
     * those who have not joined the ticket.
     *
     * @param  iterable<mixed>  $users  at most 100 ids, or users of Laravel
     * @return $this
     */
    public function to(iterable $users): self
    {
        $this->users = Recipients::ids($users);

        return $this;
    }

    /**
     * Returns the ids of the users whom the event is for.
     *
     * @return array<int, int|string>
     */
    public function users(): array
    {
        return $this->users;
    }
}
