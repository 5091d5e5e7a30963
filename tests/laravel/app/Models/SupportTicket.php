<?php

namespace App\Models;

use Illuminate\Database\Eloquent\Model;

class SupportTicket extends Model
{
    protected $guarded = [];

    protected $casts = ['id' => 'integer', 'pwd_member_id' => 'integer'];

    public function pwdMember()
    {
        return $this->belongsTo(PWDMember::class, 'pwd_member_id');
    }

    public function messages()
    {
        return $this->hasMany(SupportTicketMessage::class)->orderBy('id');
    }
}
