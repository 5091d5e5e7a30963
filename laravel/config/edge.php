<?php

return [

    /*
     * Whether the package sends anything. With false it sends nothing, logs
     * nothing, and every broadcast returns false. Turn it off in a test suite
     * or on a machine without the edge. It does not affect the broadcasting
     * driver; choose another BROADCAST_DRIVER for that.
     */
    'enabled' => env('EDGE_ENABLED', true),

    /*
     * The path of the edge's Unix socket. It must be the `socket` of
     * `[broadcast]` in the edge's config.toml. If the user of PHP may not open
     * it, every broadcast fails, and `php artisan edge:status` explains why.
     */
    'socket' => env('EDGE_SOCKET', '/run/pwd-edge/broadcast.sock'),

    /*
     * The longest time that a broadcast may delay a web request, in
     * milliseconds. A call normally takes well under one millisecond, because
     * the socket is on this machine. `connect_timeout_ms` limits connecting,
     * with retries while the edge's backlog is full. `timeout_ms` limits the
     * whole call, including a reconnect. At the limit the broadcast fails.
     * Lower them if your web requests must never wait that long.
     */
    'connect_timeout_ms' => env('EDGE_CONNECT_TIMEOUT_MS', 250),
    'timeout_ms' => env('EDGE_TIMEOUT_MS', 1000),

    /*
     * Whether to keep the connection for the next broadcast of the same PHP
     * process (php-fpm worker, queue worker, Octane). Turn it off only to find
     * a fault.
     */
    'keep_alive' => env('EDGE_KEEP_ALIVE', true),

    /*
     * After a call that timed out, the package skips the later broadcasts of
     * the same request or job for this time, in milliseconds. So ten broadcasts
     * to an edge that does not respond take one second, not ten. With 0 the
     * package tries every broadcast.
     */
    'pause_after_timeout_ms' => env('EDGE_PAUSE_AFTER_TIMEOUT_MS', 5000),

    /*
     * The key and the secret of `[pusher]` in the edge's config.toml, for Laravel
     * Echo. With both, the driver `edge` signs who may join a channel. Without
     * them, Echo cannot join private and presence channels.
     */
    'pusher' => [
        'key' => env('EDGE_PUSHER_KEY', env('REVERB_APP_KEY')),
        'secret' => env('EDGE_PUSHER_SECRET', env('REVERB_APP_SECRET')),
    ],

    /*
     * The log channel for failures such as "broadcast not delivered". Null is
     * the default channel.
     */
    'log_channel' => env('EDGE_LOG_CHANNEL'),

    /*
     * Models to watch, so that no controller has to call anything. The package
     * listens to Eloquent's events, and sends after the transaction has been
     * committed. It ignores a class that does not exist; `php artisan
     * edge:status` lists it.
     */
    'watch' => [

        /*
         * Model => the attribute with the ticket's id. When a model is created,
         * the room of that ticket receives `new_message` with its toArray().
         */
        'messages' => [
            'App\Models\SupportTicketMessage' => 'support_ticket_id',
        ],

        /*
         * Model of a ticket => the attribute with its status. When an update
         * changes that attribute, the room receives `ticket_status_update`.
         */
        'statuses' => [
            'App\Models\SupportTicket' => 'status',
        ],

        /*
         * Whether the edge is told when a user's session logs out, also on a
         * path that `logout_paths` of the edge does not list. It closes the
         * WebSockets of that session.
         */
        'logouts' => env('EDGE_WATCH_LOGOUTS', true),
    ],

    /*
     * The class name under which older code calls the broadcast service. If
     * the app has no such class, the name becomes an alias of
     * PwdEdge\Laravel\WebSocketBroadcastService. A class of the app always has
     * precedence. Null disables the alias.
     */
    'legacy_class' => 'App\Services\WebSocketBroadcastService',

];
