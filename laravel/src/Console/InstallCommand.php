<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Console;

use Illuminate\Console\Command;

class InstallCommand extends Command
{
    /** @var string */
    protected $signature = 'edge:install
        {--force : overwrite an existing config/edge.php}
        {--trust-proxies : show the change that makes this app trust the edge}';

    /** @var string */
    protected $description = 'Publish config/edge.php and explain how the app must trust the edge';

    public function handle(): int
    {
        $this->call('vendor:publish', ['--tag' => 'edge-config', '--force' => (bool) $this->option('force')]);

        $this->explainProxies();

        if ($this->option('trust-proxies') || $this->asked()) {
            $this->showChange();
        }

        $this->line('Next, run `php artisan edge:status` as the user of php-fpm. It checks the connection to the edge.');

        return 0;
    }

    private function explainProxies(): void
    {
        $this->line('The edge terminates TLS and sends plain HTTP to Laravel from 127.0.0.1. The headers X-Forwarded-For');
        $this->line('and X-Forwarded-Proto carry the address of the client and the scheme https. Laravel reads them only');
        $this->line('from a proxy that it trusts. Otherwise links and redirects begin with http://, cookies are not secure,');
        $this->line('and all clients share one address and one rate limit. Trust 127.0.0.1 and no wider network.');
    }

    private function asked(): bool
    {
        return $this->input->isInteractive() && $this->confirm('Show the change for this app?', true);
    }

    /** Shows the change and does not make it, because the file belongs to the app. */
    private function showChange(): void
    {
        $bootstrap = base_path('bootstrap/app.php');
        $contents = is_file($bootstrap) ? (string) file_get_contents($bootstrap) : '';

        if (strpos($contents, 'withMiddleware(') !== false) {
            $this->line('In bootstrap/app.php, inside ->withMiddleware(function (Middleware $middleware) { … }):');
            $this->line('');
            $this->line("+    \$middleware->trustProxies(at: ['127.0.0.1']);");
        } elseif (is_file(app_path('Http/Middleware/TrustProxies.php'))) {
            $this->line('In app/Http/Middleware/TrustProxies.php:');
            $this->line('');
            $this->line('-    protected $proxies;');
            $this->line("+    protected \$proxies = ['127.0.0.1'];");
        } else {
            $this->line('Create a middleware that extends Illuminate\Http\Middleware\TrustProxies, and add it to $middleware in app/Http/Kernel.php:');
            $this->line('');
            $this->line("+    protected \$proxies = ['127.0.0.1'];");
        }

        $this->line('');
    }
}
