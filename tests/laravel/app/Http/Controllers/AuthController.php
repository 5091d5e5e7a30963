<?php

namespace App\Http\Controllers;

use App\Auth\TokenUser;
use App\Models\User;
use Illuminate\Http\Request;
use Illuminate\Routing\Controller;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Hash;
use PwdEdge\Laravel\Edge;

class AuthController extends Controller
{
    public function login(Request $request)
    {
        foreach (['username', 'password'] as $field) {
            if (! is_string($request->input($field)) || $request->input($field) === '') {
                return response()->json([$field => ["The {$field} field is required."]], 400);
            }
        }

        $user = User::where('username', $request->input('username'))->orWhere('email', $request->input('username'))->first();

        if ($user === null || ! Hash::check($request->input('password'), $user->password)) {
            return response()->json(['message' => 'Invalid login credentials', 'requires_captcha' => false, 'failed_attempts' => 1], 401);
        }

        if ($user->status !== 'active') {
            return response()->json(['message' => 'Your account is inactive. Please contact administrator.', 'requires_captcha' => false], 403);
        }

        return response()->json([
            'user' => $this->describe($user),
            'access_token' => TokenUser::issue($user),
            'token_type' => 'Bearer',
            'requires_captcha' => false,
        ]);
    }

    public function logout(Request $request)
    {
        $user = $request->user();
        DB::table('personal_access_tokens')->where('id', $user->tokenId)->delete();

        if (config('app.disconnect_on_logout')) {
            Edge::disconnectUser($user->userID);
        }

        return response()->json(['message' => 'Logged out successfully']);
    }

    public function user(Request $request)
    {
        return $request->user();
    }

    private function describe(User $user): array
    {
        $shown = $user->only(['userID', 'username', 'email', 'role', 'status', 'password_change_required']) + [
            'created_at' => (string) $user->created_at,
            'updated_at' => (string) $user->updated_at,
        ];

        if ($user->role === 'Admin' || $user->role === 'SuperAdmin') {
            return $shown + ['admin' => ['userID' => $user->userID]];
        }

        return $user->pwdMember === null ? $shown : $shown + ['pwdMember' => $user->pwdMember->only(['firstName', 'lastName'])];
    }
}
