<?php

namespace App\Models;

use Illuminate\Database\Eloquent\Model;

class PWDMember extends Model
{
    protected $table = 'pwd_members';

    protected $guarded = [];

    protected $casts = ['id' => 'integer', 'userID' => 'integer'];

    public function user()
    {
        return $this->belongsTo(User::class, 'userID', 'userID');
    }
}
