<?php

namespace App\Notifications;

use Illuminate\Notifications\Notification;

/** An ordinary notification, on the user's own channel. */
class TicketAssigned extends Notification
{
    private int $ticketId;

    public function __construct(int $ticketId)
    {
        $this->ticketId = $ticketId;
    }

    public function via($notifiable): array
    {
        return ['broadcast'];
    }

    public function toArray($notifiable): array
    {
        return ['ticket_id' => $this->ticketId];
    }
}
