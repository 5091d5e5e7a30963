<?php

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Support\Facades\Queue;
use PwdEdge\Laravel\Edge;
use RuntimeException;

/** Broadcasts before, in and after a job of the sync queue; then its first attempt fails. */
class BroadcastInsideThenFail implements ShouldQueue
{
    use InteractsWithQueue, Queueable;

    public function handle(): void
    {
        Edge::broadcast('from_job', 1, ['n' => 1]);
        Queue::connection('sync')->push(new Broadcast());
        Edge::broadcast('from_job', 1, ['n' => 3]);

        if ($this->attempts() === 1) {
            throw new RuntimeException('the first attempt fails');
        }
    }
}
