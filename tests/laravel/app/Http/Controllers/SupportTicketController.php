<?php

namespace App\Http\Controllers;

use App\Models\SupportTicket;
use App\Models\SupportTicketMessage;
use App\Models\User;
use App\Services\WebSocketBroadcastService;
use Illuminate\Http\Request;
use Illuminate\Routing\Controller;
use RuntimeException;

/**
 * Who may do what is that of the app this one stands for, gaps included: staff
 * may read any ticket although their list is refused.
 */
class SupportTicketController extends Controller
{
    private const LISTS_ALL = ['Admin', 'SuperAdmin', 'FrontDesk'];

    private const READS_ALL = ['Admin', 'SuperAdmin', 'FrontDesk', 'BarangayPresident', 'Staff1', 'Staff2'];

    private const ANSWERS = ['Admin', 'FrontDesk'];

    /** By what is in the file, not by its name; and 10,240 KiB. */
    private const TYPES = [
        'application/pdf', 'application/msword', 'text/plain', 'image/jpeg', 'image/png', 'image/gif',
        'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
    ];

    private const STATUSES = ['open', 'in_progress', 'waiting_for_reply', 'resolved', 'closed'];

    public function index(Request $request)
    {
        $user = $request->user();

        if ($user->role !== 'PWDMember' && ! in_array($user->role, self::LISTS_ALL, true)) {
            return $this->unauthorized();
        }

        $tickets = SupportTicket::with('pwdMember.user')->orderBy('id');

        if ($user->role === 'PWDMember') {
            $tickets->where('pwd_member_id', optional($user->pwdMember)->id);
        }

        return response()->json($tickets->get());
    }

    public function show(Request $request, $id)
    {
        // As MariaDB compares a string with an integer column: "1abc" is 1.
        $ticket = SupportTicket::with(['pwdMember.user', 'messages'])->find((int) $id);

        if ($ticket === null) {
            return response()->json(['error' => 'Ticket not found'], 404);
        }

        return $this->reads($request->user(), $ticket) ? response()->json($ticket) : $this->unauthorized();
    }

    public function update(Request $request, $id)
    {
        $ticket = SupportTicket::find((int) $id);

        if ($ticket === null) {
            return response()->json(['error' => 'Ticket not found'], 404);
        }

        if (! $this->writes($request->user(), $ticket)) {
            return $this->unauthorized();
        }

        if (! in_array($request->input('status'), self::STATUSES, true)) {
            return response()->json(['errors' => ['status' => ['The selected status is invalid.']]], 422);
        }

        // It never broadcasts; the model is watched.
        $ticket->update(['status' => $request->input('status')]);

        return response()->json(['message' => 'Ticket updated successfully', 'ticket' => $ticket]);
    }

    public function message(Request $request, $id)
    {
        $text = $request->input('message');
        $file = $request->file('attachment');

        if ((! is_string($text) || $text === '') && $file === null) {
            return response()->json(['errors' => ['message' => ['Either message or attachment is required']]], 422);
        }

        if ($file !== null && ! $file->isValid()) {
            return response()->json(['errors' => ['attachment' => ['The attachment failed to upload.']]], 422);
        }

        if ($file !== null && $file->getSize() > 10240 * 1024) {
            return response()->json(['errors' => ['attachment' => ['The attachment must not be greater than 10240 kilobytes.']]], 422);
        }

        if ($file !== null && ! in_array($file->getMimeType(), self::TYPES, true)) {
            return response()->json(['errors' => ['attachment' => ['The attachment must be a file of type: pdf, doc, docx, txt, jpg, jpeg, png, gif.']]], 422);
        }

        $ticket = SupportTicket::find((int) $id);

        if ($ticket === null) {
            return response()->json(['error' => 'Ticket not found'], 404);
        }

        if (! $this->writes($request->user(), $ticket)) {
            return $this->unauthorized();
        }

        return $this->store($request, $ticket, is_string($text) ? $text : null);
    }

    private function store(Request $request, SupportTicket $ticket, ?string $text)
    {
        $user = $request->user();
        $member = $user->role === 'PWDMember';

        $message = SupportTicketMessage::create([
            'support_ticket_id' => $ticket->id,
            'message' => $text,
            'sender_type' => $member ? 'pwd_member' : 'admin',
            'sender_id' => $member ? $user->pwdMember->id : $user->userID,
        ] + $this->attachment($request));

        if (config('app.unmodified')) {
            throw new RuntimeException('Call to a member function addEagerConstraints() on null');
        }

        WebSocketBroadcastService::broadcastNewMessage($ticket->id, $message);

        if (! $member && $ticket->status === 'open') {
            $ticket->update(['status' => 'in_progress']);
            WebSocketBroadcastService::broadcastTicketStatusUpdate($ticket->id, $ticket->status);
        }

        return response()->json(['message' => 'Message added successfully', 'ticket_message' => $message], 201);
    }

    private function attachment(Request $request): array
    {
        $file = $request->file('attachment');

        if ($file === null) {
            return [];
        }

        $size = $file->getSize();
        $type = $file->getMimeType();
        $name = time().'_'.preg_replace('/[^A-Za-z0-9._-]/', '_', $file->getClientOriginalName());
        $file->move(storage_path('app/public/support_attachments'), $name);

        return [
            'attachment_path' => 'support_attachments/'.$name,
            'attachment_name' => $file->getClientOriginalName(),
            'attachment_type' => $type,
            'attachment_size' => $size,
        ];
    }

    private function reads(User $user, SupportTicket $ticket): bool
    {
        return in_array($user->role, self::READS_ALL, true) || $this->owns($user, $ticket);
    }

    private function writes(User $user, SupportTicket $ticket): bool
    {
        return in_array($user->role, self::ANSWERS, true) || $this->owns($user, $ticket);
    }

    private function owns(User $user, SupportTicket $ticket): bool
    {
        return $user->role === 'PWDMember' && optional($user->pwdMember)->id === $ticket->pwd_member_id;
    }

    private function unauthorized()
    {
        return response()->json(['error' => 'Unauthorized'], 403);
    }
}
