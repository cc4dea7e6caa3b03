// What a page does with EventSource: follow, drop, come back by itself, and log in with a token in the URL.
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { EventSource } from 'eventsource';
import { Inbox, everyByte, soon, start, unique, until } from './sb.js';

let server;
before(async () => {
  server = await start(`
[auth]
keys = { shop = "shop-secret" }
[roles.shop]
admin = true
[http]
origins = ["https://app.example"]
`);
  const { publish, json } = server;
  const key = { authorization: 'Bearer shop-secret' };
  server.publish = (address, body, headers = {}, query) =>
    publish.call(server, address, body, { ...key, ...headers }, query);
  server.json = (method, where, options = {}) =>
    json.call(server, method, where, { ...options, headers: { ...key, ...options.headers } });
});
after(() => server.stop());

async function token(grants) {
  return (await server.post('/tokens', { grants, ttl: '5m' })).token;
}

function listen(url, kinds = ['message']) {
  const source = new EventSource(url);
  const inbox = new Inbox();
  for (const kind of kinds) source.addEventListener(kind, (event) => inbox.add(event));
  return { source, inbox };
}

test('a page logs in with a token in the query', async () => {
  const topic = unique('q');
  await server.publish(topic, 'hello');
  const { source, inbox } = listen(`${server.url}/topics/${topic}?from=start&token=${await token({ read: [topic] })}`);
  const event = await inbox.next();
  assert.equal(event.data, 'hello');
  assert.ok(event.lastEventId);
  source.close();
});

test('no token, no events', async () => {
  const source = new EventSource(`${server.url}/topics/${unique('q')}`);
  const error = await soon(new Promise((done) => (source.onerror = done)));
  assert.equal(error.code, 401);
  source.close();
});

/** Passes bytes on until told to cut every connection, as a bad network does. */
async function network(port) {
  const pipes = new Set();
  const proxy = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    for (const [a, b] of [[near, far], [far, near]]) {
      pipes.add(a);
      a.pipe(b);
      a.on('error', () => b.destroy());
      a.on('close', () => (pipes.delete(a), b.destroy()));
    }
  });
  await new Promise((done) => proxy.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${proxy.address().port}`,
    cut: () => pipes.forEach((pipe) => pipe.destroy()),
    close: () => (pipes.forEach((pipe) => pipe.destroy()), proxy.close()),
  };
}

test('a cut connection resumes by itself without loss or repetition', async () => {
  const topic = unique('resume');
  const bad = await network(Number(new URL(server.url).port));
  await server.publish(topic, '0');
  const { source, inbox } = listen(`${bad.url}/topics/${topic}?from=start&token=${await token({ read: [topic] })}`);
  const seen = [(await inbox.next()).data];
  for (let round = 0; round < 2; round++) {
    bad.cut();
    for (let i = 1; i <= 10; i++) await server.publish(topic, String(round * 10 + i));
    seen.push(...(await inbox.take(10)).map((event) => event.data));
  }
  assert.deepEqual(seen, Array.from({ length: 21 }, (_, i) => String(i)));
  assert.equal(inbox.size, 0);
  source.close();
  bad.close();
});

test('binary bodies come as envelopes', async () => {
  const topic = unique('bin');
  await server.publish(topic, everyByte, { 'content-type': 'image/x' });
  await server.publish(topic, 'zwei\nZeilen ä');
  const url = `${server.url}/topics/${topic}?from=start&token=${await token({ read: [topic] })}`;
  const { source, inbox } = listen(url, ['message', 'envelope']);
  const [first, second] = await inbox.take(2);
  assert.equal(first.type, 'envelope');
  const message = JSON.parse(first.data);
  assert.equal(message.encoding, 'base64');
  assert.deepEqual(Buffer.from(message.body, 'base64'), everyByte);
  assert.equal(message.content_type, 'image/x');
  assert.equal(second.type, 'message');
  assert.equal(second.data, 'zwei\nZeilen ä');
  source.close();
});

test('a job is watched from the beginning to its end', async () => {
  const method = `${unique('svc')}.v1.Runner/Run`;
  await server.put(`/methods/${method}`, { timeout: '60s' });
  const job = await server.json('POST', `/${method}`, { body: 'in', headers: { prefer: 'respond-async' } });
  const url = `${server.url}/jobs/${job.id}?token=${await token({ jobs: [job.id] })}`;
  const { source, inbox } = listen(url, ['state', 'progress', 'log', 'result', 'end']);
  assert.equal(JSON.parse((await inbox.next()).data).state, 'queued');
  const taken = (await server.post('/jobs/take', { methods: [method], wait: '10s' })).jobs[0];
  const lease = { 'sb-lease': taken.lease };
  await server.post(`/jobs/${job.id}/progress`, { percent: 50 }, lease);
  await server.json('POST', `/jobs/${job.id}/log?stream=stdout`, { body: 'working', headers: lease });
  await server.json('POST', `/jobs/${job.id}/complete`, { body: everyByte, headers: lease });
  const kinds = [];
  for (;;) {
    const event = await inbox.next();
    kinds.push(event.type);
    if (event.type === 'end') break;
    if (event.type === 'result') assert.deepEqual(Buffer.from(JSON.parse(event.data).body, 'base64'), everyByte);
  }
  for (const kind of ['state', 'progress', 'log', 'result']) assert.ok(kinds.includes(kind), kind);
  source.close();
});

test('many readers of one topic all get everything in order', async () => {
  const topic = unique('many');
  await server.publish(topic, '0');
  const login = await token({ read: [topic] });
  const readers = Array.from({ length: 30 }, () => listen(`${server.url}/topics/${topic}?from=start&token=${login}`));
  for (const { inbox } of readers) assert.equal((await inbox.next()).data, '0');
  for (let i = 1; i <= 20; i++) await server.publish(topic, String(i));
  for (const { source, inbox } of readers) {
    assert.deepEqual((await inbox.take(20)).map((event) => Number(event.data)), Array.from({ length: 20 }, (_, i) => i + 1));
    source.close();
  }
});

test('closing the page frees the connection', async () => {
  const topic = unique('close');
  await server.publish(topic, '0');
  const before = (await server.json('GET', '/status')).connections;
  const login = await token({ read: [topic] });
  const readers = Array.from({ length: 20 }, () => listen(`${server.url}/topics/${topic}?from=start&token=${login}`));
  for (const { inbox } of readers) await inbox.next();
  for (const { source } of readers) source.close();
  await until(async () => (await server.json('GET', '/status')).connections <= before + 2, 'the end of the connections', 30000);
});

test('a reader behind a keep-alive agent sees the comment-free stream at once', async () => {
  const topic = unique('raw');
  await server.publish(topic, 'first');
  const first = await soon(new Promise((done, fail) => {
    const request = http.get(`${server.url}/topics/${topic}?from=start`, {
      headers: { accept: 'text/event-stream', authorization: 'Bearer shop-secret' },
    }, (response) => {
      assert.equal(response.headers['content-type'].split(';')[0], 'text/event-stream');
      let text = '';
      response.on('data', (chunk) => {
        text += chunk;
        if (text.includes('\n\n') && text.includes('data:')) (done(text), request.destroy());
      });
    });
    request.on('error', fail);
  }));
  assert.match(first, /^data: ?first$/m);
  assert.match(first, /^id: ?\S+$/m);
});
