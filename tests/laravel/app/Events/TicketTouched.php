<?php

namespace App\Events;

use Illuminate\Contracts\Broadcasting\ShouldBroadcast;

/** What it says is another thing each time it is asked. */
class TicketTouched implements ShouldBroadcast
{
    public function broadcastOn()
    {
        return ['ticket.1'];
    }

    public function broadcastAs()
    {
        return 'ticket_touched';
    }

    public function broadcastWith()
    {
        return ['at' => hrtime(true)];
    }
}
