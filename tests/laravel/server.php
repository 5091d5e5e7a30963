<?php

/*
 * The router script of `php -S`: files of public/ are served as they are, the
 * rest is Laravel's.
 */

$path = rawurldecode((string) parse_url((string) $_SERVER['REQUEST_URI'], PHP_URL_PATH));
$file = realpath(__DIR__.'/public'.$path);

if ($path !== '/' && $file !== false && is_file($file) && strncmp($file, __DIR__.'/public/', strlen(__DIR__) + 8) === 0) {
    return false;
}

require __DIR__.'/public/index.php';
