<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Unit;

use Illuminate\Auth\GenericUser;
use Illuminate\Http\Request;
use PHPUnit\Framework\TestCase;
use Psr\Log\NullLogger;
use PwdEdge\Laravel\ChannelSignature;
use PwdEdge\Laravel\Client;
use PwdEdge\Laravel\EdgeBroadcaster;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;

final class ChannelSignatureTest extends TestCase
{
    /** The value is that of Laravel's own drivers for the Pusher protocol. */
    private const LARAVEL = 'key:7b6fb3b9dc5a644f541bf0b5ac76e8f901588db4141826a9d796431271cbe876';

    public function test_private_channel_gets_the_signature_of_laravel(): void
    {
        $expected = ['authorized' => true, 'auth' => self::LARAVEL];

        $this->assertSame($expected, $this->respond('private-ticket.1', true));
        $this->assertSame($expected, $this->respond('private-ticket.1', ['name' => 'Ana']));
    }

    public function test_presence_channel_gets_its_signed_user(): void
    {
        $response = $this->respond('presence-office', ['name' => 'Ana']);

        $this->assertSame('{"user_id":42,"user_info":{"name":"Ana"}}', $response['channel_data']);
        $signed = '1.2:presence-office:'.$response['channel_data'];
        $this->assertSame('key:'.hash_hmac('sha256', $signed, 'secret'), $response['auth']);
    }

    public function test_text_that_is_no_socket_is_not_signed(): void
    {
        $this->expectException(AccessDeniedHttpException::class);
        $this->respond('news', true, '1.2:private-secret');
    }

    public function test_denial_is_not_signed(): void
    {
        $this->assertSame(['authorized' => false], $this->respond('private-ticket.1', false));
    }

    public function test_key_without_a_secret_signs_nothing(): void
    {
        foreach ([['key', null], ['key', ''], [null, 'secret']] as [$key, $secret]) {
            $this->assertNull(ChannelSignature::with($key, $secret));
        }
    }

    /**
     * @param  mixed  $result
     * @return array<string, mixed>
     */
    private function respond(string $channel, $result, string $socket = '1.2'): array
    {
        $request = Request::create('/', 'POST', ['channel_name' => $channel, 'socket_id' => $socket]);
        $request->setUserResolver(static function (): GenericUser {
            return new GenericUser(['id' => 42]);
        });
        $log = static function (): NullLogger {
            return new NullLogger();
        };
        $signature = ChannelSignature::with('key', 'secret');
        $broadcaster = new EdgeBroadcaster($this->createMock(Client::class), $log, $signature);

        return $broadcaster->validAuthenticationResponse($request, $result);
    }
}
