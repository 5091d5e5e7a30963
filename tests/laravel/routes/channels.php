<?php

use App\Models\User;
use Illuminate\Support\Facades\Broadcast;

$isStaff = static function (User $user): bool {
    return in_array($user->role, ['Admin', 'FrontDesk'], true);
};

Broadcast::channel('desk', $isStaff);

Broadcast::channel('office', static function (User $user) use ($isStaff) {
    return $isStaff($user) ? ['role' => $user->role] : null;
});

Broadcast::channel('App.Models.User.{id}', static function (User $user, $id): bool {
    return $user->userID === (int) $id;
});
