<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Socket;

use PwdEdge\Laravel\Exceptions\EdgeRejected;
use PwdEdge\Laravel\Exceptions\EdgeUnreachable;

/**
 * One connection to the socket. It sends one request and reads one response, both
 * within the deadline of the call.
 *
 * The stream stays in blocking mode with a timeout set before every step. PHP
 * then waits with poll(), which has no limit on descriptor numbers;
 * stream_select() fails in a process with more than 1,024 files open.
 */
final class Connection
{
    private const WRITE_CHUNK = 65536;

    private const MAX_HEAD = 65536;

    private const MAX_BODY = 8388608;

    /** EAGAIN on Linux: the backlog of the listener is full. */
    private const BACKLOG_FULL = 11;

    /** @var resource */
    private $stream;

    private int $openedBy;

    private bool $kept;

    /**
     * @param  resource  $stream
     */
    private function __construct($stream, bool $kept)
    {
        $this->stream = $stream;
        $this->kept = $kept;
        $this->openedBy = (int) getmypid();
    }

    /**
     * @param  bool  $persistent  let PHP keep the stream open after this web request
     */
    public static function open(string $path, Deadline $connecting, bool $persistent): self
    {
        $flags = STREAM_CLIENT_CONNECT | ($persistent ? STREAM_CLIENT_PERSISTENT : 0);
        $pause = 1000;

        while (true) {
            $errno = 0;
            $reason = '';
            $stream = @stream_socket_client('unix://'.$path, $errno, $reason, $connecting->remaining(), $flags);

            if ($stream !== false) {
                stream_set_blocking($stream, true);

                // A persistent stream that an earlier request used has a position.
                return new self($stream, $persistent && ftell($stream) > 0);
            }

            if ($errno !== self::BACKLOG_FULL) {
                throw EdgeUnreachable::cannotConnect($path, (int) $errno, (string) $reason);
            }

            usleep($pause);
            $pause = min($pause * 2, 16000);
        }
    }

    /** Returns whether an earlier request used the connection. The edge may have closed it since. */
    public function wasKept(): bool
    {
        return $this->kept;
    }

    public function markKept(): void
    {
        $this->kept = true;
    }

    /**
     * Returns whether this process can use the connection for the next request. It
     * cannot in these cases:
     *
     * - after a fork, because parent and child would read each other's responses;
     * - the edge has closed the connection;
     * - unread bytes of an aborted call are left;
     * - another transport has closed it. PHP gives one persistent stream to all
     *   transports that open the same path.
     */
    public function isIdleAndOurs(): bool
    {
        if ($this->openedBy !== (int) getmypid() || ! is_resource($this->stream)) {
            return false;
        }

        stream_set_blocking($this->stream, false);
        $unexpected = @fread($this->stream, 1);
        stream_set_blocking($this->stream, true);

        return ($unexpected === '' || $unexpected === false)
            && ! stream_get_meta_data($this->stream)['eof'];
    }

    public function close(): void
    {
        if (is_resource($this->stream)) {
            @fclose($this->stream);
        }
    }

    public function exchange(string $request, Deadline $deadline): Response
    {
        $written = $this->write($request, $deadline);
        $response = $this->read($deadline);

        return $written ? $response : $response->withoutReuse();
    }

    /**
     * Writes the request. Returns false if the edge stopped reading. A response such
     * as "413, too large" may already be waiting, so this is not yet a failure.
     */
    private function write(string $bytes, Deadline $deadline): bool
    {
        $length = strlen($bytes);

        for ($offset = 0; $offset < $length; $offset += $count) {
            $this->waitAtMost($deadline);
            $count = @fwrite($this->stream, substr($bytes, $offset, self::WRITE_CHUNK));

            if ($count === false || $count === 0) {
                return false;
            }
        }

        return true;
    }

    private function read(Deadline $deadline): Response
    {
        $bytes = '';

        while (($end = strpos($bytes, "\r\n\r\n")) === false) {
            $bytes .= $this->more($deadline, $bytes !== '');

            if (strlen($bytes) > self::MAX_HEAD) {
                throw EdgeRejected::invalidResponse('the head of the response is too long');
            }
        }

        $response = Response::fromHead(substr($bytes, 0, $end));
        $response->body = $this->body(substr($bytes, $end + 4), $response->declaredLength(), $deadline);

        return $response;
    }

    private function body(string $bytes, ?int $length, Deadline $deadline): string
    {
        while ($length === null || strlen($bytes) < $length) {
            try {
                $bytes .= $this->more($deadline, true);
            } catch (ConnectionLost $lost) {
                if ($length === null) {
                    return $bytes;
                }
                throw $lost;
            }

            if (strlen($bytes) > self::MAX_BODY) {
                throw EdgeRejected::invalidResponse('the response is too long');
            }
        }

        return $bytes;
    }

    private function more(Deadline $deadline, bool $responseBegan): string
    {
        $this->waitAtMost($deadline);
        $bytes = @fread($this->stream, 65536);

        if ($bytes !== '' && $bytes !== false) {
            return $bytes;
        }

        if (stream_get_meta_data($this->stream)['timed_out']) {
            throw $deadline->exceeded();
        }

        throw new ConnectionLost($responseBegan);
    }

    private function waitAtMost(Deadline $deadline): void
    {
        $left = $deadline->remaining();
        $seconds = (int) $left;

        // At least 1 ms: a timeout of 0 would not wait at all.
        stream_set_timeout($this->stream, $seconds, max(1000, (int) (($left - $seconds) * 1e6)));
    }
}
