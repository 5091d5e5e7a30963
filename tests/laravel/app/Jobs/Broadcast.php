<?php

namespace App\Jobs;

use Illuminate\Contracts\Queue\ShouldQueue;
use PwdEdge\Laravel\Edge;

class Broadcast implements ShouldQueue
{
    public function handle(): void
    {
        Edge::broadcast('from_job', 1, ['n' => 2]);
    }
}
