// One support ticket, seen from two sides. Each panel is a separate client: it logs in,
// loads the ticket over HTTP, and receives changes over its own WebSocket. The token stays
// in memory, and text from the server or a user is never inserted as HTML.

const TICKET = 1;
const TICKET_PATH = `/support-tickets/${TICKET}`;

const BACKOFF = { least: 500, most: 10_000 }; // ms; full jitter, with an upper bound that doubles
const SETTLED = 10_000;        // after a connection of this length, reset the attempts
const BEAT = 25_000;           // ping interval; after one missing pong the connection is lost
const JOIN_PATIENCE = 2_000;   // then load the ticket even without ticket_joined
const TYPING_EVERY = 1_000;    // the shortest interval between two "typing" messages
const TYPING_SILENCE = 3_000;  // a pause of this length ends typing
const TYPING_SHOWN = 5_000;    // hide "typing" without a new event after this time
const STATUS_PAUSE = 300;      // arrow keys step through a select: send the last value only

const CLOSE_WORDS = {
  1001: 'the server is going away', 1006: 'the connection was lost',
  1012: 'the server is restarting', 1013: 'the server is busy',
};

const HEADER = 13;             // bytes before the data of a chunk: kind, upload, offset
const LOOK_FIRST = ['app_failed', 'invalid_response', 'no_response'];

const SESSION_OVER = 'Your session has ended. Log in again.';
const CUT = 'The connection is cut.';

/* HTTP */

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function api(method, path, token, body) {
  const headers = { Accept: 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers['Content-Type'] = 'application/json';
  const init = { method, headers, body: body && JSON.stringify(body), cache: 'no-store', credentials: 'omit' };
  const response = await fetch(`/api${path}`, init).catch(() => {
    throw new Refused(0, 'The server cannot be reached.');
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, wordsOf(response, answer));
  return answer;
}

/** Returns the first message in an error response of Laravel. */
function wordsOf(response, answer) {
  if (response.status === 429) {
    return `Too many requests. Try again in ${response.headers.get('Retry-After') ?? 'a few'} seconds.`;
  }
  const words = [answer.message, answer.error, ...Object.values(answer.errors ?? answer).flat()];
  return words.find((value) => value && typeof value === 'string') ?? `The server responded with status ${response.status}.`;
}

/* WebSocket */

/** A connection that reconnects after a disconnect, but not after a rejection. */
class Link {
  #token; #on; #socket; #retry; #beat;
  #attempt = 0; #readyAt = 0; #awaiting = false; #ended = false;

  /** `on` has the callbacks state(name, words), ready(), frame(type, payload, position), and
      welcome(), which resolves to false if the token is no longer valid over HTTP. */
  constructor(token, on) {
    this.#token = token;
    this.#on = on;
  }

  get ready() { return this.#readyAt > 0 && this.#socket.readyState === WebSocket.OPEN; }

  open() {
    this.#drop();
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    this.#socket = new WebSocket(`${scheme}//${location.host}/ws?token=${encodeURIComponent(this.#token)}`);
    this.#socket.onmessage = (event) => this.#receive(event.data);
    this.#socket.onclose = (event) => this.#lost(event.code, event.reason);
  }

  send(type, payload) {
    if (this.ready) this.#socket.send(JSON.stringify({ type, payload }));
  }

  sendBytes(bytes) {
    if (this.ready) this.#socket.send(bytes);
  }

  /** Closes the connection until the next open(). */
  cut() { this.#drop(); }

  end() {
    this.#ended = true;
    this.#drop();
  }

  #drop() {
    clearTimeout(this.#retry);
    clearInterval(this.#beat);
    this.#readyAt = 0;
    this.#awaiting = false;
    const socket = this.#socket;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close(1000);
    else socket.close(1000);
  }

  #receive(text) {
    this.#awaiting = false;
    let frame;
    try { frame = JSON.parse(text); } catch { return; }
    const { type, payload, position } = frame ?? {};
    if (type === 'connection' && payload?.status === 'connected') this.#start();
    else if (type) this.#on.frame(type, payload ?? {}, position);
  }

  #start() {
    this.#readyAt = Date.now();
    this.#beat = setInterval(() => this.#ping(), BEAT);
    this.#on.state('connected', 'Connected');
    this.#on.ready();
  }

  #ping() {
    if (this.#awaiting) return this.#lost(1006, '');
    this.#awaiting = true;
    this.send('ping', {});
  }

  #lost(code, reason) {
    const wasReady = this.#readyAt > 0;
    if (wasReady && Date.now() - this.#readyAt > SETTLED) this.#attempt = 0;
    this.#drop();
    const words = CLOSE_WORDS[code] ?? (reason || `the server does not allow it (${code})`);
    if (!comesBack(code)) return this.#on.state('refused', `Disconnected: ${words}.`);
    this.#on.state('reconnecting', `Reconnecting: ${words}.`);
    this.#retry = setTimeout(() => this.#again(wasReady), backoff(this.#attempt++));
  }

  /** Checks the token over HTTP first: a rejected handshake looks like a lost connection. */
  async #again(wasReady) {
    if (!wasReady && !(await this.#on.welcome())) return;
    if (!this.#ended) this.open();
  }
}

function comesBack(code) {
  return [1001, 1006, 1012, 1013].includes(code) || (code >= 4000 && code <= 4499);
}

function backoff(attempt) {
  const ceiling = Math.min(BACKOFF.most, 2 * BACKOFF.least * 2 ** attempt);
  return BACKOFF.least + Math.random() * (ceiling - BACKOFF.least);
}

/* Uploads */

/** The upload of one file. `done` resolves to the site's response. */
class Upload {
  id = crypto.randomUUID();
  #link; #file; #onProgress; #finish; #started = false; #pumping = false; #over = false;
  #number; #chunk; #window; #offset = 0; #received = 0;

  constructor(link, file, message, onProgress) {
    this.#link = link;
    this.#file = file;
    this.#onProgress = onProgress;
    this.done = new Promise((resolve, reject) => { this.#finish = { resolve, reject }; });
    this.start = { upload_id: this.id, ticket_id: TICKET, name: file.name, size: file.size, mime: file.type, message };
    this.begin();
  }

  /** Starts the upload, or resumes it on a new connection. */
  begin() {
    if (!this.#started) this.#link.send('upload_start', this.start);
    else this.#link.send('upload_resume', { upload_id: this.id });
    this.#started ||= this.#link.ready;
  }

  cancel() { this.#link.send('upload_cancel', { upload_id: this.id }); }

  hear(type, payload) {
    if (payload.upload_id !== this.id) return;
    if (type === 'upload_done') this.#finish.resolve(payload.response);
    if (type === 'upload_failed') this.fail(payload);
    if (type === 'upload_ready') {
      this.#number = payload.upload;
      this.#chunk = payload.chunk_size;
      this.#window = payload.window;
      this.#offset = payload.offset;
    }
    if (type === 'upload_ready' || type === 'upload_progress') {
      this.#received = payload.received;
      this.#onProgress(this.#file.size ? this.#received / this.#file.size : 1);
      this.#pump();
    }
  }

  fail({ code, message, errors }) {
    this.#over = true;
    const words = Object.values(errors ?? {}).flat().find((word) => typeof word === 'string') ?? message;
    this.#finish.reject(new Refused(0, LOOK_FIRST.includes(code) ? message : words));
  }

  /** Sends chunks in order, up to the end of the window. */
  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    while (!this.#over && this.#offset < this.#file.size) {
      const [number, offset] = [this.#number, this.#offset];
      const end = Math.min(this.#file.size, offset + this.#chunk);
      if (end > this.#received + this.#window) break;
      const data = await this.#file.slice(offset, end).arrayBuffer().catch(() => null);
      if (data === null) this.cancel(); // the file has changed or is gone
      if (data === null || this.#over) break;
      if (number !== this.#number || offset !== this.#offset) continue; // upload_resume has changed the position
      const frame = new Uint8Array(HEADER + data.byteLength);
      const header = new DataView(frame.buffer);
      header.setUint8(0, 1);
      header.setUint32(1, number);
      header.setBigUint64(5, BigInt(offset));
      frame.set(new Uint8Array(data), HEADER);
      this.#link.sendBytes(frame);
      this.#offset = end;
    }
    this.#pumping = false;
  }
}

/* One user's side */

class Panel {
  #section; #text; #status; #file; #upload = null; #session = null; #link = null; #busy = new Set();
  #position; #missed = null; // where to resume, and the missed events that are still to come
  #people = new Map(); #present = new Set(); #typing = new Map(); // all by user id
  #typingSentAt = 0; #typingSaid = false;
  #seenByOthers = 0; #seenSent = 0; #shown = 0; // message ids; all messages up to the id have been seen
  #log; #follows = true; #scrollTop = 0; // whether new messages scroll the log
  #visible; // observes the other users' messages in the log
  #timers = {};

  constructor(section) {
    this.#section = section;
    this.#build();
    this.#text = section.querySelector('textarea');
    this.#status = this.#part('set-status');
    this.#file = section.querySelector('input[type=file]');
    this.#log = this.#part('log');
    this.#visible = new IntersectionObserver((entries) => this.#appeared(entries), { root: this.#log });
    this.#listen();
  }

  get loggedIn() { return this.#session !== null; }

  #part(role) { return this.#section.querySelector(`[data-role="${role}"]`); }

  #later(name, pause, act) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(act, pause);
  }

  #build() {
    const { user, name, title } = this.#section.dataset;
    const body = document.getElementById('panel').content.cloneNode(true);
    for (const attribute of ['id', 'for', 'aria-describedby']) {
      for (const element of body.querySelectorAll(`[${attribute}]`)) {
        element.setAttribute(attribute, element.getAttribute(attribute).replaceAll('@', user));
      }
    }
    for (const element of body.querySelectorAll('[data-fill]')) element.textContent = name;
    this.#section.append(body);
    this.#part('title').textContent = title;
    this.#part('login').username.value = user;
  }

  #listen() {
    const on = (element, type, act) => element.addEventListener(type, act);
    const submit = (role, act) => on(this.#part(role), 'submit', (event) => { event.preventDefault(); act(); });
    submit('login', () => this.login());
    submit('compose', () => this.#post());
    on(this.#part('logout'), 'click', () => this.#logout());
    on(this.#part('cut'), 'click', () => (this.#isOpen() ? this.#cut() : this.#connect()));
    on(this.#status, 'change', () => this.#later('status', STATUS_PAUSE, () => this.#sendStatus()));
    on(this.#part('upload-cancel'), 'click', () => this.#upload?.cancel());
    on(this.#text, 'input', () => this.#typed());
    on(this.#text, 'blur', () => this.#stopTyping());
    on(this.#text, 'keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#post();
    });
    on(document, 'visibilitychange', () => this.#see());
    on(this.#log, 'scroll', () => this.#scrolled());
    // A picture makes the list longer when it has loaded, and a wide window the log shorter.
    const sizes = new ResizeObserver(() => { if (this.#follows) this.#scrollToEnd(); });
    sizes.observe(this.#log);
    sizes.observe(this.#part('messages'));
  }

  /** Runs `act` unless it is still running. Shows a failure beside its field. */
  async #attempt(name, act) {
    if (this.#busy.has(name)) return;
    this.#busy.add(name);
    this.#tell(`${name}-problem`, '');
    try { await act(); } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401 && this.loggedIn) this.#end('refused', SESSION_OVER);
      else this.#tell(`${name}-problem`, error.message);
    } finally { this.#busy.delete(name); }
  }

  #tell(role, words) {
    const line = this.#part(role);
    line.textContent = words;
    for (const field of this.#section.querySelectorAll(`[aria-describedby~="${line.id}"]`)) {
      field.setAttribute('aria-invalid', String(words !== ''));
    }
  }

  /* Logging in and out */

  login() {
    const form = this.#part('login');
    return this.#attempt('login', async () => {
      if (this.loggedIn) return;
      const credentials = { username: form.username.value.trim(), password: form.password.value };
      if (!credentials.username || !credentials.password) throw new Refused(0, 'Enter a username and a password.');
      const { user, access_token: token } = await api('POST', '/login', null, credentials);
      const ticket = await api('GET', TICKET_PATH, token);
      const hadFocus = form.contains(document.activeElement);
      this.#begin({ user, token }, ticket);
      if (hadFocus) this.#part('subject').focus();
    });
  }

  #begin(session, ticket) {
    this.#session = session;
    this.#people.set(session.user.userID, displayName(session.user.username));
    this.#part('staff').hidden = session.user.role === 'PWDMember';
    this.#follows = true;
    this.#show(ticket);
    this.#swap();
    this.#link = new Link(session.token, {
      state: (name, words) => this.#state(name, words),
      ready: () => this.#join(),
      frame: (type, payload, position) => this.#frame(type, payload, position),
      welcome: () => this.#reload(),
    });
    this.#connect();
  }

  async #logout() {
    const { token } = this.#session;
    this.#link.send('leave_ticket', { ticket_id: TICKET });
    this.#end('offline', 'Not connected');
    this.#text.value = '';
    await api('POST', '/logout', token).catch(() => {}); // the page has logged out, whatever the response is
  }

  #end(state, words) {
    const hadFocus = this.#section.contains(document.activeElement);
    this.#upload?.fail({ message: words });
    this.#link.end();
    this.#session = this.#link = this.#missed = null;
    this.#position = undefined;
    this.#seenByOthers = this.#seenSent = this.#shown = this.#typingSentAt = 0;
    this.#visible.disconnect();
    this.#typingSaid = false;
    Object.values(this.#timers).forEach(clearTimeout);
    this.#part('messages').replaceChildren();
    this.#showUnread();
    for (const role of ['send-problem', 'status-problem', 'problem']) this.#tell(role, '');
    this.#swap();
    this.#state(state, words);
    if (hadFocus) this.#part('login').username.focus();
  }

  #swap() {
    this.#part('login').hidden = this.loggedIn;
    this.#part('ticket').hidden = this.#part('logout').hidden = !this.loggedIn;
    showWhoIsIn();
  }

  /* Connection */

  #state(state, words) {
    const line = this.#part('connection');
    line.dataset.state = state;
    line.textContent = words;
    if (state === 'refused') this.#upload?.fail({ message: words });
    this.#part('line').hidden = !this.loggedIn;
    this.#part('cut-words').textContent = this.#isOpen() ? 'Cut the connection' : 'Reconnect';
    this.#part('missed').textContent = '';
    if (state === 'connected') this.#tell('problem', '');
    else [...this.#present, ...this.#typing.keys()].forEach((id) => this.#leave(id));
  }

  #isOpen() { return ['connecting', 'connected'].includes(this.#part('connection').dataset.state); }

  /** Closes this side's WebSocket, as a dead network would. */
  #cut() {
    this.#link.cut();
    this.#state('cut', CUT);
  }

  #connect() {
    this.#state('connecting', 'Connecting…');
    this.#link.open();
  }

  #join() {
    this.#missed = null;
    this.#link.send('join_ticket', { ticket_id: TICKET, since: this.#position });
    this.#later('join', JOIN_PATIENCE, () => this.#reload());
    this.#upload?.begin();
  }

  /** Reloads the ticket, with any missed messages. Returns false if the session has ended. */
  async #reload() {
    clearTimeout(this.#timers.join);
    const session = this.#session;
    try {
      const ticket = await api('GET', TICKET_PATH, session.token);
      if (session === this.#session) this.#show(ticket);
    } catch (error) {
      if (session !== this.#session) return false;
      if (error.status === 401) this.#end('refused', SESSION_OVER);
      else if (this.#link.ready) this.#tell('problem', `The ticket was not reloaded. ${error.message}`);
    }
    return session === this.#session;
  }

  #frame(type, payload, position) {
    if (type.startsWith('upload_')) return this.#upload?.hear(type, payload);
    if (Number(payload.ticket_id ?? TICKET) !== TICKET) return;
    const act = {
      ticket_joined: () => this.#joined(payload),
      user_joined: () => this.#enter(payload.user_id, payload.user_name),
      user_left: () => this.#leave(payload.user_id),
      new_message: () => this.#add(payload.message),
      ticket_status_update: () => this.#showStatus(payload.status),
      typing_indicator: () => this.#setTyping(payload.user_id, payload.is_typing === true, payload.user_name),
      message_status_update: () => this.#heardSeen(payload),
      error: () => {
        if (payload.code !== 'unknown_type') this.#tell('problem', payload.message);
        // Laravel was busy or unavailable: join again. After "unavailable" the edge also retries by itself.
        if (payload.ticket_id && ['unavailable', 'access_unconfirmed'].includes(payload.code)) {
          const again = () => { if (this.#link.ready) this.#join(); };
          this.#later('rejoin', 2_000 + Math.random() * 3_000, again);
        }
      },
    }[type];
    act?.();
    if (position) this.#arrived(type, position);
  }

  /** With `recovered`, the missed events follow. Otherwise the ticket has to be reloaded. */
  #joined({ users = [], position, recovered, missed = 0 }) {
    this.#tell('problem', '');
    this.#present.clear();
    this.#enter(this.#session.user.userID);
    for (const user of users) this.#enter(user.user_id, user.user_name);
    if (position) this.#position = position;
    if (!recovered) return void this.#reload();
    clearTimeout(this.#timers.join);
    this.#missed = { left: missed, messages: 0 };
    this.#showMissed();
    this.#see();
  }

  /** Remembers the position of an event of the site, and counts it if it was missed. */
  #arrived(type, position) {
    this.#position = position;
    if (!this.#missed?.left) return;
    this.#missed.left -= 1;
    if (type === 'new_message') this.#missed.messages += 1;
    this.#showMissed();
  }

  /** Reports the missed messages once all of them are here. */
  #showMissed() {
    const { left, messages } = this.#missed;
    if (left > 0) return;
    const words = { 0: 'No message was missed.', 1: '1 missed message arrived.' };
    this.#part('missed').textContent = words[messages] ?? `${messages} missed messages arrived.`;
  }

  /* The ticket and its messages */

  #show(ticket) {
    this.#part('subject').textContent = ticket.subject;
    this.#part('number').textContent = ticket.ticket_number;
    this.#showStatus(ticket.status);
    for (const message of ticket.messages ?? []) this.#add(message);
    this.#see();
  }

  #showStatus(status) {
    const badge = this.#part('status');
    badge.dataset.status = this.#status.value = status;
    const words = this.#status.selectedOptions[0]?.text ?? status;
    if (badge.textContent !== words) badge.textContent = words;
  }

  #sendStatus() {
    return this.#attempt('status', async () => {
      await api('PUT', TICKET_PATH, this.#session.token, { status: this.#status.value }).catch((error) => {
        this.#status.value = this.#part('status').dataset.status;
        throw error;
      });
    });
  }

  #post() {
    const field = this.#text;
    return this.#attempt('send', async () => {
      const message = field.value.trim();
      const file = this.#file.files[0];
      if (!message && !file) throw new Refused(0, 'Write a message or attach a file first.');
      this.#stopTyping();
      if (file) return this.#attach(file, message);
      await api('POST', `${TICKET_PATH}/messages`, this.#session.token, { message });
      if (field.value.trim() === message) field.value = '';
      if (!this.#link?.ready) this.#tell('problem', 'Sent. The message appears here when the connection is back.');
    });
  }

  /** Sends a file with its message over the WebSocket. */
  async #attach(file, message) {
    if (!this.#link.ready) throw new Refused(0, 'Wait until the connection is back, then send the file.');
    const box = this.#part('upload');
    this.#part('upload-name').textContent = `Sending ${file.name}`;
    this.#showProgress(0);
    box.hidden = false;
    this.#upload = new Upload(this.#link, file, message, (share) => this.#showProgress(share));
    try {
      const { ticket_message: added } = await this.#upload.done;
      if (this.loggedIn) this.#add(added);
      this.#file.value = '';
      if (this.#text.value.trim() === message) this.#text.value = '';
    } finally {
      const hadFocus = box.contains(document.activeElement);
      this.#upload = null;
      box.hidden = true;
      if (hadFocus) this.#file.focus();
    }
  }

  #showProgress(share) {
    this.#part('upload-bar').value = share;
    const quarter = Math.floor(share * 4) * 25; // screen readers announce it four times, not for each chunk
    const words = share < 1 ? `${quarter} % sent` : 'Waiting for the site…';
    const line = this.#part('upload-state');
    if (line.textContent !== words) line.textContent = words;
  }

  /** Distinguishes staff by user id. The only member in a ticket is its owner. */
  #isOwn(message) {
    const { role, userID } = this.#session.user;
    return role === 'PWDMember' ? !message.is_admin : Boolean(message.is_admin) && message.sender_id === userID;
  }

  #add(message) {
    const id = Number(message?.id);
    const list = this.#part('messages');
    if (!id || list.querySelector(`[data-message-id="${id}"]`)) return;
    const later = [...list.children].find((other) => Number(other.dataset.messageId) > id);
    const item = this.#item(id, message);
    list.insertBefore(item, later ?? null);
    if (this.#isOwn(message)) this.#follows = true;
    else this.#visible.observe(item);
    if (this.#follows) this.#scrollToEnd();
    this.#showUnread();
  }

  #scrollToEnd() { this.#log.scrollTop = this.#log.scrollHeight; }

  /** New messages scroll the log until the user scrolls up. A longer list alone never lowers
      `scrollTop`. */
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    if (scrollHeight - scrollTop - clientHeight < 60) this.#follows = true;
    else if (scrollTop < this.#scrollTop) this.#follows = false;
    this.#scrollTop = scrollTop;
  }

  #item(id, message) {
    const item = document.getElementById('message').content.cloneNode(true).firstElementChild;
    const own = this.#isOwn(message);
    item.dataset.messageId = id;
    item.toggleAttribute('data-own', own);
    item.querySelector('.sender').textContent = displayName(message.sender_name) || 'Unknown';
    item.querySelector('.text').textContent = message.message ?? `Attachment: ${message.attachment_name ?? 'a file'}`;
    if (['image/png', 'image/jpeg', 'image/gif'].includes(message.attachment_type)) {
      const preview = item.querySelector('.preview');
      preview.src = `/api/support-tickets/messages/${id}/image`;
      preview.alt = message.attachment_name ?? 'Attached picture';
      preview.hidden = false;
    }
    item.querySelector('.seen').hidden = !own || id > this.#seenByOthers;
    const at = new Date(message.created_at ?? NaN);
    if (!Number.isNaN(at.getTime())) {
      item.querySelector('time').dateTime = at.toISOString();
      item.querySelector('time').textContent = at.toLocaleTimeString([], { timeStyle: 'short' });
    }
    return item;
  }

  #appeared(entries) {
    const items = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target);
    this.#shown = Math.max(this.#shown, ...items.map((item) => Number(item.dataset.messageId)));
    this.#see();
    this.#showUnread();
  }

  /** Reports the newest message of another user that the log has shown as seen. */
  #see() {
    if (!this.#link?.ready || document.hidden || this.#shown <= this.#seenSent) return;
    this.#seenSent = this.#shown;
    this.#link.send('message_seen', { message_id: this.#shown, ticket_id: TICKET });
  }

  /** Shows on the switch of a phone how many messages the log has not shown. */
  #showUnread() {
    const others = [...this.#section.querySelectorAll('li[data-message-id]:not([data-own])')];
    const unread = others.filter((item) => Number(item.dataset.messageId) > this.#shown).length;
    const place = document.querySelector(`[data-unread="${this.#section.dataset.user}"]`);
    place.textContent = unread ? `(${unread} new)` : '';
  }

  #heardSeen({ status, message_id: id, user_id: userId }) {
    if (status !== 'seen' || userId === this.#session.user.userID) return;
    this.#seenByOthers = Math.max(this.#seenByOthers, Number(id) || 0);
    for (const item of this.#section.querySelectorAll('li[data-own]')) {
      if (Number(item.dataset.messageId) <= this.#seenByOthers) item.querySelector('.seen').hidden = false;
    }
  }

  /* Presence and typing */

  #nameOf(id) { return this.#people.get(id) ?? `User ${id}`; }

  #enter(id, name) {
    if (name) this.#people.set(id, displayName(name));
    this.#present.add(id);
    this.#showPresent();
  }

  #leave(id) {
    this.#present.delete(id);
    this.#setTyping(id, false);
    this.#showPresent();
  }

  #showPresent() {
    const own = this.#session?.user.userID;
    const names = [...this.#present].map((id) => this.#nameOf(id) + (id === own ? ' (you)' : ''));
    this.#part('present').textContent = names.length ? `Here now: ${names.join(', ')}` : '';
  }

  #setTyping(id, isTyping, name) {
    if (id === this.#session?.user.userID) return;
    if (name) this.#people.set(id, displayName(name));
    clearTimeout(this.#typing.get(id));
    this.#typing.delete(id);
    if (isTyping) this.#typing.set(id, setTimeout(() => this.#setTyping(id, false), TYPING_SHOWN));
    const names = [...this.#typing.keys()].map((other) => this.#nameOf(other));
    const words = names.length ? `${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'} typing…` : '';
    const line = this.#part('typing');
    if (line.textContent !== words) line.textContent = words; // screen readers announce it once, not for each event
  }

  #typed() {
    if (!this.#text.value.trim()) return this.#stopTyping();
    this.#later('typing', TYPING_SILENCE, () => this.#stopTyping());
    if (Date.now() - this.#typingSentAt < TYPING_EVERY) return;
    this.#typingSentAt = Date.now();
    this.#typingSaid = true;
    this.#link.send('typing_indicator', { ticket_id: TICKET, is_typing: true });
  }

  #stopTyping() {
    clearTimeout(this.#timers.typing);
    if (this.#typingSaid) this.#link?.send('typing_indicator', { ticket_id: TICKET, is_typing: false });
    this.#typingSaid = false;
  }
}

/* The page */

const sections = [...document.querySelectorAll('section[data-user]')];
const panels = sections.map((section) => new Panel(section));
const both = document.getElementById('log-both-in');
both.addEventListener('click', () => panels.forEach((panel) => panel.login()));

const switches = [...document.querySelectorAll('[data-show]')];
for (const button of switches) button.addEventListener('click', () => showSide(button.dataset.show));
showSide('ana');

/** Chooses the side that a phone shows. A wide window shows both. */
function showSide(user) {
  for (const section of sections) section.toggleAttribute('data-shown', section.dataset.user === user);
  for (const button of switches) button.setAttribute('aria-pressed', String(button.dataset.show === user));
}

function showWhoIsIn() {
  const done = panels.every((panel) => panel.loggedIn);
  both.setAttribute('aria-disabled', String(done));
  both.textContent = done ? 'Both logged in' : 'Log both in';
}

/** Returns the display name of the two users of this page, and the given name for others. */
function displayName(name) {
  return sections.find((section) => section.dataset.user === name)?.dataset.name ?? name;
}

function showCommands({ socket = 'SOCKET', url = location.origin }) {
  const json = (body) => `-H 'Content-Type: application/json' -d '${JSON.stringify(body)}'`;
  const update = { type: 'ticket_status_update', payload: { ticket_id: TICKET, status: 'resolved' } };
  const show = (name, command) => { document.querySelector(`[data-command="${name}"]`).textContent = command; };
  show('broadcast', `curl --unix-socket ${socket} http://edge/broadcast ${json(update)}`);
  show('login', `curl --insecure ${url}/api/login ${json({ username: 'ana', password: 'demo' })}`);
}

async function copyCommand(button) {
  const command = document.querySelector(`[data-command="${button.dataset.copy}"]`);
  const note = button.nextElementSibling;
  try {
    await navigator.clipboard.writeText(command.textContent);
    note.textContent = 'Copied';
  } catch { // the browser does not allow it
    getSelection().selectAllChildren(command);
    note.textContent = 'Selected';
  }
}

for (const button of document.querySelectorAll('[data-copy]')) button.addEventListener('click', () => copyCommand(button));
showCommands({});
document.querySelector('.try').addEventListener('toggle', async () => {
  const answer = await fetch('/demo.json').catch(() => null);
  if (answer?.ok) showCommands(await answer.json().catch(() => ({})));
}, { once: true });
