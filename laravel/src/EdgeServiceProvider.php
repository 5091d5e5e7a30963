<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Closure;
use Illuminate\Broadcasting\BroadcastManager;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Queue\Events\JobExceptionOccurred;
use Illuminate\Queue\Events\JobProcessed;
use Illuminate\Queue\Events\JobProcessing;
use Illuminate\Support\ServiceProvider;
use Psr\Log\LoggerInterface;
use PwdEdge\Laravel\Console\BroadcastCommand;
use PwdEdge\Laravel\Console\InstallCommand;
use PwdEdge\Laravel\Console\StatusCommand;
use PwdEdge\Laravel\Socket\Transport;

/**
 * Registers the package. There are two lifetimes: the connection and the job keys
 * belong to the process. The outbox and the ledger belong to one request or job,
 * so they are scoped: Octane and the queue worker create new ones.
 */
class EdgeServiceProvider extends ServiceProvider
{
    /** @var array<string, bool> an autoloader outlives the app, and a test run creates many apps */
    private static array $legacyNames = [];

    public function register(): void
    {
        $this->mergeConfigFrom(__DIR__.'/../config/edge.php', 'edge');

        // BROADCAST_DRIVER=edge works without an entry in config/broadcasting.php.
        if (config('broadcasting.connections.edge') === null) {
            config(['broadcasting.connections.edge' => ['driver' => 'edge']]);
        }

        $this->app->singleton(JobKeys::class);
        $this->app->singleton(Client::class, static function ($app): Client {
            return new Client(self::transport($app['config']['edge']), $app->make(JobKeys::class));
        });
        $this->app->scoped(Outbox::class, static function ($app): Outbox {
            return self::outbox($app);
        });
        $this->app->scoped(Broadcasts::class, static function ($app): Broadcasts {
            $enabled = (bool) $app['config']['edge.enabled'];

            return new Broadcasts($app->make(Client::class), $app->make(Outbox::class), new Ledger(), $enabled);
        });

        // Before any provider boots: the app's routes/channels.php needs the driver.
        $this->callAfterResolving(BroadcastManager::class, static function (BroadcastManager $broadcasting): void {
            $broadcasting->extend('edge', static function ($app): EdgeBroadcaster {
                $pusher = (array) $app['config']['edge.pusher'];
                $signature = ChannelSignature::with($pusher['key'] ?? null, $pusher['secret'] ?? null);

                return new EdgeBroadcaster($app->make(Client::class), self::log($app), $signature);
            });
        });

        // Octane clones the app for each request. The clones share the instances that it warms.
        if (config('octane') !== null) {
            config(['octane.warm' => array_merge((array) config('octane.warm', []), [Client::class])]);
        }

        $this->aliasLegacyClass(config('edge.legacy_class'));
    }

    public function boot(Dispatcher $events): void
    {
        (new ModelWatcher())->watch(
            $events,
            (array) config('edge.watch.messages', []),
            (array) config('edge.watch.statuses', [])
        );

        $this->followRequestsAndJobs($events);
        ReadOnlySessionHandler::watch($events);

        if (config('edge.watch.logouts', true)) {
            LogoutWatcher::watch($events);
        }

        if ($this->app->runningInConsole()) {
            $this->publishes([__DIR__.'/../config/edge.php' => $this->app->configPath('edge.php')], 'edge-config');
            $this->commands([StatusCommand::class, BroadcastCommand::class, InstallCommand::class]);
        }
    }

    /**
     * @param  array<string, mixed>  $config
     */
    private static function transport(array $config): Transport
    {
        return new Transport(
            (string) $config['socket'],
            max(1, (int) $config['connect_timeout_ms']) / 1000,
            max(1, (int) $config['timeout_ms']) / 1000,
            (bool) $config['keep_alive']
        );
    }

    /**
     * @param  \Illuminate\Contracts\Foundation\Application  $app
     */
    private static function outbox($app): Outbox
    {
        $pauseSeconds = max(0, (int) $app['config']['edge.pause_after_timeout_ms']) / 1000;

        return new Outbox($app->make(Client::class), self::log($app), $pauseSeconds);
    }

    /**
     * @param  \Illuminate\Contracts\Foundation\Application  $app
     * @return Closure(): LoggerInterface
     */
    private static function log($app): Closure
    {
        return static function () use ($app): LoggerInterface {
            return $app['log']->channel($app['config']['edge.log_channel']);
        };
    }

    private function followRequestsAndJobs(Dispatcher $events): void
    {
        $events->listen(JobProcessing::class, static function (JobProcessing $event): void {
            app(JobKeys::class)->begin($event->job);
        });

        $events->listen([JobProcessed::class, JobExceptionOccurred::class], static function ($event): void {
            self::flushStaged();
            app(JobKeys::class)->end($event->job);
        });

        $this->app->terminating(static function (): void {
            self::flushStaged();
        });
    }

    /**
     * Sends events that a commit has left behind. Normally there are none. But if
     * another after-commit callback throws, Laravel fires no event for the commit,
     * although the transaction is committed.
     */
    private static function flushStaged(): void
    {
        if (app()->resolved(Outbox::class)) {
            app(Outbox::class)->flushStaged();
        }
    }

    /**
     * Makes the app's old class name an alias of this package's service. This
     * autoloader runs last, so a class of the app has precedence.
     *
     * @param  mixed  $name
     */
    private function aliasLegacyClass($name): void
    {
        if (! is_string($name) || $name === '' || isset(self::$legacyNames[$name])) {
            return;
        }

        self::$legacyNames[$name] = true;

        spl_autoload_register(static function (string $class) use ($name): void {
            if (strcasecmp($class, ltrim($name, '\\')) === 0) {
                class_alias(WebSocketBroadcastService::class, $class);
            }
        });
    }
}
