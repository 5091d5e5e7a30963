<?php

return [
    'name' => 'support desk',
    'env' => env('APP_ENV', 'testing'),
    'debug' => (bool) env('APP_DEBUG', true),
    'url' => env('APP_URL', 'http://localhost'),
    'timezone' => 'UTC',
    'locale' => 'en',
    'fallback_locale' => 'en',
    'key' => 'base64:cHdkLWVkZ2UtdGVzdC1hcHAta2V5LTAxMjM0NTY3ODk=',
    'cipher' => 'AES-256-CBC',

    // What differs between test runs.
    'trusted_proxy' => env('APP_TRUSTED_PROXY', '127.0.0.1'),
    'throttle' => env('APP_THROTTLE', 0),
    'unmodified' => (bool) env('APP_UNMODIFIED', false),
    'disconnect_on_logout' => (bool) env('APP_DISCONNECT_ON_LOGOUT', true),

    'providers' => [
        Illuminate\Auth\AuthServiceProvider::class,
        Illuminate\Broadcasting\BroadcastServiceProvider::class,
        Illuminate\Bus\BusServiceProvider::class,
        Illuminate\Cache\CacheServiceProvider::class,
        Illuminate\Foundation\Providers\ConsoleSupportServiceProvider::class,
        Illuminate\Cookie\CookieServiceProvider::class,
        Illuminate\Database\DatabaseServiceProvider::class,
        Illuminate\Encryption\EncryptionServiceProvider::class,
        Illuminate\Filesystem\FilesystemServiceProvider::class,
        Illuminate\Foundation\Providers\FoundationServiceProvider::class,
        Illuminate\Hashing\HashServiceProvider::class,
        Illuminate\Notifications\NotificationServiceProvider::class,
        Illuminate\Pipeline\PipelineServiceProvider::class,
        Illuminate\Queue\QueueServiceProvider::class,
        Illuminate\Session\SessionServiceProvider::class,
        Illuminate\Translation\TranslationServiceProvider::class,
        Illuminate\Validation\ValidationServiceProvider::class,
        Illuminate\View\ViewServiceProvider::class,
        App\Providers\AppServiceProvider::class,
        PwdEdge\Laravel\EdgeServiceProvider::class,
    ],
    'aliases' => [],
];
