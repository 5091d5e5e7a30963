<?php

/*
 * A peer for the transport's tests, which does to each request what its
 * arguments say: peer.php SOCKET BACKLOG ACTION...
 *
 * An action is for one request, wherever it comes in:
 *   respond    200, and the connection stays
 *   reject     413 as soon as the head is read, and close
 *   drop       read it, close without a byte
 *   half       half of a response, then close
 *   silence    read it, say nothing
 *   close      200, then close
 *   slow-accept  respond, but accept the next connection late
 * The response names the connection's number and the request's idempotency key.
 */

[, $path, $backlog] = $argv;
$actions = array_slice($argv, 3);
$server = stream_socket_server('unix://'.$path, $errno, $reason, STREAM_SERVER_BIND | STREAM_SERVER_LISTEN,
    stream_context_create(['socket' => ['backlog' => (int) $backlog]]));
echo "listening\n";
$connections = [];
$number = 0;

while (true) {
    $read = array_merge([$server], array_values($connections));
    $write = $except = null;
    stream_select($read, $write, $except, null);

    foreach ($read as $stream) {
        if ($stream === $server) {
            $accepted = stream_socket_accept($server);
            $connections[++$number] = $accepted;
            continue;
        }

        $id = array_search($stream, $connections, true);
        $head = stream_get_line($stream, 65536, "\r\n\r\n");

        if ($head === false || $head === '') {
            fclose($stream);
            unset($connections[$id]);
            continue;
        }

        $action = array_shift($actions) ?? 'respond';
        preg_match('/content-length: (\d+)/i', $head, $length);
        preg_match('/idempotency-key: (\S+)/i', $head, $key);

        if ($action !== 'reject' && ! empty($length[1])) {
            stream_get_contents($stream, (int) $length[1]);
        }

        $body = json_encode(['sessions' => $id, 'users' => [], 'key' => $key[1] ?? null, 'request' => strtok($head, "\r")]);
        $response = "HTTP/1.1 200 OK\r\nContent-Length: ".strlen($body)."\r\n\r\n".$body;

        if ($action === 'reject') {
            fwrite($stream, "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 40\r\n\r\n".str_pad('{"code":"too_large","message":"no"}', 40));
        } elseif ($action === 'half') {
            fwrite($stream, substr($response, 0, 25));
        } elseif ($action !== 'drop' && $action !== 'silence') {
            fwrite($stream, $response);
        }

        if (in_array($action, ['reject', 'half', 'drop', 'close'], true)) {
            fclose($stream);
            unset($connections[$id]);
        }
        if ($action === 'slow-accept') {
            usleep(60000);
        }
    }
}
