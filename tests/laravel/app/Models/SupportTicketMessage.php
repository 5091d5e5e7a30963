<?php

namespace App\Models;

use Illuminate\Database\Eloquent\Model;

class SupportTicketMessage extends Model
{
    protected $guarded = [];

    protected $casts = [
        'id' => 'integer', 'support_ticket_id' => 'integer', 'sender_id' => 'integer', 'attachment_size' => 'integer',
    ];

    protected $appends = ['sender_name', 'is_admin'];

    /** One query for each message, as in the app this one stands for. */
    public function getSenderNameAttribute()
    {
        if ($this->sender_type === 'admin') {
            return optional(User::find($this->sender_id))->username ?? 'Unknown';
        }

        $member = PWDMember::find($this->sender_id);

        return $member === null ? 'Unknown' : $member->firstName.' '.$member->lastName;
    }

    public function getIsAdminAttribute()
    {
        return $this->sender_type === 'admin';
    }
}
