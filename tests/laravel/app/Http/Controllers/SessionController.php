<?php

namespace App\Http\Controllers;

use Illuminate\Http\Request;
use Illuminate\Routing\Controller;
use Illuminate\Support\Facades\Auth;

/** Log-in and log-out of browsers by a session, as in Laravel Breeze. */
class SessionController extends Controller
{
    public function store(Request $request)
    {
        if (! Auth::guard('web')->attempt($request->only('username', 'password'))) {
            return response()->json(['message' => 'These credentials do not match our records.'], 422);
        }

        $request->session()->regenerate();

        return redirect('/');
    }

    public function destroy(Request $request)
    {
        Auth::guard('web')->logout();
        // A controller that has more to do before Laravel stores the session.
        usleep(min(1000, (int) $request->input('pause')) * 1000);
        $request->session()->invalidate();
        $request->session()->regenerateToken();

        return redirect('/');
    }

    /** What the session holds, and what it shows once. */
    public function show(Request $request)
    {
        return response()->json([
            'note' => $request->session()->get('note'),
            'previous' => $request->session()->previousUrl(),
        ]);
    }

    public function note(Request $request)
    {
        $request->session()->flash('note', $request->input('note'));

        return response()->noContent();
    }
}
