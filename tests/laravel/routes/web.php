<?php

use App\Http\Controllers\EchoController;
use App\Http\Controllers\SessionController;
use Illuminate\Support\Facades\Route;

Route::get('/', static function () {
    return response()->file(public_path('desk.html'), ['Content-Type' => 'text/html; charset=utf-8']);
});

Route::get('/login', static function () {
    return response('please log in', 200, ['Content-Type' => 'text/plain']);
})->name('login');

Route::middleware('session')->group(static function (): void {
    Route::get('/session', [SessionController::class, 'show']);
    Route::post('/session/note', [SessionController::class, 'note']);
    Route::post('/login', [SessionController::class, 'store']);
    Route::post('/logout', [SessionController::class, 'destroy']);
});

Route::prefix('echo')->group(static function (): void {
    Route::get('/url', [EchoController::class, 'url']);
    Route::get('/redirect', [EchoController::class, 'redirect']);
    Route::get('/cookie', [EchoController::class, 'cookie']);
    Route::get('/headers', [EchoController::class, 'headers']);
    Route::any('/body', [EchoController::class, 'body']);
    Route::get('/bytes', [EchoController::class, 'bytes']);
    Route::get('/slow', [EchoController::class, 'slow']);
    Route::get('/status/{code}', [EchoController::class, 'status']);
});
