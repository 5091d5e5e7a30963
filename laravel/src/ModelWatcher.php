<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Events\TransactionCommitted;
use RuntimeException;
use Throwable;

/**
 * Broadcasts a created message and a changed ticket status, without a call in a
 * controller.
 *
 * It listens by the names of Eloquent's events, so that it loads no model. Inside a
 * transaction it encodes the event at once, with the model's data at that moment,
 * and sends it after the commit. After a rollback, also of a savepoint, it sends
 * nothing.
 */
class ModelWatcher
{
    /**
     * @param  array<string, string>  $messages  model => attribute with the ticket's id
     * @param  array<string, string>  $statuses  model => attribute with the status
     */
    public function watch(Dispatcher $events, array $messages, array $statuses): void
    {
        foreach ($messages as $class => $attribute) {
            $events->listen('eloquent.created: '.$class, function (Model $message) use ($attribute): void {
                $this->created($message, $attribute);
            });
        }

        foreach ($statuses as $class => $attribute) {
            $events->listen('eloquent.updated: '.$class, function (Model $ticket) use ($attribute): void {
                $this->updated($ticket, $attribute);
            });
        }

        // All events of one transaction are sent in one call. Laravel runs the
        // callbacks of a commit first, and fires this event after them.
        $events->listen(TransactionCommitted::class, static function (): void {
            if (app()->resolved(Outbox::class)) {
                app(Outbox::class)->flushStaged();
            }
        });
    }

    private function created(Model $message, string $attribute): void
    {
        $this->quietly(function () use ($message, $attribute): void {
            $ticketId = $message->getAttribute($attribute);
            $snapshot = new Snapshot($message);

            $this->afterCommit($message, static function (string $when) use ($ticketId, $snapshot): void {
                app(Broadcasts::class)->newMessage($ticketId, $snapshot, null, Ledger::WATCHED, $when);
            });
        });
    }

    private function updated(Model $ticket, string $attribute): void
    {
        $this->quietly(function () use ($ticket, $attribute): void {
            if (! $ticket->wasChanged($attribute)) {
                return;
            }

            $ticketId = $ticket->getKey();
            $status = Event::frozen($ticket->getAttribute($attribute));

            $this->afterCommit($ticket, static function (string $when) use ($ticket, $ticketId, $status): void {
                $to = Recipients::namedBy($ticket);
                app(Broadcasts::class)->statusUpdate($ticketId, $status, $to, Ledger::WATCHED, $when);
            });
        });
    }

    /**
     * @param  callable(string): void  $send  receives the moment at which the event may be sent
     */
    private function afterCommit(Model $model, callable $send): void
    {
        $connection = $model->getConnection();

        if ($connection->transactionLevel() === 0) {
            $send(Outbox::NOW);

            return;
        }

        try {
            $connection->afterCommit(static function () use ($send): void {
                $send(Outbox::AFTER_COMMIT);
            });
        } catch (RuntimeException $noTransactionManager) {
            $send(Outbox::NOW);
        }
    }

    /** Runs $work and logs its exceptions: the insert that fired the event must not fail because of an accessor. */
    private function quietly(callable $work): void
    {
        try {
            $work();
        } catch (Throwable $cause) {
            app(Outbox::class)->warn('watched model not broadcast', $cause);
        }
    }
}
