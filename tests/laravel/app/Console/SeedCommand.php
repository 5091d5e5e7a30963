<?php

namespace App\Console;

use App\Auth\TokenUser;
use App\Models\User;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Hash;

/**
 * A fresh database. Tokens are the same on every run, so that a test can name
 * them; they are also written to APP_DATA/tokens.json.
 */
class SeedCommand extends Command
{
    protected $signature = 'app:seed';

    protected $description = 'Make a new database with the test users, tickets and tokens';

    private const USERS = [
        ['admin', 'Admin'], ['super', 'SuperAdmin'], ['ana', 'PWDMember'], ['ben', 'PWDMember'],
        ['desk', 'FrontDesk'], ['pres', 'BarangayPresident'], ['staff', 'Staff1'],
    ];

    private const MEMBERS = [['ana', 3, 'Ana', 'Alpha'], ['ben', 4, 'Ben', 'Beta']];

    /** Ticket => id of the member it belongs to. */
    private const TICKETS = [1 => 1, 2 => 1, 3 => 2, 4 => 2, 5 => 1];

    public function handle(): int
    {
        $database = config('database.connections.sqlite.database');
        @unlink($database);
        touch($database);
        DB::statement('PRAGMA journal_mode=WAL');

        require base_path('database/schema.php');

        DB::transaction(function (): void {
            $this->people();
            $this->tickets();
            $tokens = $this->tokens();
            file_put_contents(storage_path('tokens.json'), json_encode($tokens, JSON_PRETTY_PRINT));
        });

        return 0;
    }

    private function people(): void
    {
        foreach (self::USERS as $i => [$name, $role]) {
            DB::table('users')->insert([
                'userID' => $i + 1, 'username' => $name, 'email' => $name.'@example.test', 'role' => $role,
                'password' => Hash::make('secret-'.$name), 'created_at' => now(), 'updated_at' => now(),
            ]);
        }

        foreach (self::MEMBERS as $i => [$name, $userId, $first, $last]) {
            DB::table('pwd_members')->insert([
                'id' => $i + 1, 'userID' => $userId, 'firstName' => $first, 'lastName' => $last,
                'created_at' => now(), 'updated_at' => now(),
            ]);
        }
    }

    private function tickets(): void
    {
        foreach (self::TICKETS as $id => $member) {
            DB::table('support_tickets')->insert([
                'id' => $id, 'ticket_number' => sprintf('SUP-%03d', $id), 'subject' => 'Subject '.$id,
                'description' => 'Description '.$id, 'pwd_member_id' => $member, 'category' => 'general',
                'created_at' => now(), 'updated_at' => now(),
            ]);
            $this->messages($id, $member, $id === 5 ? 1000 : 1);
        }
    }

    private function messages(int $ticket, int $member, int $count): void
    {
        foreach (array_chunk(range(1, $count), 50) as $numbers) {
            DB::table('support_ticket_messages')->insert(array_map(static function (int $n) use ($ticket, $member): array {
                return [
                    'support_ticket_id' => $ticket, 'message' => 'Message '.$n, 'sender_type' => 'pwd_member',
                    'sender_id' => $member, 'created_at' => now(), 'updated_at' => now(),
                ];
            }, $numbers));
        }
    }

    /** @return array<string, string> */
    private function tokens(): array
    {
        $tokens = [];

        foreach (User::orderBy('userID')->get() as $user) {
            $tokens[$user->username] = $this->token($user->username, $user->userID);
        }

        $tokens['expired'] = $this->token('expired', 3, '2020-01-01 00:00:00');
        $tokens['revoked'] = $this->token('revoked', 3);
        DB::table('personal_access_tokens')->where('id', (int) $tokens['revoked'])->delete();

        return $tokens;
    }

    private function token(string $name, int $userId, ?string $expiresAt = null): string
    {
        $plain = substr(hash('sha256', 'test token of '.$name), 0, 48);
        $id = DB::table('personal_access_tokens')->insertGetId(TokenUser::columns($userId, $plain, $expiresAt));

        return $id.'|'.$plain;
    }
}
