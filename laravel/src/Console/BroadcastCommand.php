<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Console;

use Illuminate\Console\Command;
use InvalidArgumentException;
use JsonException;
use PwdEdge\Laravel\Client;
use PwdEdge\Laravel\Delivery;
use PwdEdge\Laravel\Event;
use PwdEdge\Laravel\Exceptions\EdgeException;

class BroadcastCommand extends Command
{
    /** @var string */
    protected $signature = 'edge:broadcast
        {ticket : the id of the ticket}
        {payload? : the payload, a JSON object; without it an empty one}
        {--type=new_message : the type of the event}
        {--except= : the id of a session that does not receive the event}
        {--to=* : the id of a user whom the event is for; the command shows who of them is absent}';

    /** @var string */
    protected $description = 'Send one event to the room of a ticket';

    public function handle(Client $client): int
    {
        $delivery = new Delivery();

        try {
            $client->broadcast([$this->event()], static function (int $index, $result) use ($delivery): void {
                $delivery->settle($result);
            });
        } catch (InvalidArgumentException | JsonException | EdgeException $cause) {
            $this->error('Not sent: '.$cause->getMessage());

            return 1;
        }

        $users = $delivery->users() === [] ? '' : ', users '.implode(', ', $delivery->users());
        $absent = $delivery->absent() === [] ? '' : ' Absent: '.implode(', ', $delivery->absent()).'.';
        $this->info('Delivered to '.$delivery->sessions().' session(s)'.$users.'.'.$absent);

        return 0;
    }

    private function event(): Event
    {
        $payload = json_decode((string) ($this->argument('payload') ?? '{}'), false, 512, JSON_THROW_ON_ERROR);
        $except = $this->option('except');

        return new Event(
            (string) $this->option('type'),
            (string) $this->argument('ticket'),
            $payload,
            is_string($except) ? $except : null,
            null,
            (array) $this->option('to')
        );
    }
}
