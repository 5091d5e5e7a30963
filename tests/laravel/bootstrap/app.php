<?php

/*
 * Everything this app writes goes into APP_DATA, so that the repository stays
 * as it is and several copies can run beside each other.
 */

$data = getenv('APP_DATA');

if (! is_string($data) || $data === '') {
    fwrite(fopen('php://stderr', 'w'), "APP_DATA is not set: a directory for the database and the logs\n");
    exit(1);
}

foreach (['', '/cache', '/logs', '/framework/cache/data', '/framework/views', '/framework/sessions', '/app/public'] as $directory) {
    is_dir($data.$directory) || @mkdir($data.$directory, 0777, true);
}

foreach (['SERVICES', 'PACKAGES', 'CONFIG', 'ROUTES', 'EVENTS'] as $name) {
    $file = $data.'/cache/'.strtolower($name).'.php';
    putenv("APP_{$name}_CACHE={$file}");
    $_ENV["APP_{$name}_CACHE"] = $_SERVER["APP_{$name}_CACHE"] = $file;
}

$app = new Illuminate\Foundation\Application(dirname(__DIR__));
$app->useStoragePath($data);

$app->singleton(Illuminate\Contracts\Http\Kernel::class, App\Http\Kernel::class);
$app->singleton(Illuminate\Contracts\Console\Kernel::class, App\Console\Kernel::class);
$app->singleton(Illuminate\Contracts\Debug\ExceptionHandler::class, App\Exceptions\Handler::class);

return $app;
