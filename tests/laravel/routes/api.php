<?php

use App\Http\Controllers\AuthController;
use App\Http\Controllers\SupportTicketController;
use Illuminate\Support\Facades\Route;

Route::post('/login', [AuthController::class, 'login']);
Route::get('/test-direct', static function () {
    return response()->json(['message' => 'ok']);
});

Route::middleware('auth:api')->group(static function (): void {
    Route::post('/logout', [AuthController::class, 'logout']);
    Route::get('/user', [AuthController::class, 'user']);
    Route::get('/support-tickets', [SupportTicketController::class, 'index']);
    Route::get('/support-tickets/{id}', [SupportTicketController::class, 'show']);
    Route::put('/support-tickets/{id}', [SupportTicketController::class, 'update']);
    Route::post('/support-tickets/{id}/messages', [SupportTicketController::class, 'message']);
});
