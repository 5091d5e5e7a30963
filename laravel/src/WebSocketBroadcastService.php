<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

/**
 * The three methods of the PWD app's own broadcast service, with the same names and
 * arguments.
 */
class WebSocketBroadcastService
{
    /**
     * Sends `new_message` to the ticket's room.
     *
     * @param  int|string  $ticketId
     * @param  mixed  $message  a model, resource or array; encoded like a JSON response
     * @return bool false if the edge did not accept it; the log has the reason
     */
    public static function broadcastNewMessage($ticketId, $message)
    {
        return self::accepted(app(Broadcasts::class)->newMessage($ticketId, $message));
    }

    /**
     * Sends `ticket_status_update` to the ticket's room.
     *
     * @param  int|string  $ticketId
     * @param  mixed  $status
     * @return bool false if the edge did not accept it; the log has the reason
     */
    public static function broadcastTicketStatusUpdate($ticketId, $status)
    {
        return self::accepted(app(Broadcasts::class)->statusUpdate($ticketId, $status));
    }

    /**
     * Returns whether the edge responds now.
     *
     * @return bool
     */
    public static function isAvailable()
    {
        return app(Broadcasts::class)->isAvailable();
    }

    /** Returns true for a pending delivery too: a batch sends its events later. */
    private static function accepted(Delivery $delivery): bool
    {
        return ! $delivery->failed();
    }
}
