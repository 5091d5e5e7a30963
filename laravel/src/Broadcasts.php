<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Closure;
use Throwable;

/**
 * The broadcasts of one request or job, and the other calls to the edge. No
 * method throws. A broadcast that cannot be delivered is logged in one line and
 * returns a failed Delivery, and the web request continues.
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
     * Sends any event to the room of a ticket, or to the rooms of channels.
     *
     * @param  int|string|array<int, string>  $room  the id of a ticket, or names of channels such as `private-desk`, at most 100
     * @param  mixed  $payload  a value that encodes to a JSON object; for a ticket, `ticket_id` is added
     * @param  string|null  $except  id of the session that does not receive the event, see {@see Broadcasts::session()}
     * @param  iterable<mixed>  $to  the users whom the event is for, as ids or users of Laravel
     */
    public function broadcast(string $type, $room, $payload = [], ?string $except = null, iterable $to = []): Delivery
    {
        $delivery = new Delivery();

        $this->deliver($delivery, $type, Outbox::NOW, function () use ($type, $room, $payload, $except, $to): Event {
            return new Event($type, $room, $payload, $except, CurrentSession::ownerOf($except), $this->idsOf($to));
        });

        return $delivery;
    }

    /**
     * Sends `new_message`, unless this request or job has sent it already.
     *
     * @param  int|string  $ticketId
     * @param  mixed  $message  a model, resource or array
     * @param  iterable<mixed>|null  $to  the users whom it is for; null: those in `broadcastTo()` of the model
     */
    public function newMessage(
        $ticketId,
        $message,
        ?iterable $to = null,
        string $source = Ledger::CALLED,
        string $when = Outbox::NOW
    ): Delivery {
        $key = Ledger::messageKey($ticketId, $message);
        $delivery = $this->ledger->message($key, $source);

        if ($delivery !== null) {
            return $delivery;
        }

        $delivery = $this->ledger->record($key, $source);

        $this->deliver($delivery, 'new_message', $when, function () use ($ticketId, $message, $to): Event {
            $to = $this->idsOf($to ?? Recipients::namedBy($message));

            return new Event('new_message', $ticketId, ['message' => $message], null, null, $to);
        });

        return $delivery;
    }

    /**
     * Sends `ticket_status_update`, unless the same change has been sent already
     * from the other source.
     *
     * @param  int|string  $ticketId
     * @param  mixed  $status
     * @param  iterable<mixed>  $to  the users whom it is for
     */
    public function statusUpdate(
        $ticketId,
        $status,
        iterable $to = [],
        string $source = Ledger::CALLED,
        string $when = Outbox::NOW
    ): Delivery {
        $key = Ledger::statusKey($ticketId, $status);
        $delivery = $this->ledger->change($key, $source);

        if ($delivery !== null) {
            return $delivery;
        }

        $delivery = $this->ledger->record($key, $source);

        $this->deliver($delivery, 'ticket_status_update', $when, function () use ($ticketId, $status, $to): Event {
            return new Event('ticket_status_update', $ticketId, ['status' => $status], null, null, $this->idsOf($to));
        });

        return $delivery;
    }

    /**
     * Sends all events that the callback broadcasts in one call, in order, when
     * the callback returns. If the callback throws, the earlier events are still
     * sent, as they would be without the batch.
     *
     * @return array<int, Delivery>
     */
    public function batch(callable $callback): array
    {
        return $this->outbox->batch($callback);
    }

    /** Returns whether the edge responds now. */
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
     * Closes the user's sessions: after a log-out, or when an account is closed.
     *
     * @param  int|string  $userId
     * @return int|null the number of closed sessions; null on failure, which is logged
     */
    public function disconnectUser($userId): ?int
    {
        return $this->ask('sessions of a user not closed', ['user_id' => $userId], function () use ($userId): int {
            return $this->client->disconnectUser($userId);
        });
    }

    /**
     * Makes the edge ask Laravel again about the user's access: after a change
     * of role, or of a ticket's owner.
     *
     * @param  int|string  $userId
     * @return int|null the number of sessions that the edge checks; null on failure, which is logged
     */
    public function revalidateUser($userId): ?int
    {
        return $this->ask('user access not revalidated', ['user_id' => $userId], function () use ($userId): int {
            return $this->client->revalidateUser($userId);
        });
    }

    /**
     * Returns the state of the edge.
     *
     * @return array<string, mixed>|null null on failure, which is logged
     */
    public function status(): ?array
    {
        return $this->ask('no status from the edge', [], function (): array {
            return $this->client->status();
        });
    }

    /**
     * Returns the users and the number of sessions in the room of a ticket.
     *
     * @return array<string, mixed>|null null on failure, which is logged
     */
    public function ticketRoom(int $ticketId): ?array
    {
        return $this->ask('no response about a room', ['ticket_id' => $ticketId], function () use ($ticketId): array {
            return $this->client->ticketRoom($ticketId);
        });
    }

    /**
     * Returns the users and the number of sessions in the room of a channel.
     *
     * @return array<string, mixed>|null null on failure, which is logged
     */
    public function channelRoom(string $name): ?array
    {
        return $this->ask('no response about a room', ['channel' => $name], function () use ($name): array {
            return $this->client->channelRoom($name);
        });
    }

    /**
     * Returns the users whose browsers have confirmed an event, and those who may yet.
     *
     * @param  string  $position  from {@see Delivery::position()}
     * @return array<string, mixed>|null null on failure, which is logged
     */
    public function receipts(string $position): ?array
    {
        return $this->ask('no receipts from the edge', ['position' => $position], function () use ($position): array {
            return $this->client->receipts($position);
        });
    }

    /** Returns the session id that the tab sent with this web request, for `except`. */
    public function session(): ?string
    {
        return CurrentSession::id();
    }

    /**
     * @param  Closure(): Event  $make  may throw, because a model's accessors run in it
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
     * Returns the ids of the users whom an event is for. If they cannot be read, the
     * event is sent without them.
     *
     * @param  iterable<mixed>  $users
     * @return array<int, int|string>
     */
    private function idsOf(iterable $users): array
    {
        try {
            return Recipients::ids($users);
        } catch (Throwable $cause) {
            $this->outbox->warn('broadcast without its recipients', $cause);

            return [];
        }
    }

    /**
     * @param  array<string, mixed>  $context
     * @return mixed the result of $question, or null on failure
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
