<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Closure;
use Throwable;

/**
 * What an app broadcasts during one request or job, and what it asks of the
 * edge. Nothing here throws: a broadcast that cannot be delivered is one line
 * in the log and a Delivery that failed, and the request that made it goes on.
 */
class Broadcasts
{
    private Client $client;

    private Outbox $outbox;

    private Ledger $ledger;

    private bool $enabled;

    public function __construct(Client $client, Outbox $outbox, Ledger $ledger, bool $enabled = true)
    {
        $this->client = $client;
        $this->outbox = $outbox;
        $this->ledger = $ledger;
        $this->enabled = $enabled;
    }

    /**
     * Any event for the room of a ticket.
     *
     * @param  int|string  $ticketId
     * @param  mixed  $payload  whatever encodes to a JSON object; `ticket_id` is added
     * @param  string|null  $except  session id that is left out, see {@see Broadcasts::session()}
     */
    public function broadcast(string $type, $ticketId, $payload = [], ?string $except = null): Delivery
    {
        $delivery = new Delivery();

        $this->deliver($delivery, $type, Outbox::NOW, static function () use ($type, $ticketId, $payload, $except): Event {
            return new Event($type, $ticketId, $payload, $except, CurrentSession::ownerOf($except));
        });

        return $delivery;
    }

    /**
     * @param  int|string  $ticketId
     * @param  mixed  $message  a model, resource or array
     */
    public function newMessage($ticketId, $message, string $source = Ledger::CALLED, string $when = Outbox::NOW): Delivery
    {
        $key = Ledger::messageKey($ticketId, $message);
        $delivery = $this->ledger->message($key, $source);

        if ($delivery !== null) {
            return $delivery;
        }

        $delivery = $this->ledger->record($key, $source);

        $this->deliver($delivery, 'new_message', $when, static function () use ($ticketId, $message): Event {
            return new Event('new_message', $ticketId, ['message' => $message]);
        });

        return $delivery;
    }

    /**
     * @param  int|string  $ticketId
     * @param  mixed  $status
     */
    public function statusUpdate($ticketId, $status, string $source = Ledger::CALLED, string $when = Outbox::NOW): Delivery
    {
        $key = Ledger::statusKey($ticketId, $status);
        $delivery = $this->ledger->change($key, $source);

        if ($delivery !== null) {
            return $delivery;
        }

        $delivery = $this->ledger->record($key, $source);

        $this->deliver($delivery, 'ticket_status_update', $when, static function () use ($ticketId, $status): Event {
            return new Event('ticket_status_update', $ticketId, ['status' => $status]);
        });

        return $delivery;
    }

    /**
     * Everything that is broadcast inside the callback goes out as one call
     * when it returns, in order. If it throws, what was broadcast before is
     * still sent, as it would have been without the batch.
     *
     * @return array<int, Delivery>
     */
    public function batch(callable $callback): array
    {
        return $this->outbox->batch($callback);
    }

    /** Asks the edge, now. */
    public function isAvailable(): bool
    {
        if (! $this->enabled) {
            return false;
        }

        try {
            $this->client->status();
            $this->outbox->resume();

            return true;
        } catch (Throwable $failure) {
            return false;
        }
    }

    /**
     * Ends the user's sessions: after a logout or when an account is closed.
     *
     * @param  int|string  $userId
     * @return int|null how many sessions were closed; null: it failed, see the log
     */
    public function disconnectUser($userId): ?int
    {
        return $this->ask('sessions of a user not closed', ['user_id' => $userId], function () use ($userId): int {
            return $this->client->disconnectUser($userId);
        });
    }

    /**
     * Lets the edge ask again whether the user may be where he is: after a
     * change of role, or of a ticket's owner.
     *
     * @param  int|string  $userId
     * @return int|null how many sessions are asked about again; null: it failed, see the log
     */
    public function recheckUser($userId): ?int
    {
        return $this->ask('sessions of a user not checked again', ['user_id' => $userId], function () use ($userId): int {
            return $this->client->recheckUser($userId);
        });
    }

    /**
     * @return array<string, mixed>|null
     */
    public function status(): ?array
    {
        return $this->ask('no status from the edge', [], function (): array {
            return $this->client->status();
        });
    }

    /**
     * Who is in the room of a ticket.
     *
     * @return array<string, mixed>|null
     */
    public function ticketRoom(int $ticketId): ?array
    {
        return $this->ask('no answer about a room', ['ticket_id' => $ticketId], function () use ($ticketId): array {
            return $this->client->ticketRoom($ticketId);
        });
    }

    /** The session of the tab that made this web request, if it says so: for `except`. */
    public function session(): ?string
    {
        return CurrentSession::id();
    }

    /**
     * @param  Closure(): Event  $make  may throw: a model's accessors run in it
     */
    private function deliver(Delivery $delivery, string $type, string $when, Closure $make): void
    {
        if (! $this->enabled) {
            $delivery->fail();

            return;
        }

        try {
            $event = $make();
        } catch (Throwable $cause) {
            $delivery->fail();
            $this->outbox->warn('broadcast not sent', $cause, ['type' => $type]);

            return;
        }

        $this->outbox->put($event, $delivery, $when);
    }

    /**
     * @param  array<string, mixed>  $context
     * @return mixed what the question returned, or null
     */
    private function ask(string $failure, array $context, Closure $question)
    {
        if (! $this->enabled) {
            return null;
        }

        try {
            return $question();
        } catch (Throwable $cause) {
            $this->outbox->warn($failure, $cause, $context);

            return null;
        }
    }
}
