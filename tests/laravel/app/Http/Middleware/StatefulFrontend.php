<?php

namespace App\Http\Middleware;

use Closure;
use Illuminate\Http\Request;
use Illuminate\Pipeline\Pipeline;

/**
 * Cookies count on /api only from pages of this site, as with Sanctum's middleware. Pages without
 * a session use tokens, and need none of it.
 */
class StatefulFrontend
{
    public const SESSION = [
        \Illuminate\Cookie\Middleware\EncryptCookies::class,
        \Illuminate\Cookie\Middleware\AddQueuedCookiesToResponse::class,
        \Illuminate\Session\Middleware\StartSession::class,
        \Illuminate\Foundation\Http\Middleware\VerifyCsrfToken::class,
    ];

    public function handle(Request $request, Closure $next)
    {
        $page = $request->headers->get('referer') ?: $request->headers->get('origin');
        $isOwn = $page !== null && parse_url($page, PHP_URL_HOST) === $request->getHost();

        $hasSession = $request->cookies->has(config('session.cookie'));

        return (new Pipeline(app()))->send($request)->through($isOwn && $hasSession ? self::SESSION : [])->then($next);
    }
}
