// Stock laravel-echo and pusher-js against a running edge. Prints each step that passed, and
// fails at the first that does not. PORT, KEY, SECRET and SOCKET come from the environment.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import http from 'node:http';
import Pusher from 'pusher-js';
import Echo from 'laravel-echo';

const { PORT, KEY, SECRET, SOCKET } = process.env;
const USERS = { ana: { id: 42, info: { name: 'Ana ñ€😀' } }, ben: { id: 'b-7', info: { name: 'Ben' } } };

// Laravel's POST /broadcasting/auth. Nobody may join a channel with "secret" in its name.
const laravel = http.createServer(async (request, response) => {
  let body = '';
  for await (const part of request) body += part;
  const form = new URLSearchParams(body);
  const [socket, channel] = [form.get('socket_id'), form.get('channel_name')];
  const user = USERS[request.headers.authorization?.replace('Bearer ', '')];
  if (!user || channel.includes('secret')) return response.writeHead(403).end();
  const data = channel.startsWith('presence-')
    ? JSON.stringify({ user_id: user.id, user_info: user.info })
    : undefined;
  const signed = [socket, channel, data].filter((part) => part !== undefined).join(':');
  const secret = channel.includes('forged') ? 'another' : SECRET;
  const signature = createHmac('sha256', secret).update(signed).digest('hex');
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify({ auth: `${KEY}:${signature}`, channel_data: data }));
});
await new Promise((done) => laravel.listen(0, '127.0.0.1', done));
const authEndpoint = `http://127.0.0.1:${laravel.address().port}/broadcasting/auth`;

const post = (path, body) =>
  new Promise((done, failed) => {
    const request = http.request({ socketPath: SOCKET, path, method: 'POST' }, async (response) => {
      let text = '';
      for await (const part of response) text += part;
      done({ status: response.statusCode, body: JSON.parse(text) });
    });
    request.on('error', failed);
    request.end(body === undefined ? '' : JSON.stringify(body));
  });
const publish = (type, channels, payload, more = {}) =>
  post('/broadcast', { type, channels, payload, ...more });

const open = [];
function echo(token, more = {}) {
  const client = new Echo({
    broadcaster: 'reverb',
    Pusher,
    key: KEY,
    wsHost: 'localhost',
    wsPort: PORT,
    wssPort: PORT,
    forceTLS: true,
    enabledTransports: ['ws', 'wss'],
    authEndpoint,
    // Not bearerToken: all clients of a page share the headers that it is written into.
    auth: { headers: { Authorization: `Bearer ${token}` } },
    withoutInterceptors: true,
    ...more,
  });
  open.push(client);
  return client;
}
const pusher = (client) => client.connector.pusher;
// The promise of the first call of what it hands to `register`.
const once = (register) => new Promise((done) => register(done));
const connected = (client) =>
  once((done) => pusher(client).connection.bind('connected', () => done(client)));
const subscribed = (channel) =>
  once((done) => {
    if (channel.subscription.subscribed) done();
    channel.subscribed(done);
  });
const state = (client, wanted) =>
  once((done) => {
    const { connection } = pusher(client);
    if (connection.state === wanted) done();
    connection.bind('state_change', ({ current }) => current === wanted && done());
  });
const step = async (name, run) => {
  let timer;
  const late = new Promise((_, failed) => {
    timer = setTimeout(() => failed(new Error('no result within 20 s')), 20_000);
  });
  await Promise.race([run(), late]).catch((error) => {
    console.error(`not ok: ${name}`);
    throw error;
  });
  clearTimeout(timer);
  console.log(`ok: ${name}`);
};

let ana, ben;
await step('handshake', async () => {
  ana = await connected(echo('ana'));
  ben = await connected(echo('ben'));
  assert.match(ana.socketId(), /^\d+\.\d+$/);
});

await step('public, private and encrypted channels', async () => {
  for (const [channel, name] of [
    [ana.channel('news'), 'news'],
    [ana.private('orders.7'), 'private-orders.7'],
  ]) {
    await subscribed(channel);
    const event = once((done) => channel.listen('Shipped', done));
    await publish('App\\Events\\Shipped', [name], { id: 7, text: 'ñ€😀' });
    assert.deepEqual(await event, { id: 7, text: 'ñ€😀' });
    const custom = once((done) => channel.listen('.order.shipped', done));
    await publish('order.shipped', [name], { list: [1] });
    assert.deepEqual(await custom, { list: [1] });
  }
});

await step('denied and forged channels', async () => {
  for (const name of ['secret', 'forged']) {
    const error = await once((done) => ana.private(name).error(done));
    assert.equal(error.status, 403);
    assert.equal(pusher(ana).connection.state, 'connected');
  }
});

await step('presence: here, joining, leaving', async () => {
  const room = ana.join('room.1');
  const here = await once((done) => room.here(done));
  assert.deepEqual(here, [USERS.ana.info]);
  const joining = once((done) => room.joining(done));
  const other = ben.join('room.1');
  const both = await once((done) => other.here(done));
  assert.equal(both.length, 2);
  assert.deepEqual(await joining, USERS.ben.info);
  const member = pusher(ana).channel('presence-room.1').members;
  assert.deepEqual(member.get('42').info, USERS.ana.info);
  assert.equal(member.count, 2);
  const leaving = once((done) => room.leaving(done));
  ben.leave('room.1');
  assert.deepEqual(await leaving, USERS.ben.info);
});

await step('a second tab and a reload are silent', async () => {
  const room = ana.join('room.2');
  await once((done) => room.here(done));
  const heard = [];
  room.joining((user) => heard.push(['joining', user.name]));
  room.leaving((user) => heard.push(['leaving', user.name]));
  for (let reload = 0; reload < 2; reload++) {
    const tab = await connected(echo('ben'));
    await once((done) => tab.join('room.2').here(done));
    tab.disconnect();
  }
  const end = once((done) => room.listen('.end', done));
  await publish('end', ['presence-room.2'], {});
  await end;
  assert.deepEqual(heard, [['joining', 'Ben']]);
});

await step('toOthers', async () => {
  const [mine, theirs] = [ana.private('others'), ben.private('others')];
  await Promise.all([subscribed(mine), subscribed(theirs)]);
  const heard = [];
  mine.listen('.first', () => heard.push('first'));
  const last = once((done) => mine.listen('.last', done));
  const first = once((done) => theirs.listen('.first', done));
  await publish('first', ['private-others'], {}, { except: ana.socketId() });
  await publish('last', ['private-others'], {});
  await Promise.all([first, last]);
  assert.deepEqual(heard, []);
});

await step('whisper', async () => {
  for (const [mine, theirs] of [
    [ana.private('talk'), ben.private('talk')],
    [ana.join('talk'), ben.join('talk')],
  ]) {
    await Promise.all([subscribed(mine), subscribed(theirs)]);
    const heard = once((done) =>
      theirs.listenForWhisper('typing', (data, meta) => done([data, meta?.user_id])),
    );
    mine.whisper('typing', { n: 1.5 });
    const [data, user] = await heard;
    assert.deepEqual(data, { n: 1.5 });
    assert.equal(user, mine.name.startsWith('presence-') ? 42 : undefined);
  }
});

await step('leave, and subscribe again', async () => {
  const channel = ana.private('again');
  await subscribed(channel);
  ana.leave('again');
  await subscribed(ana.private('again'));
  assert.equal((await publish('x', ['private-again'], {})).body[0]?.sessions ?? 1, 1);
});

await step('leave while the signature is pending', async () => {
  ben.private('pending');
  ben.leave('pending');
  await subscribed(ben.private('after'));
});

await step('unknown key and protocol: pusher-js stays away', async () => {
  const stranger = echo('ana', { key: 'other' });
  await state(stranger, 'disconnected');
});

await step('revalidate: pusher-js comes back and asks Laravel again', async () => {
  const room = ana.join('room.3');
  await once((done) => room.here(done));
  const before = ana.socketId();
  const again = once((done) => room.here(done));
  const { body } = await post('/users/42/revalidate');
  assert.ok(body.sessions >= 1);
  await again;
  assert.notEqual(ana.socketId(), before);
});

await step('disconnect: pusher-js stays away', async () => {
  const room = ben.join('room.4');
  await once((done) => room.here(done));
  await post('/users/b-7/disconnect');
  await state(ben, 'disconnected');
});

for (const client of open) client.disconnect();
laravel.close();
laravel.closeAllConnections();
