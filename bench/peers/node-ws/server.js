// Rooms in node with `ws`, behind nginx: what many Laravel sites have. A session
// is in the room of its path, `/sub/N`; what is posted to `/pub/N` goes to all of
// the room. Heartbeat and broadcast are as the README of `ws` has them.
//
//   node server.js ADDRESS PORT

'use strict';

const http = require('node:http');
const { WebSocketServer } = require('ws');

const PING_EVERY = 25_000;
const [address, port] = process.argv.slice(2);
const rooms = new Map();

const sockets = new WebSocketServer({ noServer: true });

sockets.on('connection', (socket, room) => {
  if (!rooms.has(room)) rooms.set(room, new Set());
  const members = rooms.get(room).add(socket);
  socket.isAlive = true;
  socket.on('pong', () => (socket.isAlive = true));
  socket.on('error', () => socket.terminate());
  socket.on('close', () => {
    members.delete(socket);
    if (members.size === 0) rooms.delete(room);
  });
});

setInterval(() => {
  for (const socket of sockets.clients) {
    if (!socket.isAlive) socket.terminate();
    socket.isAlive = false;
    if (socket.readyState === socket.OPEN) socket.ping();
  }
}, PING_EVERY);

const server = http.createServer({ keepAliveTimeout: 0 }, (request, response) => {
  const [, room] = /^\/pub\/(\d+)$/.exec(request.url) ?? [];
  if (!room || request.method !== 'POST') return response.writeHead(404).end();
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const event = Buffer.concat(chunks);
    for (const socket of rooms.get(room) ?? []) socket.send(event, { binary: false });
    response.writeHead(200).end();
  });
});

server.on('upgrade', (request, socket, head) => {
  const [, room] = /^\/sub\/(\d+)$/.exec(request.url) ?? [];
  if (!room) return socket.destroy();
  sockets.handleUpgrade(request, socket, head, (opened) => sockets.emit('connection', opened, room));
});

server.listen({ host: address, port: Number(port), backlog: 8192 });
