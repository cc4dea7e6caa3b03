// The usual clients, as they come: urql, Apollo, graphql-ws, graphql-sse.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client as Urql, fetchExchange } from '@urql/core';
import { ApolloClient, HttpLink, InMemoryCache, gql } from '@apollo/client/core';
import { createPersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { createHash } from 'node:crypto';
import { createClient as createSse } from 'graphql-sse';
import { createClient as createWs } from 'graphql-ws';
import WebSocket from 'ws';
import { post, start } from './site.js';

let site;
before(async () => { site = await start(); });
after(() => site.stop());

const THREE = '{ user(id: 1) { name posts { title } friends { name } } }';
const ANSWER = {
  user: {
    name: 'user 1',
    posts: [{ title: 'first of 1' }, { title: 'second of 1' }],
    friends: [{ name: 'friend of 1' }],
  },
};

test('urql', async () => {
  const client = new Urql({ url: site.url, exchanges: [fetchExchange], preferGetMethod: false });
  const { data, error } = await client.query(THREE, {}).toPromise();
  assert.equal(error, undefined);
  assert.deepEqual(strip(data), ANSWER);
});

test('Apollo, with persisted queries', async () => {
  const persisted = createPersistedQueryLink({ sha256: (text) => createHash('sha256').update(text).digest('hex') });
  const link = persisted.concat(new HttpLink({ uri: site.url }));
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  for (let round = 0; round < 2; round++) {
    const { data } = await client.query({ query: gql(THREE), fetchPolicy: 'no-cache' });
    assert.deepEqual(strip(data), ANSWER);
  }
  client.stop();
});

function strip(value) {
  if (Array.isArray(value)) return value.map(strip);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).filter(([k]) => k !== '__typename').map(([k, v]) => [k, strip(v)]));
}

async function items(iterator, most = Infinity) {
  const all = [];
  for await (const item of iterator) {
    all.push(item);
    if (all.length === most) break;
  }
  return all;
}

const WATCH = 'subscription($after: String, $until: UInt32) { watch(after: $after, until: $until) { cursor text user { name } } }';
const item = (n) => ({ data: { watch: { cursor: `${n}`, text: `item ${n}`, user: { name: 'user 1' } } } });

for (const [name, make] of [
  ['graphql-ws', () => createWs({ url: site.ws, webSocketImpl: WebSocket })],
  ['graphql-sse, distinct connections', () => createSse({ url: site.url })],
  ['graphql-sse, single connection', () => createSse({ url: site.url, singleConnection: true })],
]) {
  test(name, async () => {
    const client = make();
    const query = (query, variables) => client.iterate({ query, variables });
    assert.deepEqual(await items(query(THREE)), [{ data: ANSWER }]);
    assert.deepEqual(await items(query(WATCH, { until: 3 })), [1, 2, 3].map(item));
    // Cut in the middle and resumed behind the last item: nothing is missed.
    const first = await items(query(WATCH, {}), 5);
    const after = first.at(-1).data.watch.cursor;
    const rest = await items(query(WATCH, { after, until: 9 }));
    assert.deepEqual([...first, ...rest], [1, 2, 3, 4, 5, 6, 7, 8, 9].map(item));
    // Several at once on what may be one connection.
    const both = await Promise.all([items(query(WATCH, { until: 20 })), items(query(THREE)), items(query(WATCH, { until: 2 }))]);
    assert.deepEqual(both.map((b) => b.length), [20, 1, 2]);
    const [refused] = await items(query('{ getUser(id: 404) { name } }'));
    assert.equal(refused.errors[0].extensions.code, 'NOT_FOUND');
    client.dispose();
  });
}

test('graphql-ws: errors, ping, legacy', async () => {
  const client = createWs({ url: site.ws, webSocketImpl: WebSocket, lazy: false });
  await assert.rejects(items(client.iterate({ query: '{ nothing }' })), (errors) => errors[0].extensions.code === 'GRAPHQL_VALIDATION_FAILED');
  client.dispose();
  const closed = (protocol, ...messages) => new Promise((done) => {
    const socket = new WebSocket(site.ws, protocol);
    socket.on('open', () => messages.forEach((m) => socket.send(typeof m === 'string' ? m : JSON.stringify(m))));
    socket.on('close', (code, reason) => done([code, `${reason}`]));
    socket.on('error', () => {});
  });
  assert.deepEqual((await closed('graphql-ws'))[0], 4406);
  const ours = 'graphql-transport-ws';
  const init = { type: 'connection_init' };
  assert.equal((await closed(ours, { id: '1', type: 'subscribe', payload: { query: '{ __typename }' } }))[0], 4401);
  assert.equal((await closed(ours, init, init))[0], 4429);
  assert.equal((await closed(ours, init, '{'))[0], 4400);
  assert.equal((await closed(ours, init, { type: 'what' }))[0], 4400);
  const subscribe = { id: '1', type: 'subscribe', payload: { query: 'subscription { watch { cursor } }' } };
  assert.deepEqual(await closed(ours, init, subscribe, subscribe), [4409, 'Subscriber for 1 already exists']);
});

test('credentials', async () => {
  const locked = await start('secret');
  try {
    const none = await post(locked.url, '{ getUser(id: 1) { name } }');
    assert.equal(none.status, 200);
    assert.equal(none.json.errors[0].extensions.code, 'UNAUTHENTICATED');
    const hidden = await post(locked.url, '{ __schema { queryType { name } } }');
    assert.equal(hidden.status, 403);
    const wrong = await post(locked.url, '{ __typename }', {}, { authorization: 'Bearer wrong' });
    assert.equal(wrong.status, 401);
    assert.equal(wrong.json.errors[0].extensions.code, 'UNAUTHENTICATED');
    const right = await post(locked.url, '{ getUser(id: 1) { name } }', {}, { authorization: 'Bearer secret' });
    assert.deepEqual(right.json, { data: { getUser: { name: 'user 1' } } });
    // A browser's WebSocket has no headers.
    const client = createWs({
      url: locked.ws, webSocketImpl: WebSocket, connectionParams: { authorization: 'Bearer secret' },
    });
    assert.deepEqual(await items(client.iterate({ query: THREE })), [{ data: ANSWER }]);
    client.dispose();
    const refused = createWs({ url: locked.ws, webSocketImpl: WebSocket, retryAttempts: 0, connectionParams: { token: 'no' } });
    await assert.rejects(items(refused.iterate({ query: THREE })), (close) => close.code === 4403);
    refused.dispose();
  } finally {
    await locked.stop();
  }
});
