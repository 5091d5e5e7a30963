<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Feature;

use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;
use Illuminate\Session\FileSessionHandler;
use PwdEdge\Laravel\Tests\Support\Browser;
use PwdEdge\Laravel\Tests\TestCase;

final class CookieSessionTest extends TestCase
{
    public function test_logout_past_the_edge_closes_the_websockets_of_that_browser_alone(): void
    {
        [$browser, $other] = [$this->browser('ana'), $this->browser('ana')];
        [$page, $still] = [$this->pageIn(1, $browser), $this->pageIn(1, $other)];

        $browser->post('/logout', ['pause' => '300']);

        $page->awaitClose();
        $this->assertSame(4503, $page->closedWith);
        $this->assertSame([], $this->received($still));
    }

    public function test_question_of_the_edge_leaves_the_session_as_it_was(): void
    {
        $browser = $this->browser('ana');
        $browser->post('/session/note', ['note' => 'for the next page']);
        $sessions = $this->stack->data.'/framework/sessions/*';
        $stored = array_map('md5_file', glob($sessions) ?: []);

        $this->pageIn(1, $browser);

        $this->assertSame($stored, array_map('md5_file', glob($sessions) ?: []));
        $this->assertSame('for the next page', $browser->get('/session')['note']);
        $this->assertNull($browser->get('/session')['note']);
    }

    public function test_next_request_of_the_same_process_stores_its_session(): void
    {
        $kernel = $this->laravel->make(Kernel::class);
        $mark = ['HTTP_X_EDGE_REQUEST' => 'authorization'];

        foreach ([[[], 1], [$mark, 0], [[], 1]] as [$server, $stored]) {
            $before = count(glob($this->stack->data.'/framework/sessions/*') ?: []);
            $response = $kernel->handle(Request::create('/session', 'GET', [], [], [], $server));
            $this->assertSame(200, $response->getStatusCode());
            $this->assertCount($before + $stored, glob($this->stack->data.'/framework/sessions/*') ?: []);
            $this->laravel['session']->driver()->setId(null);
        }

        $this->assertInstanceOf(FileSessionHandler::class, $this->laravel['session']->driver()->getHandler());
    }

    private function browser(string $user): Browser
    {
        return new Browser($this->straightToApp(''), $user);
    }
}
