<?php

return [

    /*
     * Off in a test suite or on a machine without the edge: nothing is sent,
     * nothing is logged, every broadcast answers false. The broadcasting
     * driver is not affected; choose another BROADCAST_DRIVER for that.
     */
    'enabled' => env('EDGE_ENABLED', true),

    /*
     * The Unix socket on which the edge takes broadcasts: `[broadcast] socket`
     * in the edge's own configuration. The user that PHP runs as must be
     * allowed to open it, or it answers 403 (or the open fails).
     */
    'socket' => env('EDGE_SOCKET', '/run/pwd-edge/broadcast.sock'),

    /*
     * How long a web request may be held up, in milliseconds. The socket is on
     * this machine, so a call takes well under a millisecond; these limits are
     * for the day on which it does not. Connecting is given 250 ms because a
     * full backlog is retried within it; the whole call, reconnect included,
     * never takes more than `timeout_ms`.
     */
    'connect_timeout_ms' => env('EDGE_CONNECT_TIMEOUT_MS', 250),
    'timeout_ms' => env('EDGE_TIMEOUT_MS', 1000),

    /*
     * Keep the connection for the next broadcast of the same PHP process
     * (php-fpm worker, queue worker, Octane). Turn it off only to find a fault.
     */
    'keep_alive' => env('EDGE_KEEP_ALIVE', true),

    /*
     * After a call that timed out, later broadcasts of the same request or job
     * are skipped for this long, so that ten broadcasts to an edge that hangs
     * cost one second and not ten. 0 tries every time.
     */
    'pause_after_timeout_ms' => env('EDGE_PAUSE_AFTER_TIMEOUT_MS', 5000),

    /*
     * The log channel for "broadcast not delivered". Null is the default one.
     */
    'log_channel' => env('EDGE_LOG_CHANNEL'),

    /*
     * Models to watch, so that no controller has to call anything. It is done
     * by Eloquent events, after the transaction has been committed. A class
     * that does not exist does no harm; `php artisan edge:status` names it.
     */
    'watch' => [

        /*
         * Model => the attribute with the ticket's id. A created model is sent
         * to that ticket's room as `new_message`, as its toArray() gives it.
         */
        'messages' => [
            'App\Models\SupportTicketMessage' => 'support_ticket_id',
        ],

        /*
         * Model of a ticket => the attribute with its status. When an update
         * changes that attribute, the room gets `ticket_status_update`.
         */
        'statuses' => [
            'App\Models\SupportTicket' => 'status',
        ],
    ],

    /*
     * The name under which older code calls the broadcast service. If the app
     * has no such class (any more), the name leads to
     * PwdEdge\Laravel\WebSocketBroadcastService; a class of the app itself
     * always wins. Null turns this off.
     */
    'legacy_class' => 'App\Services\WebSocketBroadcastService',

];
