<?php

namespace App\Http\Controllers;

use Illuminate\Http\Request;
use Illuminate\Routing\Controller;

/** What Laravel makes of a request that came through the edge. */
class EchoController extends Controller
{
    public function url(Request $request)
    {
        return response()->json([
            'url' => url('/somewhere'),
            'full' => $request->fullUrl(),
            'secure' => $request->secure(),
            'host' => $request->getHttpHost(),
            'ip' => $request->ip(),
            'ips' => $request->ips(),
            'remote' => $request->server('REMOTE_ADDR'),
            'method' => $request->method(),
        ]);
    }

    public function redirect()
    {
        return redirect('/echo/url');
    }

    public function cookie(Request $request)
    {
        return response()->json(['cookies' => $request->cookies->all()])
            ->cookie('probe', 'value', 10, '/', null, $request->secure(), true, false, 'lax');
    }

    public function headers(Request $request)
    {
        return response()->json($request->headers->all());
    }

    public function body(Request $request)
    {
        return response()->json([
            'length' => strlen($request->getContent()),
            'sha256' => hash('sha256', $request->getContent()),
            'fields' => $request->except(array_keys($request->allFiles())),
            'files' => array_map(static function ($file) {
                return [
                    'name' => $file->getClientOriginalName(),
                    'size' => $file->getSize(),
                    'sha256' => hash_file('sha256', $file->getRealPath()),
                ];
            }, $request->allFiles()),
        ]);
    }

    /** An answer of a given size, for bodies that must come through whole. */
    public function bytes(Request $request)
    {
        $length = min(64 * 1024 * 1024, (int) $request->query('n', '1024'));

        return response()->stream(static function () use ($length): void {
            for ($sent = 0; $sent < $length; $sent += $now) {
                $now = min(65536, $length - $sent);
                echo str_repeat('x', $now);
            }
        }, 200, ['Content-Type' => 'application/octet-stream']);
    }

    public function slow(Request $request)
    {
        usleep(min(60000, (int) $request->query('ms', '100')) * 1000);

        return response()->json(['slept' => true]);
    }

    public function status(Request $request, $code)
    {
        return response()->json(['code' => (int) $code], (int) $code);
    }
}
