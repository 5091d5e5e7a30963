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
    public function test_message_of_any_type_has_one_key(): void
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

    public function test_message_without_an_id_has_no_key(): void
    {
        foreach ([['text' => 'x'], ['id' => null], ['id' => ''], new JsonResource(null), 'x', null] as $given) {
            $this->assertNull(Ledger::messageKey(1, $given));
        }
    }

    public function test_status_key_follows_its_json_form(): void
    {
        foreach ([2, '2', 2.0, Str::of('2')] as $given) {
            $this->assertSame('status 1 2', Ledger::statusKey('1', $given));
        }

        $time = Carbon::parse('2026-01-02 03:04:05');
        $this->assertSame(Ledger::statusKey(1, $time->toJSON()), Ledger::statusKey(1, $time));
    }

    public function test_status_without_a_json_form_has_a_unique_key(): void
    {
        $this->assertNotSame(Ledger::statusKey(1, [NAN]), Ledger::statusKey(1, [NAN]));
    }
}
