<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Unit;

use Illuminate\Database\Eloquent\Model;
use Illuminate\Http\Resources\Json\JsonResource;
use Illuminate\Support\Carbon;
use Illuminate\Support\Str;
use PHPUnit\Framework\TestCase;
use PwdEdge\Laravel\Ledger;

final class LedgerTest extends TestCase
{
    public function test_a_message_is_known_again_whatever_it_is_given_as(): void
    {
        $message = new class(['number' => 'm-7']) extends Model {
            protected $primaryKey = 'number';

            protected $keyType = 'string';

            public $incrementing = false;

            protected $guarded = [];
        };
        $inObject = (object) ['id' => Str::of('m-7')];

        foreach ([$message, new JsonResource($message), new JsonResource(['id' => 'm-7']), $inObject, ['id' => 'm-7']] as $given) {
            $this->assertSame('message 1 m-7', Ledger::messageKey('1', $given));
        }
    }

    public function test_a_message_without_an_id_is_like_no_other(): void
    {
        foreach ([['text' => 'x'], ['id' => null], ['id' => ''], new JsonResource(null), 'x', null] as $given) {
            $this->assertNull(Ledger::messageKey(1, $given));
        }
    }

    public function test_a_status_is_what_clients_see_of_it(): void
    {
        foreach ([2, '2', 2.0, Str::of('2')] as $given) {
            $this->assertSame('status 1 2', Ledger::statusKey('1', $given));
        }

        $time = Carbon::parse('2026-01-02 03:04:05');
        $this->assertSame(Ledger::statusKey(1, $time->toJSON()), Ledger::statusKey(1, $time));
    }

    public function test_what_cannot_be_said_is_like_nothing_else(): void
    {
        $this->assertNotSame(Ledger::statusKey(1, [NAN]), Ledger::statusKey(1, [NAN]));
    }
}
