// JSON-RPC as jayson and json-rpc-2.0 speak it, against the services of the test server.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import jayson from 'jayson/promise/index.js';
import { JSONRPCClient } from 'json-rpc-2.0';

const program = process.env.RPC_SERVER ?? new URL('../../../target/debug/examples/rpc', import.meta.url).pathname;
let server;
let url;

before(async () => {
  server = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
  [url] = await once(createInterface(server.stdout), 'line');
});

after(async () => {
  server.stdin.end();
  await once(server, 'exit');
});

test('jayson calls by name and by position, in batches, and notifies', async () => {
  const { port } = new URL(url);
  const client = jayson.Client.http({ host: '127.0.0.1', port, path: '/rpc/spec.v1.Examples' });
  assert.equal((await client.request('subtract', [42, 23])).result, 19);
  assert.equal((await client.request('subtract', { minuend: 42, subtrahend: 23 })).result, 19);
  const batch = await client.request([client.request('sum', [1, 2, 4], undefined, false), client.request('get_data', [], undefined, false)]);
  assert.deepEqual(batch.map((answer) => answer.result), [7, ['hello', 5]]);
  const missing = await client.request('foobar', []);
  assert.equal(missing.error.code, -32601);
  await client.request('update', [1, 2, 3, 4, 5], null);
});

test('json-rpc-2.0 gets results, and errors with their data', async () => {
  const client = new JSONRPCClient(async (request) => {
    const answer = await fetch(`${url}/rpc`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(request),
    });
    if (answer.status === 200) client.receive(await answer.json());
    else assert.equal(answer.status, 204);
  });
  assert.deepEqual(await client.request('toy.v1.Toy.Greet', { name: 'Ada', id: '7' }), { text: 'Hello, Ada!', id: '7' });
  await assert.rejects(client.request('toy.v1.Toy.Fail', { code: 'ABORTED', message: 'again' }), (error) => {
    assert.equal(error.code, -32010);
    assert.equal(error.data.details[0].reason, 'TOY');
    return true;
  });
  client.notify('toy.v1.Toy.Twice', [1]);
});

test('a subscription over a WebSocket', async () => {
  const socket = new (globalThis.WebSocket ?? (await import('ws')).WebSocket)(`${url.replace('http', 'ws')}/rpc`);
  const messages = [];
  const ended = new Promise((resolve, reject) => {
    socket.onmessage = ({ data }) => {
      messages.push(JSON.parse(data));
      if (messages.at(-1).params?.end) resolve();
    };
    socket.onerror = reject;
  });
  await new Promise((resolve) => (socket.onopen = resolve));
  socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'toy.v1.Toy/Count', params: { to: 2 } }));
  await ended;
  assert.deepEqual(messages.map((m) => m.result ?? m.params.result?.n ?? m.params.end), ['s1', 1, 2, true]);
  socket.close();
});
