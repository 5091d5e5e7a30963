<?php

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;
use PwdEdge\Laravel\Edge;
use RuntimeException;

/** Its first attempt fails after the broadcast was delivered. */
class BroadcastThenFail implements ShouldQueue
{
    use InteractsWithQueue, Queueable;

    public function handle(): void
    {
        Edge::broadcast('from_job', 1, ['n' => 1]);
        Edge::broadcast('from_job', 1, ['n' => 1]);

        if ($this->attempts() === 1) {
            throw new RuntimeException('the first attempt fails');
        }
    }
}
