<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Support;

use PHPUnit\Framework\Assert;

/** A browser with a session: it asks the app past the edge, and keeps its cookies. */
final class Browser
{
    private string $site;

    /** @var array<string, string> */
    private array $cookies = [];

    public function __construct(string $site, string $user)
    {
        $this->site = $site;
        $this->get('/session');
        $this->post('/login', ['username' => $user, 'password' => 'secret-'.$user]);
        Assert::assertSame(200, $this->status('/api/user'));
    }

    public function cookies(): string
    {
        $pairs = [];
        foreach ($this->cookies as $name => $value) {
            $pairs[] = $name.'='.$value;
        }

        return implode('; ', $pairs);
    }

    /** @return array<string, mixed> */
    public function get(string $path): array
    {
        return json_decode($this->fetch('GET', $path)[1], true);
    }

    public function status(string $path): int
    {
        return $this->fetch('GET', $path)[0];
    }

    /** @param  array<string, string>  $fields */
    public function post(string $path, array $fields = []): void
    {
        Assert::assertLessThan(400, $this->fetch('POST', $path, $fields)[0]);
    }

    /**
     * @param  array<string, string>  $fields
     * @return array{0: int, 1: string}
     */
    private function fetch(string $method, string $path, array $fields = []): array
    {
        $curl = curl_init($this->site.$path);
        curl_setopt_array($curl, [
            CURLOPT_CUSTOMREQUEST => $method,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => 20,
            CURLOPT_HTTPHEADER => [
                'Accept: application/json',
                'Origin: '.$this->site,
                'Cookie: '.$this->cookies(),
                'X-XSRF-TOKEN: '.rawurldecode($this->cookies['XSRF-TOKEN'] ?? ''),
            ],
            CURLOPT_HEADERFUNCTION => function ($curl, string $line): int {
                if (preg_match('/^Set-Cookie: ([^=]+)=([^;]*)/i', $line, $found) === 1) {
                    $this->cookies[$found[1]] = $found[2];
                }

                return strlen($line);
            },
        ]);
        if ($fields !== []) {
            curl_setopt($curl, CURLOPT_POSTFIELDS, http_build_query($fields));
        }
        $body = curl_exec($curl);
        Assert::assertNotFalse($body, curl_error($curl));

        return [curl_getinfo($curl, CURLINFO_RESPONSE_CODE), (string) $body];
    }
}
