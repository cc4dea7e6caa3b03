// What a page does with WebSocket, with the client most of Node uses.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { Inbox, everyByte, soon, start, unique, until } from './sb.js';

let server;
before(async () => { server = await start(); });
after(() => server.stop());

/** A connection that speaks `switchboard.v1`. */
async function talk(path = '/ws', options = {}) {
  const socket = new WebSocket(server.ws + path, ['switchboard.v1'], options);
  const pushed = new Inbox();
  const asked = new Map();
  let ids = 0;
  socket.on('message', (data, binary) => {
    let message;
    if (binary) {
      const length = data.readUInt32BE(0);
      message = JSON.parse(data.subarray(4, 4 + length));
      message.bytes = data.subarray(4 + length);
    } else message = JSON.parse(data);
    const waiting = (message.op === 'ok' || message.op === 'error') && asked.get(message.id);
    if (waiting) (asked.delete(message.id), waiting(message));
    else pushed.add(message);
  });
  await soon(new Promise((done, fail) => (socket.on('open', done), socket.on('error', fail))), 'the connection');
  const send = (message, body) => {
    if (!body) return socket.send(JSON.stringify(message));
    const head = Buffer.from(JSON.stringify(message));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(head.length);
    socket.send(Buffer.concat([length, head, body]));
  };
  const ask = (op, members = {}, body) => {
    const id = ++ids;
    const answer = new Promise((done) => asked.set(id, done));
    send({ op, id, ...members }, body);
    return soon(answer, `the answer to ${op}`);
  };
  const ok = async (...request) => {
    const got = await ask(...request);
    assert.equal(got.op, 'ok', JSON.stringify(got));
    return got;
  };
  return { socket, pushed, send, ask, ok, close: () => socket.close() };
}

test('permessage-deflate is negotiated and carries both ways', async () => {
  const topic = unique('deflate');
  const one = await talk();
  assert.equal(one.socket.protocol, 'switchboard.v1');
  assert.match(one.socket.extensions, /permessage-deflate/);
  const big = 'abc'.repeat(100000);
  await one.ok('publish', { address: topic, body: big });
  await one.ok('subscribe', { sub: 's', pattern: topic, from: 'start' });
  assert.equal((await one.pushed.next()).body, big);
  const random = Buffer.from(Array.from({ length: 70000 }, () => Math.floor(Math.random() * 256)));
  await one.ok('publish', { address: topic }, random);
  assert.deepEqual((await one.pushed.next()).bytes, random);
  one.close();
});

test('without permessage-deflate', async () => {
  const one = await talk('/ws', { perMessageDeflate: false });
  assert.equal(one.socket.extensions, '');
  await one.ok('ping');
  one.close();
});

test('deflate without context takeover', async () => {
  const topic = unique('deflate');
  const one = await talk('/ws', {
    perMessageDeflate: { clientNoContextTakeover: true, serverNoContextTakeover: true, threshold: 0 },
  });
  await one.ok('subscribe', { sub: 's', pattern: topic });
  await one.ok('publish', { address: topic, body: 'x', live: false });
  assert.equal((await one.pushed.next()).body, 'x');
  for (let i = 0; i < 50; i++) await one.ok('publish', { address: topic, body: 'y'.repeat(i * 100) });
  for (let i = 0; i < 50; i++) assert.equal((await one.pushed.next()).body, 'y'.repeat(i * 100));
  one.close();
});

test('every byte, text and binary frames', async () => {
  const topic = unique('bytes');
  const one = await talk();
  await one.ok('publish', { address: topic, content_type: 'image/x' }, everyByte);
  await one.ok('publish', { address: topic }, Buffer.from('text in a binary frame'));
  await one.ok('publish', { address: topic, body: everyByte.toString('base64'), encoding: 'base64' });
  await one.ok('subscribe', { sub: 's', pattern: topic, from: 'start' });
  const [a, b, c] = await one.pushed.take(3);
  assert.deepEqual(a.bytes, everyByte);
  assert.equal(a.content_type, 'image/x');
  assert.equal(b.body, 'text in a binary frame');
  assert.deepEqual(c.bytes, everyByte);
  one.close();
});

test('credit, resume, unsubscribe', async () => {
  const topic = unique('credit');
  for (let i = 0; i < 10; i++) await server.publish(topic, String(i));
  const one = await talk();
  await one.ok('subscribe', { sub: 's', pattern: topic, from: 'start', credit: 3 });
  const first = await one.pushed.take(3);
  await one.ok('ping');
  assert.equal(one.pushed.size, 0);
  one.send({ op: 'credit', sub: 's', n: 1 });
  assert.equal((await one.pushed.next()).body, '3');
  await one.ok('unsubscribe', { sub: 's' });
  one.close();
  const two = await talk();
  await two.ok('subscribe', { sub: 's', pattern: topic, after: first[2].id });
  assert.deepEqual((await two.pushed.take(7)).map((m) => Number(m.body)), [3, 4, 5, 6, 7, 8, 9]);
  two.close();
});

test('requests in flight do not wait for each other', async () => {
  const topic = unique('flight');
  const one = await talk();
  const answers = await Promise.all(
    Array.from({ length: 300 }, (_, i) => one.ok('publish', { address: topic, body: String(i) })),
  );
  assert.deepEqual(answers.map((a) => a.offset), Array.from({ length: 300 }, (_, i) => i));
  const { messages } = await server.json('GET', `/topics/${topic}?limit=1000`);
  assert.deepEqual(messages.map((m) => Number(m.body)), Array.from({ length: 300 }, (_, i) => i));
  one.close();
});

test('lease and settle', async () => {
  const topic = unique('lease');
  await server.put(`/topics/${topic}/groups/g`);
  const one = await talk();
  const waiting = one.ok('lease', { topic, group: 'g', max: 2, wait: '20s', lease: '30s' });
  await server.publish(topic, 'work');
  const [message] = (await waiting).messages;
  assert.equal(message.body, 'work');
  assert.deepEqual((await one.ok('ack', { handles: [message.handle] })).results, [{ handle: message.handle, ok: true }]);
  const stale = await one.ask('ack', { handles: [message.handle] });
  assert.equal(stale.op, 'error');
  assert.equal(stale.problem.code, 'SB0402');
  one.close();
});

test('call a method and watch a job', async () => {
  const method = `${unique('svc')}.v1.Runner/Run`;
  await server.put(`/methods/${method}`, { timeout: '60s' });
  const one = await talk();
  const call = one.ok('call', { method, content_type: 'text/plain', body: 'abc' });
  const job = (await server.post('/jobs/take', { methods: [method], wait: '10s' })).jobs[0];
  await one.ok('job', { sub: 'j', job: job.id, after: 0 });
  await server.json('POST', `/jobs/${job.id}/complete`, {
    body: 'cba', headers: { 'sb-lease': job.lease, 'content-type': 'text/x' },
  });
  const result = await call;
  assert.equal(result.body, 'cba');
  assert.equal(result.content_type, 'text/x');
  const states = [];
  for (;;) {
    const push = await one.pushed.next();
    if (push.op === 'end') break;
    if (push.type === 'state') states.push(push.state);
  }
  assert.deepEqual(states, ['queued', 'running', 'succeeded']);
  one.close();
});

test('the plain form: frames in, frames out', async () => {
  const topic = unique('plain');
  await server.publish(topic, 'text');
  await server.publish(topic, everyByte);
  const socket = new WebSocket(`${server.ws}/topics/${topic}?from=start`);
  const inbox = new Inbox();
  socket.on('message', (data, binary) => inbox.add({ data, binary }));
  const [text, bytes] = await inbox.take(2);
  assert.equal(text.binary, false);
  assert.equal(text.data.toString(), 'text');
  assert.equal(bytes.binary, true);
  assert.deepEqual(bytes.data, everyByte);
  socket.send('from a page');
  socket.send(everyByte);
  const [own, raw] = await inbox.take(2);
  assert.equal(own.data.toString(), 'from a page');
  assert.deepEqual(raw.data, everyByte);
  socket.close();
  const [code] = await soon(new Promise((done) => socket.on('close', (...got) => done(got))), 'the close');
  assert.equal(code, 1005);
});

test('live fan-out to many pages', async () => {
  const topic = unique('fan');
  const pages = await Promise.all(Array.from({ length: 50 }, () => talk()));
  await Promise.all(pages.map((page) => page.ok('subscribe', { sub: 's', pattern: topic })));
  const from = await talk();
  const { delivered } = await from.ok('publish', { address: topic, body: 'now', live: true });
  assert.equal(delivered, 50);
  for (const page of pages) {
    assert.equal((await page.pushed.next()).body, 'now');
    page.close();
  }
  from.close();
});

test('bad JSON is answered, bad text closes 1007', async () => {
  const one = await talk();
  one.socket.send('{');
  const answer = await one.pushed.next();
  assert.equal(answer.op, 'error');
  await one.ok('ping');
  const closed = new Promise((done) => one.socket.on('close', done));
  one.socket._sender.send(Buffer.from([0xff, 0xfe]), { binary: false, fin: true, mask: true, compress: false });
  assert.equal(await soon(closed, 'the close'), 1007);
});

test('ping and pong', async () => {
  const one = await talk();
  const pong = new Promise((done) => one.socket.on('pong', (data) => done(data.toString())));
  one.socket.ping('are you there');
  assert.equal(await soon(pong, 'the pong'), 'are you there');
  one.close();
});

test('an origin that is not ours is refused', async () => {
  for (const [origin, good] of [['https://evil.example', false], [server.url, true]]) {
    const socket = new WebSocket(`${server.ws}/ws`, ['switchboard.v1'], { origin });
    const got = await soon(new Promise((done) => {
      socket.on('open', () => done('open'));
      socket.on('unexpected-response', (_, response) => (response.destroy(), done(response.statusCode)));
      socket.on('error', () => {});
    }));
    assert.equal(got, good ? 'open' : 403);
    socket.terminate();
  }
});

test('a page that stops reading does not stop the others', async () => {
  const topic = unique('slow');
  await server.publish(topic, 'start');
  const slow = new WebSocket(`${server.ws}/topics/${topic}?from=start`, { perMessageDeflate: false });
  await soon(new Promise((done, fail) => (slow.on('open', done), slow.on('error', fail))));
  slow.pause();
  const body = 'x'.repeat(500000);
  const quick = await talk();
  await quick.ok('subscribe', { sub: 's', pattern: topic, from: 'end' });
  for (let i = 0; i < 20; i++) await server.publish(topic, body);
  await quick.pushed.take(20);
  let got = 0;
  slow.on('message', () => got++);
  slow.resume();
  await until(() => got >= 20, 'the durable messages of the slow page');
  slow.terminate();
  quick.close();
});
