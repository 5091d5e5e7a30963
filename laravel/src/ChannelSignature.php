<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

/**
 * Signs who may join a channel, as the Pusher protocol wants it. Laravel Echo takes the
 * signature to the edge, which has the same key and secret in `[pusher]`.
 */
final class ChannelSignature
{
    private string $key;

    private string $secret;

    private function __construct(string $key, string $secret)
    {
        $this->key = $key;
        $this->secret = $secret;
    }

    /**
     * Returns null if one of them is missing: then the edge has no Pusher clients.
     *
     * @param  mixed  $key
     * @param  mixed  $secret
     */
    public static function with($key, $secret): ?self
    {
        $isSet = is_string($key) && $key !== '' && is_string($secret) && $secret !== '';

        return $isSet ? new self($key, $secret) : null;
    }

    public function sign(string $socket, string $channel, ?string $channelData = null): string
    {
        $signed = $socket.':'.$channel.($channelData === null ? '' : ':'.$channelData);

        return $this->key.':'.hash_hmac('sha256', $signed, $this->secret);
    }
}
