<?php

/*
 * Debian's packages instead of a vendor directory: each has an autoload.php of
 * its own. APP_VENDOR names a Composer vendor/autoload.php to use instead, for
 * running this app on another version of Laravel.
 */

// Laravel 8 on PHP 8.2 is deprecation notices from end to end.
error_reporting(E_ALL & ~E_DEPRECATED & ~E_USER_DEPRECATED);

$vendor = getenv('APP_VENDOR');

if (is_string($vendor) && $vendor !== '') {
    require_once $vendor;
} else {
    require_once 'Illuminate/autoload.php';
}

spl_autoload_register(static function (string $class): void {
    $roots = [
        'App\\' => __DIR__.'/../app/',
        'PwdEdge\\Laravel\\' => __DIR__.'/../../../laravel/src/',
    ];

    foreach ($roots as $prefix => $directory) {
        if (strncmp($class, $prefix, strlen($prefix)) === 0) {
            $file = $directory.str_replace('\\', '/', substr($class, strlen($prefix))).'.php';

            if (is_file($file)) {
                require $file;
            }
        }
    }
});
