// MCP as the official TypeScript SDKs speak it: the one of the revisions with sessions, and the one of the revision without.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Client as LegacyClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as LegacyTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

const program = process.env.RPC_SERVER ?? new URL('../../../target/debug/examples/rpc', import.meta.url).pathname;
const info = { name: 'interop', version: '1' };
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

async function publish(topic, body) {
  const answer = await fetch(`${url}/topics/${topic}`, { method: 'POST', body });
  assert.equal(answer.status, 201);
}

async function toolsAndResources(client, topic) {
  await publish(topic, 'one');
  const { tools } = await client.listTools();
  assert.ok(tools.some((tool) => tool.name === 'toy_v1_Toy_Greet' && tool.inputSchema.required.includes('name')));
  const greeted = await client.callTool({ name: 'toy_v1_Toy_Greet', arguments: { name: 'Ada', id: '7' } });
  assert.deepEqual(greeted.structuredContent, { text: 'Hello, Ada!', id: '7' });
  const failed = await client.callTool({ name: 'toy_v1_Toy_Fail', arguments: { code: 'ABORTED', message: 'again' } });
  assert.ok(failed.isError && failed._meta['switchboard/error'].code === 'ABORTED');
  const counted = await client.callTool({ name: 'toy_v1_Toy_Count', arguments: { to: 2 } });
  assert.deepEqual(counted.structuredContent.items.map((item) => item.n), [1, 2]);
  const { resources } = await client.listResources();
  assert.ok(resources.some((resource) => resource.uri === `sb://topics/${topic}`));
  const { contents } = await client.readResource({ uri: `sb://topics/${topic}` });
  assert.equal(contents[0].text, 'one');
}

test('the SDK of the revisions with sessions', async () => {
  const client = new LegacyClient(info);
  const transport = new LegacyTransport(new URL(`${url}/mcp`));
  const updated = new Promise((resolve) => {
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, (note) => resolve(note.params.uri));
  });
  await client.connect(transport);
  assert.ok(transport.sessionId);
  await toolsAndResources(client, 'legacy');
  const seen = [];
  await client.callTool({ name: 'toy_v1_Toy_Count', arguments: { to: 3 } }, undefined, { onprogress: (p) => seen.push(p.progress) });
  assert.deepEqual(seen, [1, 2, 3]);
  await client.subscribeResource({ uri: 'sb://topics/legacy' });
  await publish('legacy', 'two');
  assert.equal(await updated, 'sb://topics/legacy');
  // A call that is given up is cancelled: the session goes on.
  const abort = new AbortController();
  const hanging = client.callTool({ name: 'toy_v1_Toy_Hang', arguments: { name: 'x' } }, undefined, { signal: abort.signal });
  abort.abort('enough');
  await assert.rejects(hanging);
  await client.ping();
  await transport.terminateSession();
  await client.close();
});

test('the SDK of the revision without sessions', async () => {
  const client = new Client(info, { versionNegotiation: { mode: 'auto' } });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${url}/mcp`)));
  await toolsAndResources(client, 'modern');
  const updated = new Promise((resolve) => {
    client.setNotificationHandler('notifications/resources/updated', (note) => resolve(note.params.uri));
  });
  const listening = await client.listen({ resourceSubscriptions: ['sb://topics/modern'] });
  await publish('modern', 'two');
  assert.equal(await updated, 'sb://topics/modern');
  await listening.close();
  await client.close();
});
