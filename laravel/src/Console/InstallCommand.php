<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Console;

use Illuminate\Console\Command;

class InstallCommand extends Command
{
    /** @var string */
    protected $signature = 'edge:install
        {--force : overwrite an existing config/edge.php}
        {--trust-proxies : show the change by which this app trusts the edge}';

    /** @var string */
    protected $description = 'Publish config/edge.php and explain what else the app needs';

    public function handle(): int
    {
        $this->call('vendor:publish', ['--tag' => 'edge-config', '--force' => (bool) $this->option('force')]);

        $this->explainProxies();

        if ($this->option('trust-proxies') || $this->asked()) {
            $this->showChange();
        }

        $this->line('Now `php artisan edge:status` asks the edge whether it hears this app.');

        return 0;
    }

    private function explainProxies(): void
    {
        $this->line('The edge ends TLS and speaks plain HTTP to Laravel from 127.0.0.1. It says in X-Forwarded-For and');
        $this->line('X-Forwarded-Proto who the client is and that he used https. Laravel believes that only from a proxy');
        $this->line('it trusts: without it, links and redirects begin with http://, cookies are not secure, and every');
        $this->line('client shares one address, so one rate limit. Trust 127.0.0.1 and nothing wider.');
    }

    private function asked(): bool
    {
        return $this->input->isInteractive() && $this->confirm('Show the change for this app?', true);
    }

    /** Shown, not made: the file belongs to the app. */
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
            $this->line('A middleware that extends Illuminate\Http\Middleware\TrustProxies, in $middleware of app/Http/Kernel.php, with:');
            $this->line('');
            $this->line("+    protected \$proxies = ['127.0.0.1'];");
        }

        $this->line('');
    }
}
