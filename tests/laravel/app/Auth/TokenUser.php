<?php

namespace App\Auth;

use App\Models\User;
use Illuminate\Support\Carbon;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Str;

/** Bearer tokens the way Sanctum stores and finds them. */
class TokenUser
{
    public static function find(?string $token): ?User
    {
        $row = $token === null || $token === '' ? null : self::row($token);

        if ($row === null || ($row->expires_at !== null && Carbon::parse($row->expires_at)->isPast())) {
            return null;
        }

        DB::table('personal_access_tokens')->where('id', $row->id)->update(['last_used_at' => now()]);

        $user = User::find($row->tokenable_id);

        if ($user !== null) {
            $user->tokenId = (int) $row->id;
        }

        return $user;
    }

    /** @return string `id|plain`, shown once */
    public static function issue(User $user): string
    {
        $plain = Str::random(48);

        $id = DB::table('personal_access_tokens')->insertGetId(self::columns($user->userID, $plain));

        return $id.'|'.$plain;
    }

    /** @return array<string, mixed> */
    public static function columns(int $userId, string $plain, ?string $expiresAt = null): array
    {
        return [
            'tokenable_type' => User::class,
            'tokenable_id' => $userId,
            'name' => 'auth_token',
            'token' => hash('sha256', $plain),
            'abilities' => '["*"]',
            'expires_at' => $expiresAt,
            'created_at' => now(),
            'updated_at' => now(),
        ];
    }

    private static function row(string $token): ?object
    {
        $tokens = DB::table('personal_access_tokens');

        if (strpos($token, '|') === false) {
            return $tokens->where('token', hash('sha256', $token))->first();
        }

        [$id, $plain] = explode('|', $token, 2);
        $row = $tokens->where('id', $id)->first();

        return $row !== null && hash_equals($row->token, hash('sha256', $plain)) ? $row : null;
    }
}
