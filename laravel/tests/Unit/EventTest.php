<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Unit;

use ArrayObject;
use Illuminate\Http\Resources\Json\JsonResource;
use Illuminate\Support\Collection;
use InvalidArgumentException;
use JsonException;
use PHPUnit\Framework\TestCase;
use PwdEdge\Laravel\Event;

final class EventTest extends TestCase
{
    public function test_ticket_id_is_encoded_as_a_number(): void
    {
        $this->assertSame('{"type":"x","payload":{"ticket_id":7}}', (new Event('x', '7'))->toJson());
    }

    /** @dataProvider notTickets */
    public function test_invalid_ticket_id_is_rejected($id): void
    {
        $this->expectException(InvalidArgumentException::class);
        new Event('x', $id);
    }

    /** @return array<int, array<int, mixed>> */
    public function notTickets(): array
    {
        return [[0], [-1], ['01'], ['1abc'], [' 1'], ["1\n"], [''], [1.0], [true], [null], [[1]], ['9999999999999999999']];
    }

    public function test_channels_stand_beside_the_payload(): void
    {
        $event = new Event('x', ['private-a', 'b', 'private-a'], []);

        $this->assertSame('{"type":"x","payload":{},"channels":["private-a","b"]}', $event->toJson());
        $this->assertSame(2, $event->rooms());
    }

    /** @dataProvider notChannels */
    public function test_invalid_channel_is_rejected(array $names): void
    {
        $this->expectException(InvalidArgumentException::class);
        new Event('x', $names);
    }

    /** @return array<int, array<int, mixed>> */
    public function notChannels(): array
    {
        return [[[]], [['']], [['a b']], [['a', '#b']], [["a\n"]], [['a/b']], [[1]], [[null]], [[str_repeat('a', 201)]]];
    }

    public function test_given_ticket_overrides_one_in_the_payload(): void
    {
        $this->assertSame('{"type":"x","payload":{"ticket_id":1,"a":2}}', (new Event('x', 1, ['a' => 2, 'ticket_id' => 9]))->toJson());
    }

    public function test_collections_and_resources_are_encoded_as_in_a_response(): void
    {
        $resource = new class(new ArrayObject(['a' => 1])) extends JsonResource {
            public function toArray($request)
            {
                return ['from' => 'resource'];
            }
        };
        \Illuminate\Container\Container::getInstance()->instance('request', \Illuminate\Http\Request::create('/'));

        $event = new Event('x', 1, new Collection(['r' => $resource, 'c' => new Collection([1, 2])]));

        $this->assertSame('{"type":"x","payload":{"ticket_id":1,"r":{"from":"resource"},"c":[1,2]}}', $event->toJson());
    }

    public function test_nested_empty_object_stays_an_object(): void
    {
        $this->assertStringEndsWith('{"ticket_id":1,"o":{}}}', (new Event('x', 1, (object) ['o' => (object) []]))->toJson());
    }

    public function test_list_as_a_payload_is_rejected(): void
    {
        $this->expectException(InvalidArgumentException::class);
        new Event('x', 1, [1, 2]);
    }

    public function test_text_that_is_not_utf8_is_rejected(): void
    {
        $this->expectException(JsonException::class);
        new Event('x', 1, ['a' => "\xff"]);
    }

    /** @dataProvider sessions */
    public function test_except_that_is_no_session_id_is_dropped(string $except, bool $isOne): void
    {
        $this->assertSame($isOne, strpos((new Event('x', 1, [], $except))->toJson(), '"except"') !== false);
    }

    /** @return array<int, array<int, mixed>> */
    public function sessions(): array
    {
        return [
            ['17.4', true], ['4294967295.4294967295', true],
            ['', false], ['undefined', false], ['17', false], ['17.4.1', false], ["17.4\n", false], ['-1.4', false],
            ['4294967296.1', false], ['99999999999999999999.1', false],
        ];
    }

    public function test_type_longer_than_200_bytes_is_rejected(): void
    {
        new Event(str_repeat('ü', 100), 1);
        $this->expectException(InvalidArgumentException::class);
        new Event(str_repeat('ü', 101), 1);
    }

    public function test_except_carries_its_user_if_given(): void
    {
        $this->assertStringEndsWith('"except":"17.4","except_user":3}', (new Event('x', 1, [], '17.4', 3))->toJson());
        $this->assertStringEndsWith('"except":"17.4"}', (new Event('x', 1, [], '17.4'))->toJson());
        $this->assertStringEndsWith('{"ticket_id":1}}', (new Event('x', 1, [], 'undefined', 3))->toJson());
    }

    public function test_recipients_are_sent_as_distinct_ids(): void
    {
        $user = (new \App\Models\User())->forceFill(['userID' => 3]);

        $event = new Event('x', 1, [], null, null, [$user, 3, '3', null, 'uuid-7']);

        $this->assertStringEndsWith('{"ticket_id":1},"to":[3,"uuid-7"]}', $event->toJson());
        $this->assertStringNotContainsString('"to"', (new Event('x', 1, [], null, null, [null]))->toJson());
    }

    /** @dataProvider notRecipients */
    public function test_recipient_that_is_no_user_is_rejected($recipient): void
    {
        $this->expectException(InvalidArgumentException::class);
        new Event('x', 1, [], null, null, [$recipient]);
    }

    /** @return array<int, array<int, mixed>> */
    public function notRecipients(): array
    {
        return [[''], [-1], [1.5], [true], [[3]], ["a\nb"], [str_repeat('x', 65)], [new \stdClass()]];
    }

    public function test_more_than_100_recipients_are_rejected(): void
    {
        new Event('x', 1, [], null, null, range(1, 100));
        $this->expectException(InvalidArgumentException::class);
        new Event('x', 1, [], null, null, range(1, 101));
    }

    public function test_payload_is_returned_as_browsers_get_it(): void
    {
        $event = new Event('x', '7', new Collection(['a' => new Collection([1])]), null, null, [3]);

        $this->assertSame(['ticket_id' => 7, 'a' => [1]], $event->payload());
    }

    /** @requires PHP 8.1 */
    public function test_enum_is_encoded_as_its_value_or_name(): void
    {
        $event = new Event('x', 1, ['backed' => \App\Enums\TicketStatus::Closed, 'pure' => \App\Enums\Mood::Calm]);

        $this->assertSame('{"type":"x","payload":{"ticket_id":1,"backed":"closed","pure":"Calm"}}', $event->toJson());
    }
}
