<?php

namespace App\Http\Middleware;

use Illuminate\Auth\Middleware\Authenticate as Middleware;

class Authenticate extends Middleware
{
    /** Without Accept json: 302 to /login, which is how Laravel tells a browser. */
    protected function redirectTo($request)
    {
        return $request->expectsJson() ? null : url('/login');
    }
}
