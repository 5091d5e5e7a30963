<?php

// A web request that asks the edge twice: on which connection was it?

require __DIR__.'/../bootstrap.php';

$transport = new PwdEdge\Laravel\Socket\Transport((string) getenv('PEER'), 0.25, 1.0);
$ask = static function () use ($transport) {
    return $transport->send('POST', '/broadcast', '{}')->json()['sessions'];
};

echo json_encode([$ask(), $ask()]);
