<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Support;

use PHPUnit\Framework\Assert;
use RuntimeException;

/** As much of a browser's WebSocket over TLS as the tests need. */
final class WebSocketClient
{
    /** Presence events, which these tests do not examine. */
    private const PRESENCE = ['user_joined', 'user_left', 'user_online', 'user_offline', 'presence', 'joined', 'join_ticket', 'ticket_joined'];

    /** @var resource */
    private $stream;

    private string $sessionId;

    public ?int $closedWith = null;

    /** With a token, or with the cookies of a browser. */
    public function __construct(EdgeProcess $edge, ?string $token, string $cookies = '')
    {
        $context = stream_context_create(['ssl' => ['cafile' => $edge->certificate, 'peer_name' => 'localhost']]);
        $stream = stream_socket_client('tls://127.0.0.1:'.$edge->port, $errno, $reason, 10.0, STREAM_CLIENT_CONNECT, $context);
        Assert::assertNotFalse($stream, $reason);
        $this->stream = $stream;
        stream_set_timeout($stream, 10);

        $origin = 'https://localhost:'.$edge->port;
        $query = $token === null ? '' : '?token='.rawurlencode($token);
        fwrite($stream, "GET /ws{$query} HTTP/1.1\r\nHost: localhost:{$edge->port}\r\nOrigin: {$origin}\r\n"
            .($cookies === '' ? '' : "Cookie: {$cookies}\r\n")
            ."Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");

        $status = (string) fgets($stream);
        Assert::assertStringContainsString(' 101 ', $status);
        while (trim((string) fgets($stream)) !== '') {
            continue;
        }

        $hello = $this->next();
        Assert::assertSame('connection', $hello['type'] ?? null, json_encode($hello) ?: '');
        $this->sessionId = (string) ($hello['payload']['session_id'] ?? '');
    }

    public function sessionId(): string
    {
        return $this->sessionId;
    }

    public function join(int $ticketId): void
    {
        $this->send((string) json_encode(['type' => 'join_ticket', 'payload' => ['ticket_id' => $ticketId], 'timestamp' => 1]));
    }

    public function joinChannel(string $name): void
    {
        $this->send((string) json_encode(['type' => 'join', 'payload' => ['channel' => $name]]));
    }

    /**
     * The response to the join of a channel: `joined`, or an error.
     *
     * @return array<string, mixed>
     */
    public function answerAbout(string $channel): array
    {
        while (($event = $this->next()) !== null) {
            if (($event['payload']['channel'] ?? null) === $channel && in_array($event['type'], ['joined', 'error'], true)) {
                return $event;
            }
        }

        throw new RuntimeException("closed with {$this->closedWith} before an answer about {$channel} came");
    }

    /**
     * What came before the event of this type. An edge delivers to a room in
     * order, so what is not here by then was not sent.
     *
     * @return array<int, array<string, mixed>>
     */
    public function before(string $type): array
    {
        $events = [];

        while (($event = $this->next()) !== null) {
            if ($event['type'] === $type) {
                return $events;
            }
            if (! in_array($event['type'], self::PRESENCE, true) && strncmp($event['type'], 'marker ', 7) !== 0) {
                $events[] = $event;
            }
        }

        throw new RuntimeException("closed with {$this->closedWith} before {$type} came; seen: ".json_encode($events));
    }

    public function awaitClose(): void
    {
        while ($this->next() !== null) {
            continue;
        }
    }

    public function send(string $text, int $opcode = 1): void
    {
        $length = strlen($text);
        $head = chr(0x80 | $opcode).($length < 126 ? chr(0x80 | $length) : chr(0x80 | 126).pack('n', $length));
        // The mask of four zero bytes is a mask like any other.
        fwrite($this->stream, $head."\0\0\0\0".$text);
    }

    /** Ends the session for good: a lost one would be continued by the next of its user. */
    public function close(): void
    {
        if (is_resource($this->stream)) {
            $this->send(pack('n', 1000), 8);
            fclose($this->stream);
        }
    }

    /**
     * @return array<string, mixed>|null  the next event; null: closed
     */
    private function next(): ?array
    {
        $text = '';

        do {
            [$final, $opcode, $data] = $this->frame();

            if ($opcode === 8) {
                $this->closedWith = strlen($data) >= 2 ? unpack('n', $data)[1] : 1005;
                $this->close();

                return null;
            }
            if ($opcode === 9) {
                $this->send($data, 10);
            } elseif ($opcode !== 10) {
                $text .= $data;
            }
        } while (! $final || $opcode > 8);

        return json_decode($text, true, 512, JSON_THROW_ON_ERROR);
    }

    /**
     * @return array{0: bool, 1: int, 2: string}
     */
    private function frame(): array
    {
        [$first, $second] = array_values(unpack('C2', $this->bytes(2)));
        $length = $second & 127;

        if ($length === 126) {
            $length = unpack('n', $this->bytes(2))[1];
        } elseif ($length === 127) {
            $length = unpack('J', $this->bytes(8))[1];
        }

        return [($first & 0x80) !== 0, $first & 15, $this->bytes($length)];
    }

    private function bytes(int $count): string
    {
        $bytes = '';

        while (strlen($bytes) < $count) {
            $more = fread($this->stream, $count - strlen($bytes));

            if ($more === false || $more === '') {
                throw new RuntimeException('nothing more came; '.json_encode(stream_get_meta_data($this->stream)));
            }
            $bytes .= $more;
        }

        return $bytes;
    }
}
