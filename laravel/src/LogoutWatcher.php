<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Auth\Events\CurrentDeviceLogout;
use Illuminate\Auth\Events\Logout;
use Illuminate\Auth\Events\OtherDeviceLogout;
use Illuminate\Contracts\Events\Dispatcher;

/**
 * Tells the edge when a user logs out by any guard with sessions, on any path, such as
 * that of a Livewire action. The edge then asks which WebSockets of the user are still
 * logged in.
 */
final class LogoutWatcher
{
    public static function watch(Dispatcher $events): void
    {
        $logouts = [Logout::class, CurrentDeviceLogout::class, OtherDeviceLogout::class];

        $events->listen($logouts, static function ($event): void {
            $user = $event->user === null ? null : $event->user->getAuthIdentifier();

            // A worker or a command ends no session, and runs these callbacks only at its end.
            if ($user !== null && ! app()->runningInConsole()) {
                // Laravel stores the session after the controller: before that it is still valid.
                app()->terminating(static function () use ($user): void {
                    app(Broadcasts::class)->revalidateUser($user);
                });
            }
        });
    }
}
