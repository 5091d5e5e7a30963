<?php

declare(strict_types=1);

require_once __DIR__.'/../../tests/laravel/bootstrap/autoload.php';

spl_autoload_register(static function (string $class): void {
    $prefix = 'PwdEdge\\Laravel\\Tests\\';

    if (strncmp($class, $prefix, strlen($prefix)) === 0) {
        require __DIR__.'/'.str_replace('\\', '/', substr($class, strlen($prefix))).'.php';
    }
});
