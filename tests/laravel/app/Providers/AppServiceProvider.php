<?php

namespace App\Providers;

use App\Auth\TokenUser;
use Illuminate\Cache\RateLimiting\Limit;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Auth;
use Illuminate\Support\Facades\Broadcast;
use Illuminate\Support\Facades\RateLimiter;
use Illuminate\Support\Facades\Route;
use Illuminate\Support\ServiceProvider;

class AppServiceProvider extends ServiceProvider
{
    public function boot(): void
    {
        Auth::viaRequest('bearer', static function (Request $request) {
            // As with Sanctum, the session comes first.
            $user = $request->hasSession() ? Auth::guard('web')->user() : null;

            return $user ?? TokenUser::find($request->bearerToken());
        });

        RateLimiter::for('api', static function (Request $request) {
            $perMinute = (int) config('app.throttle');

            return $perMinute > 0 ? Limit::perMinute($perMinute)->by((string) $request->ip()) : Limit::none();
        });

        Route::middleware('web')->group(base_path('routes/web.php'));
        Route::prefix('api')->middleware('api')->group(base_path('routes/api.php'));

        Broadcast::routes(['prefix' => 'api', 'middleware' => ['api', 'auth:api']]);
        require base_path('routes/channels.php');
    }
}
