<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Tests\Unit;

use PHPUnit\Framework\TestCase;

final class PackageTest extends TestCase
{
    public function test_discovered_classes_exist(): void
    {
        $package = json_decode((string) file_get_contents(dirname(__DIR__, 2).'/composer.json'), true);
        $discovered = $package['extra']['laravel'];

        foreach (array_merge($discovered['providers'], array_values($discovered['aliases'])) as $class) {
            $this->assertTrue(class_exists($class), $class);
        }
    }
}
