<?php

namespace App\Events;

use Illuminate\Broadcasting\InteractsWithSockets;
use Illuminate\Contracts\Broadcasting\ShouldBroadcast;

/** An ordinary broadcast event, for the `edge` driver. */
class TicketNoted implements ShouldBroadcast
{
    use InteractsWithSockets;

    private array $channels;

    private array $with;

    public function __construct(array $channels, array $with)
    {
        $this->channels = $channels;
        $this->with = $with;
    }

    public function broadcastOn()
    {
        return $this->channels;
    }

    public function broadcastAs()
    {
        return 'ticket_noted';
    }

    public function broadcastWith()
    {
        return $this->with;
    }
}
