<?php

namespace App\Http;

use App\Http\Middleware\Authenticate;
use App\Http\Middleware\StatefulFrontend;
use App\Http\Middleware\TrustProxies;
use Illuminate\Foundation\Http\Kernel as HttpKernel;

class Kernel extends HttpKernel
{
    protected $middleware = [
        TrustProxies::class,
        \Illuminate\Foundation\Http\Middleware\ValidatePostSize::class,
        \Illuminate\Foundation\Http\Middleware\TrimStrings::class,
        \Illuminate\Foundation\Http\Middleware\ConvertEmptyStringsToNull::class,
    ];

    protected $middlewareGroups = [
        'web' => [],
        'session' => StatefulFrontend::SESSION,
        'api' => [StatefulFrontend::class, 'throttle:api', \Illuminate\Routing\Middleware\SubstituteBindings::class],
    ];

    // Laravel 10 renamed it; both names, so that one app runs on all of them.
    protected $routeMiddleware = self::ALIASES;

    protected $middlewareAliases = self::ALIASES;

    private const ALIASES = [
        'auth' => Authenticate::class,
        'throttle' => \Illuminate\Routing\Middleware\ThrottleRequests::class,
    ];
}
