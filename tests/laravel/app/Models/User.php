<?php

namespace App\Models;

use Illuminate\Foundation\Auth\User as Authenticatable;
use Illuminate\Notifications\Notifiable;

/** No `id` and no `name`: the key is userID and the name is username. */
class User extends Authenticatable
{
    use Notifiable;

    protected $primaryKey = 'userID';

    protected $guarded = [];

    protected $hidden = ['password'];

    protected $casts = ['userID' => 'integer', 'password_change_required' => 'boolean', 'failed_login_attempts' => 'integer'];

    public ?int $tokenId = null;

    public function pwdMember()
    {
        return $this->hasOne(PWDMember::class, 'userID', 'userID');
    }
}
