<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Support;

use RuntimeException;

/** The one place that knows how the edge is configured. */
final class EdgeConfig
{
    /**
     * Writes config.toml and a certificate into the directory.
     *
     * @param  int|null  $onlyUid  the only user that may broadcast; null: whoever runs the tests
     * @return string path of the file
     */
    public static function write(string $directory, int $port, int $appPort, string $socket, ?int $onlyUid = null): string
    {
        self::certificate($directory);

        $uids = $onlyUid === null ? '' : "allowed_uids = [{$onlyUid}]\n";

        file_put_contents($directory.'/config.toml', <<<TOML
            [server]
            listen = ["127.0.0.1:{$port}"]

            [tls]
            certificate = "cert.pem"
            key = "key.pem"

            [upstream]
            url = "http://127.0.0.1:{$appPort}"

            [auth]
            session_cookies = ["desk_session"]
            channel_path = "/api/broadcasting/auth"
            user_channel = "private-App.Models.User.{id}"

            [history]
            directory = ""
            resume_timeout = "1ms" # each client of a test is a new one

            [broadcast]
            socket = "{$socket}"
            {$uids}
            TOML);

        return $directory.'/config.toml';
    }

    private static function certificate(string $directory): void
    {
        if (is_file($directory.'/cert.pem')) {
            return;
        }

        exec(sprintf(
            'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost '
            .'-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout %s -out %s 2>&1',
            escapeshellarg($directory.'/key.pem'),
            escapeshellarg($directory.'/cert.pem')
        ), $output, $status);

        if ($status !== 0) {
            throw new RuntimeException('openssl: '.implode("\n", $output));
        }

        chmod($directory.'/key.pem', 0600);
    }
}
