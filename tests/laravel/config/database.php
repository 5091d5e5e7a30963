<?php

return [
    'default' => 'sqlite',
    'connections' => [
        'sqlite' => [
            'driver' => 'sqlite',
            'database' => env('APP_DATA').'/database.sqlite',
            'prefix' => '',
            'foreign_key_constraints' => false,
            // Several workers write: wait for each other instead of failing.
            'options' => [PDO::ATTR_TIMEOUT => 10],
        ],
    ],
    'migrations' => 'migrations',
];
