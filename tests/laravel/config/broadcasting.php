<?php

// No `edge` here: the package brings it.
return [
    'default' => env('BROADCAST_DRIVER', 'edge'),
    'connections' => [
        'log' => ['driver' => 'log'],
        'null' => ['driver' => 'null'],
    ],
];
