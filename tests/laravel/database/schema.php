<?php

use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

Schema::create('users', static function (Blueprint $table): void {
    $table->increments('userID');
    $table->string('username')->unique();
    $table->string('email')->unique();
    $table->string('password');
    $table->string('role');
    $table->string('status')->default('active');
    $table->boolean('password_change_required')->default(false);
    $table->integer('failed_login_attempts')->default(0);
    $table->timestamp('last_failed_login')->nullable();
    $table->timestamp('account_locked_until')->nullable();
    $table->timestamps();
});

Schema::create('pwd_members', static function (Blueprint $table): void {
    $table->increments('id');
    $table->integer('userID');
    $table->string('firstName');
    $table->string('lastName');
    $table->timestamps();
});

Schema::create('personal_access_tokens', static function (Blueprint $table): void {
    $table->increments('id');
    $table->string('tokenable_type');
    $table->integer('tokenable_id');
    $table->string('name');
    $table->string('token', 64)->unique();
    $table->text('abilities')->nullable();
    $table->timestamp('last_used_at')->nullable();
    $table->timestamp('expires_at')->nullable();
    $table->timestamps();
});

Schema::create('support_tickets', static function (Blueprint $table): void {
    $table->increments('id');
    $table->string('ticket_number');
    $table->string('subject');
    $table->text('description');
    $table->integer('pwd_member_id');
    $table->string('status')->default('open');
    $table->string('priority')->default('medium');
    $table->string('category')->nullable();
    $table->timestamp('resolved_at')->nullable();
    $table->timestamp('closed_at')->nullable();
    $table->timestamps();
});

Schema::create('support_ticket_messages', static function (Blueprint $table): void {
    $table->increments('id');
    $table->integer('support_ticket_id')->index();
    $table->text('message')->nullable();
    $table->string('attachment_path')->nullable();
    $table->string('attachment_name')->nullable();
    $table->string('attachment_type')->nullable();
    $table->integer('attachment_size')->nullable();
    $table->string('sender_type');
    $table->integer('sender_id');
    $table->timestamps();
});

Schema::create('jobs', static function (Blueprint $table): void {
    $table->bigIncrements('id');
    $table->string('queue')->index();
    $table->longText('payload');
    $table->unsignedTinyInteger('attempts');
    $table->unsignedInteger('reserved_at')->nullable();
    $table->unsignedInteger('available_at');
    $table->unsignedInteger('created_at');
});
