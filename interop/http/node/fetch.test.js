// What a page does with fetch: publish, poll, wait, and the conditional and cross-origin rules it depends on.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { everyByte, start, unique } from './sb.js';

let server;
before(async () => { server = await start('[http]\norigins = ["https://app.example"]\n'); });
after(() => server.stop());

test('binary bodies there and back', async () => {
  const topic = unique('bin');
  const made = await server.request('POST', `/topics/${topic}`, { body: everyByte, headers: { 'content-type': 'image/x' } });
  assert.equal(made.status, 201);
  const one = await fetch(server.url + made.headers.get('location'));
  assert.equal(one.headers.get('content-type'), 'image/x');
  assert.deepEqual(Buffer.from(await one.arrayBuffer()), everyByte);
  const { messages } = await server.json('GET', `/topics/${topic}`);
  assert.equal(messages[0].encoding, 'base64');
  assert.deepEqual(Buffer.from(messages[0].body, 'base64'), everyByte);
});

test('a body without a type stays without one', async () => {
  const topic = unique('none');
  await server.publish(topic, everyByte);
  const { messages } = await server.json('GET', `/topics/${topic}`);
  assert.equal('content_type' in messages[0], false);
});

test('streamed bodies', async () => {
  const topic = unique('chunks');
  async function* chunks() { for (let i = 0; i < 100; i++) yield Buffer.alloc(1000, i); }
  const made = await server.request('POST', `/topics/${topic}`, { body: ReadableStream.from(chunks()), duplex: 'half' });
  assert.equal(made.status, 201);
  const one = await fetch(server.url + made.headers.get('location'));
  assert.equal((await one.arrayBuffer()).byteLength, 100000);
});

test('long poll wakes', async () => {
  const topic = unique('poll');
  await server.publish(topic, '0');
  const { next } = await server.json('GET', `/topics/${topic}`);
  const began = Date.now();
  const waiting = server.json('GET', `/topics/${topic}?after=${encodeURIComponent(next)}`, { headers: { prefer: 'wait=30' } });
  await server.publish(topic, '1');
  assert.deepEqual((await waiting).messages.map((m) => m.body), ['1']);
  assert.ok(Date.now() - began < 10000);
});

test('leaving a long poll is noticed and harmless', async () => {
  const topic = unique('leave');
  await server.publish(topic, '0');
  for (let i = 0; i < 20; i++) {
    const leave = new AbortController();
    const waiting = fetch(`${server.url}/topics/${topic}`, { headers: { prefer: 'wait=60' }, signal: leave.signal });
    setTimeout(() => leave.abort(), 5);
    await assert.rejects(waiting);
  }
  assert.equal((await server.json('GET', `/topics/${topic}`)).messages.length, 1);
});

test('polling with an ETag', async () => {
  const topic = unique('etag');
  await server.publish(topic, '0');
  const first = await server.request('GET', `/topics/${topic}`);
  await first.arrayBuffer();
  const again = await server.request('GET', `/topics/${topic}`, { headers: { 'if-none-match': first.headers.get('etag') } });
  assert.equal(again.status, 304);
});

test('cross-origin: preflight, answers, errors', async () => {
  const origin = 'https://app.example';
  const preflight = await server.request('OPTIONS', '/topics/x', {
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type,idempotency-key' },
  });
  assert.ok([200, 204].includes(preflight.status));
  assert.equal(preflight.headers.get('access-control-allow-origin'), origin);
  const error = await server.request('GET', `/topics/${unique('none')}`, { headers: { origin } });
  assert.equal(error.status, 404);
  assert.equal(error.headers.get('access-control-allow-origin'), origin);
  assert.equal((await error.json()).code, 'SB0301');
  const other = await server.request('GET', '/livez', { headers: { origin: 'https://evil.example' } });
  assert.equal(other.headers.get('access-control-allow-origin'), null);
});

test('idempotent retry', async () => {
  const topic = unique('idem');
  const headers = { 'idempotency-key': unique('key') };
  const first = await server.publish(topic, 'x', headers);
  const again = await server.request('POST', `/topics/${topic}`, { body: 'x', headers });
  assert.equal(again.headers.get('idempotency-replayed'), 'true');
  assert.deepEqual(await again.json(), first);
});

test('submit, poll, fetch the result', async () => {
  const method = `${unique('svc')}.v1.Runner/Run`;
  await server.put(`/methods/${method}`, { timeout: '60s' });
  const made = await server.request('POST', `/${method}`, { body: 'in', headers: { prefer: 'respond-async' } });
  assert.equal(made.status, 202);
  const where = made.headers.get('location');
  const end = server.json('GET', where, { headers: { prefer: 'wait=30' } });
  const job = (await server.post('/jobs/take', { methods: [method], wait: '10s' })).jobs[0];
  await server.json('POST', `/jobs/${job.id}/complete`, {
    body: everyByte, headers: { 'sb-lease': job.lease, 'content-type': 'image/x' },
  });
  assert.equal((await end).state, 'succeeded');
  const result = await fetch(`${server.url}${where}/result`);
  assert.equal(result.headers.get('content-type'), 'image/x');
  assert.deepEqual(Buffer.from(await result.arrayBuffer()), everyByte);
});
