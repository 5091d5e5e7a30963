// What the app's websocketService.js would do, without its framework: the same
// address, the same envelope, the same events.
'use strict';

const $ = (id) => document.getElementById(id);
const desk = { token: sessionStorage.getItem('token'), user: null, ticket: null, session: null, socket: null };
window.desk = desk; // for a test that looks inside

async function api(method, path, body) {
    const headers = { Accept: 'application/json' };
    if (desk.token) headers.Authorization = `Bearer ${desk.token}`;
    if (desk.session) headers['X-Socket-ID'] = desk.session;
    if (body) headers['Content-Type'] = 'application/json';
    const response = await fetch(`/api${path}`, { method, headers, body: body && JSON.stringify(body) });
    const answer = await response.json().catch(() => ({}));
    $('problem').textContent = response.ok ? '' : `${response.status} ${JSON.stringify(answer)}`;
    return response.ok ? answer : null;
}

function connect() {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/ws?token=${encodeURIComponent(desk.token)}`);
    desk.socket = socket;
    $('connection').textContent = 'connecting';
    socket.onmessage = (event) => receive(JSON.parse(event.data));
    socket.onclose = (event) => {
        desk.session = null;
        $('connection').textContent = `closed ${event.code}`;
    };
}

function say(type, payload) {
    if (desk.socket && desk.socket.readyState === WebSocket.OPEN) {
        desk.socket.send(JSON.stringify({ type, payload, timestamp: Date.now() }));
    }
}

function receive({ type, payload }) {
    if (type === 'connection') {
        desk.session = payload.session_id || null;
        $('connection').textContent = payload.status;
        if (desk.ticket) say('join_ticket', { ticket_id: desk.ticket });
        return;
    }
    if (type === 'error') {
        $('problem').textContent = payload.message;
        return;
    }
    // Strict, as the app compares: a ticket id that comes as a string is not shown.
    if (payload.ticket_id !== desk.ticket) return;
    if (type === 'new_message') show(payload.message);
    if (type === 'ticket_status_update') $('status').textContent = payload.status;
    if (type === 'typing_indicator') $('typing').textContent = payload.is_typing ? `${payload.user_name} is typing` : '';
}

function show(message) {
    if (document.querySelector(`li[data-id="${message.id}"]`)) return;
    const item = document.createElement('li');
    item.dataset.id = message.id;
    item.textContent = `${message.sender_name}: ${message.message}`;
    $('messages').append(item);
}

async function openTicket(id) {
    const ticket = await api('GET', `/support-tickets/${id}`);
    if (!ticket) return;
    if (desk.ticket) say('leave_ticket', { ticket_id: desk.ticket });
    desk.ticket = ticket.id;
    $('opened').textContent = ticket.ticket_number;
    $('status').textContent = ticket.status;
    $('messages').replaceChildren();
    ticket.messages.slice(-50).forEach(show);
    say('join_ticket', { ticket_id: desk.ticket });
}

function loggedIn(yes) {
    $('logout').hidden = !yes;
    yes ? sessionStorage.setItem('token', desk.token) : sessionStorage.removeItem('token');
}

function on(id, event, action) {
    $(id).addEventListener(event, (e) => {
        e.preventDefault();
        action();
    });
}

on('login', 'submit', async () => {
    const answer = await api('POST', '/login', { username: $('username').value, password: $('password').value });
    if (!answer) return;
    desk.token = answer.access_token;
    desk.user = answer.user;
    loggedIn(true);
    connect();
});
on('logout', 'click', async () => {
    await api('POST', '/logout');
    desk.token = null;
    loggedIn(false);
});
on('open', 'submit', () => openTicket($('ticket').value));
on('send', 'submit', async () => {
    const answer = await api('POST', `/support-tickets/${desk.ticket}/messages`, { message: $('text').value });
    if (answer) $('text').value = '';
});
on('change', 'submit', () => api('PUT', `/support-tickets/${desk.ticket}`, { status: $('new-status').value }));
$('text').addEventListener('input', () => say('typing_indicator', { ticket_id: desk.ticket, is_typing: $('text').value !== '' }));

if (desk.token) {
    loggedIn(true);
    connect();
}
