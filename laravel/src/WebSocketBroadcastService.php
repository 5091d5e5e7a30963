<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

/**
 * The three calls that the app's controllers have always made, with the old
 * names and arguments. They now reach the clients.
 */
class WebSocketBroadcastService
{
    /**
     * `new_message` to everybody in the ticket's room.
     *
     * @param  int|string  $ticketId
     * @param  mixed  $message  model, resource or array; sent as a JSON response would show it
     * @return bool false: not delivered, the reason is in the log
     */
    public static function broadcastNewMessage($ticketId, $message)
    {
        return self::accepted(app(Broadcasts::class)->newMessage($ticketId, $message));
    }

    /**
     * `ticket_status_update` to everybody in the ticket's room.
     *
     * @param  int|string  $ticketId
     * @param  mixed  $status
     * @return bool false: not delivered, the reason is in the log
     */
    public static function broadcastTicketStatusUpdate($ticketId, $status)
    {
        return self::accepted(app(Broadcasts::class)->statusUpdate($ticketId, $status));
    }

    /**
     * Asks the edge, now.
     *
     * @return bool
     */
    public static function isAvailable()
    {
        return app(Broadcasts::class)->isAvailable();
    }

    /** Inside a batch or a transaction nothing is known yet; it is on its way. */
    private static function accepted(Delivery $delivery): bool
    {
        return ! $delivery->failed();
    }
}
