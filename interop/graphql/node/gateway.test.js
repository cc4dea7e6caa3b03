// The server as a gateway over two real subgraphs: queries, mutations, errors, rights, headers, limits; and its own services as one of them.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildClientSchema, buildSchema, getIntrospectionQuery, parse, validateSchema } from 'graphql';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { serve as serveHttp } from './gateway.js';
import { compose, serve } from './subgraphs.js';
import { post } from './site.js';

const asked = [];
const headers = { authorization: 'Bearer all-secret' };
let site, first, second, trouble = 0;

before(async () => {
  first = await serve('products', asked, (_, response) => {
    if (trouble === 0) return false;
    trouble -= 1;
    response.writeHead(503).end('busy');
    return true;
  });
  second = await serve('reviews', asked);
  site = await serveHttp(compose({ products: 'http://127.0.0.1:1/nowhere', reviews: second.url }), `
[graphql.gateway]
supergraph = "supergraph.graphql"
subgraphs = { products = { target = "${first.url}", timeout = "10s" } }
forward = ["authorization"]
[auth]
keys = { all = "$ALL_KEY", reader = "$READER_KEY", nobody = "$NOBODY_KEY" }
[roles.all]
call = ["switchboard.Supergraph/*"]
[roles.reader]
call = ["switchboard.Supergraph/Query"]
[roles.nobody]
read = ["news"]
`, { ALL_KEY: 'all-secret', READER_KEY: 'reader-secret', NOBODY_KEY: 'nobody-secret' });
});
after(async () => {
  await site?.stop();
  await first?.stop();
  await second?.stop();
});

const ask = async (query, variables, more = {}) => (await post(site.graph, query, variables, { ...headers, ...more })).json;

test('a query over two subgraphs', async () => {
  asked.length = 0;
  const answer = await ask('query($upc: ID!) { product(upc: $upc) { name reviews { stars product { name } } heavy } }', { upc: '2' });
  assert.deepEqual(answer, { data: { product: {
    name: 'chair',
    reviews: [{ stars: 1, product: { name: 'chair' } }, { stars: 3, product: { name: 'chair' } }],
    heavy: true,
  } } });
  // @requires and the reviews need one more request each at most, @provides none.
  assert.deepEqual(asked, ['products', 'reviews']);
});

test('entities of a list are looked up by one request, whatever the fields are called', async () => {
  asked.length = 0;
  const answer = await ask(`{ all: products { upc again: name good: reviews(atLeast: 2) { id } any: reviews { id } ...F } }
    fragment F on Product { heavy size { w } }`);
  assert.deepEqual(answer.data.all, [
    { upc: '1', again: 'table', good: [{ id: '2' }], any: [{ id: '2' }], heavy: false, size: { w: 1 } },
    { upc: '2', again: 'chair', good: [{ id: '3' }], any: [{ id: '1' }, { id: '3' }], heavy: true, size: { w: 2 } },
  ]);
  assert.deepEqual(asked, ['products', 'reviews']);
  const top = await ask('{ top(limit: 3) { id product { name weight size { h } } } }');
  assert.deepEqual(top.data.top.map((r) => r.product), [
    { name: 'chair', weight: 120, size: { h: 2 } },
    { name: 'table', weight: 60, size: { h: 2 } },
    { name: 'chair', weight: 120, size: { h: 2 } },
  ]);
});

test('unions, interfaces, an interface that is an object elsewhere', async () => {
  const union = await ask('{ search { __typename ... on Product { name reviews { stars } } ... on Shop { name } } }');
  assert.deepEqual(union.data.search, [
    { __typename: 'Product', name: 'chair', reviews: [{ stars: 1 }, { stars: 3 }] },
    { __typename: 'Shop', name: 'corner' },
  ]);
  const media = await ask('{ media { title rating ... on Book { pages } ... on Film { minutes } } }');
  assert.deepEqual(media, { data: { media: [{ title: 'Emma', rating: 4.5, pages: 400 }, { title: 'Ran', rating: 3, minutes: 160 }] } });
});

test('variables, defaults, conditions, names', async () => {
  const conditional = 'query($no: Boolean!, $yes: Boolean = true) { product(upc: "1") { name @skip(if: $no) reviews @include(if: $no) { id } heavy @include(if: $yes) ...R @skip(if: $no) } } fragment R on Product { weight }';
  assert.deepEqual(await ask(conditional, { no: false }), { data: { product: { name: 'table', heavy: false, weight: 60 } } });
  assert.deepEqual(await ask(conditional, { no: true, yes: false }), { data: { product: { reviews: [{ id: '2' }] } } });
  const input = await ask('query($by: By!, $n: Int) { find(by: $by) { upc reviews(atLeast: $n) { id } } }', { by: { upcs: ['2', '1'] }, n: 3 });
  assert.deepEqual(input.data.find, [{ upc: '2', reviews: [{ id: '3' }] }, { upc: '1', reviews: [] }]);
  const wrong = await ask('query($by: By!) { find(by: $by) { upc } }', { by: { upcs: 3, more: 1 } });
  assert.equal(wrong.errors[0].extensions.code, 'BAD_USER_INPUT');
  assert.equal(wrong.data, undefined);
  assert.match((await ask('query($representations: ID!) { product(upc: $representations) { name } }', { representations: '1' })).errors[0].message, /representations/);
});

test('mutations, one after another', async () => {
  asked.length = 0;
  const { data } = await ask('mutation { rename(upc: "1", name: "desk") { name reviews { id } } review(upc: "2", stars: 4) { stars product { weight } } again: rename(upc: "2", name: "stool") { name } }');
  assert.deepEqual(data, {
    rename: { name: 'desk', reviews: [{ id: '2' }] },
    review: { stars: 4, product: { weight: 120 } },
    again: { name: 'stool' },
  });
  const refused = await ask('mutation { refuse { name } rename(upc: "1", name: "x") { name } }');
  assert.deepEqual(refused.data, { refuse: null, rename: { name: 'x' } });
  assert.deepEqual(refused.errors.map((e) => [e.message, e.path, e.extensions.code, e.extensions.service]), [['not today', ['refuse'], 'CLOSED', 'products']]);
});

test('errors have their place, nulls go up', async () => {
  const broken = await ask('{ products { upc it: broken } }');
  assert.deepEqual(broken.data.products, [{ upc: '1', it: null }, { upc: '2', it: null }]);
  assert.deepEqual(broken.errors.map((e) => [e.message, e.path, e.extensions.service]), [
    ['broken 1', ['products', 0, 'it'], 'reviews'],
    ['broken 2', ['products', 1, 'it'], 'reviews'],
  ]);
  // One entity at two places.
  const twice = await ask('{ top(limit: 3) { product { broken } } }');
  assert.deepEqual(twice.errors.map((e) => e.path).filter((p) => p[1] !== 1).sort(), [['top', 0, 'product', 'broken'], ['top', 2, 'product', 'broken']]);
  const strict = await ask('{ whoami strict { id must } }');
  assert.equal(strict.data, null);
  assert.deepEqual(strict.errors.map((e) => e.path), [['strict', 'must']]);
  const lax = await ask('{ lax { must } product(upc: "9") { name } }');
  assert.deepEqual(lax.data, { lax: [null, null], product: null });
  assert.deepEqual(lax.errors.map((e) => e.path), [['lax', 0, 'must']]);
  // A value that clients are not to see.
  const hidden = await ask('{ products { kind } }');
  assert.deepEqual(hidden.data.products, [{ kind: 'FURNITURE' }, { kind: null }]);
  assert.deepEqual(hidden.errors.map((e) => e.path), [['products', 1, 'kind']]);
});

test('the schema that clients see', async () => {
  const both = await ask('{ __typename top { stars } t: __type(name: "Product") { fields { name } } __schema { queryType { name } } }');
  assert.equal(both.data.__typename, 'Query');
  assert.deepEqual(both.data.top, [{ stars: 1 }]);
  assert.equal(both.data.__schema.queryType.name, 'Query');
  assert.deepEqual(both.data.t.fields.map((f) => f.name).sort(), ['broken', 'heavy', 'kind', 'name', 'reviews', 'size', 'upc', 'weight']);
  const schema = buildClientSchema((await ask(getIntrospectionQuery())).data);
  assert.deepEqual(validateSchema(schema), []);
  assert.equal(schema.getType('_Any'), undefined);
  assert.deepEqual(schema.getType('Kind').getValues().map((v) => v.name), ['FURNITURE']);
  const text = await (await fetch(`${site.graph}/schema.graphql`, { headers })).text();
  assert.ok(buildSchema(text).getType('Media'));
  assert.equal((await fetch(`${site.graph}/schema.graphql`)).status, 403);
});

test('limits are those of /graphql', async () => {
  const code = async (query, variables) => (await ask(query, variables)).errors[0].extensions.code;
  assert.equal(await code(`{ products { ${'reviews { product { '.repeat(10)} name ${'} }'.repeat(10)} } }`), 'RESOURCE_EXHAUSTED');
  assert.equal(await code(`{ ${Array.from({ length: 16 }, (_, n) => `a${n}: whoami`)} }`), 'RESOURCE_EXHAUSTED');
  const fragments = Array.from({ length: 20 }, (_, n) => `fragment F${n} on Product { ...F${n + 1} ... on Product { ...F${n + 1} } }`).join(' ');
  assert.equal(await code(`{ products { ...F0 } } ${fragments} fragment F20 on Product { name }`), 'RESOURCE_EXHAUSTED');
  assert.equal(await code('query($by: By!) { find(by: $by) { upc } }', { by: { upcs: Array(10001).fill('1') } }), 'RESOURCE_EXHAUSTED');
  assert.equal(await code('{ nothing }'), 'GRAPHQL_VALIDATION_FAILED');
  assert.equal(await code('{'), 'GRAPHQL_PARSE_FAILED');
  const batch = await fetch(site.graph, { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body: '[{"query":"{ whoami }"}]' });
  assert.equal(batch.status, 400);
});

test('rights, headers, forms', async () => {
  assert.equal((await ask('{ whoami }', {}, { 'x-trace': 't1' })).data.whoami, 'Bearer all-secret t1');
  const as = async (key, query) => (await post(site.graph, query, {}, { authorization: `Bearer ${key}` })).json;
  assert.equal((await as('reader-secret', '{ whoami }')).data.whoami.split(' ')[1], 'reader-secret');
  assert.equal((await as('reader-secret', 'mutation { rename(upc: "1", name: "x") { name } }')).errors[0].extensions.code, 'PERMISSION_DENIED');
  assert.equal((await as('nobody-secret', '{ whoami }')).errors[0].extensions.code, 'PERMISSION_DENIED');
  assert.equal((await as('nobody-secret', '{ __typename whoami __schema { queryType { name } } }')).errors[0].extensions.code, 'PERMISSION_DENIED');
  const stranger = await post(site.graph, '{ whoami }', {}, {});
  assert.equal(stranger.json.errors[0].extensions.code, 'UNAUTHENTICATED');
  const wrong = await post(site.graph, '{ whoami }', {}, { authorization: 'Bearer wrong' });
  assert.deepEqual([wrong.status, wrong.json.errors[0].extensions.code], [401, 'UNAUTHENTICATED']);
  const get = (query) => fetch(`${site.graph}?query=${encodeURIComponent(query)}`, { headers });
  assert.deepEqual(await (await get('{ product(upc: "1") { name } }')).json(), { data: { product: { name: 'table' } } });
  assert.equal((await get('mutation { refuse { name } }')).status, 405);
  const events = await fetch(site.graph, { method: 'POST', headers: { ...headers, 'content-type': 'application/json', accept: 'text/event-stream' }, body: '{"query":"{ product(upc: \\"1\\") { name } }"}' });
  assert.match(await events.text(), /event: next\ndata: \{"data":\{"product":\{"name":"table"\}\}\}\n\nevent: complete/);
  const subscription = await ask('subscription { ticks(to: 1) }');
  assert.match(subscription.errors[0].message, /needs text\/event-stream or a WebSocket/);
  const client = createClient({ url: site.graph.replace('http', 'ws'), webSocketImpl: WebSocket, connectionParams: headers });
  const results = [];
  for await (const result of client.iterate({ query: '{ product(upc: "2") { name heavy } }' })) results.push(result);
  assert.deepEqual(results, [{ data: { product: { name: 'chair', heavy: true } } }]);
  await client.dispose();
});

test('subscriptions, completed by another subgraph', async () => {
  const client = createClient({ url: site.graph.replace('http', 'ws'), webSocketImpl: WebSocket, connectionParams: headers });
  const all = async (query, variables) => {
    const results = [];
    for await (const result of client.iterate({ query, variables })) results.push(result);
    return results;
  };
  assert.deepEqual(await all('subscription($n: Int!) { ticks(to: $n) }', { n: 3 }), [1, 2, 3].map((ticks) => ({ data: { ticks } })));
  assert.deepEqual(await all('subscription { it: renamed(upcs: ["2", "1"]) { name heavy reviews { id } } }'), [
    { data: { it: { name: 'chair', heavy: true, reviews: [{ id: '1' }, { id: '3' }] } } },
    { data: { it: { name: 'table', heavy: false, reviews: [{ id: '2' }] } } },
  ]);
  const broken = await all('subscription { renamed(upcs: ["1", "7"]) { upc broken } }');
  assert.deepEqual(broken[0].data, { renamed: { upc: '1', broken: null } });
  assert.deepEqual(broken[0].errors.map((e) => [e.message, e.path]), [['broken 1', ['renamed', 'broken']]]);
  assert.equal(broken.length, 2);
  assert.deepEqual(broken[1], { data: { renamed: null }, errors: [{ message: 'there is no 7', path: ['renamed'], extensions: { code: 'INTERNAL', service: 'products' } }] });
  await client.dispose();
  const events = await fetch(site.graph, { method: 'POST', headers: { ...headers, 'content-type': 'application/json', accept: 'text/event-stream' }, body: '{"query":"subscription { ticks(to: 2) }"}' });
  const said = (await events.text()).split('\n').filter((line) => line.startsWith('data: {'));
  assert.deepEqual(said, ['data: {"data":{"ticks":1}}', 'data: {"data":{"ticks":2}}']);
});

test('persisted queries', async () => {
  const query = '{ product(upc: "1") { name weight } }';
  const { createHash } = await import('node:crypto');
  const extensions = { persistedQuery: { version: 1, sha256Hash: createHash('sha256').update(query).digest('hex') } };
  const send = async (text) => (await post(site.graph, text, undefined, headers, { extensions })).json;
  assert.equal((await send(undefined)).errors[0].extensions.code, 'PERSISTED_QUERY_NOT_FOUND');
  assert.deepEqual((await send(query)).data.product, { name: 'table', weight: 60 });
  assert.deepEqual((await send(undefined)).data.product, { name: 'table', weight: 60 });
});

test('a subgraph in trouble is asked again, a mutation is not', async () => {
  trouble = 1;
  assert.deepEqual(await ask('{ product(upc: "1") { name } }'), { data: { product: { name: 'table' } } });
  assert.equal(trouble, 0);
  trouble = 1;
  const refused = await ask('mutation { rename(upc: "1", name: "x") { name } }');
  assert.deepEqual([refused.data, refused.errors[0].path, refused.errors[0].extensions], [{ rename: null }, ['rename'], { code: 'UNAVAILABLE', service: 'products' }]);
});

test('a subgraph that is gone: the rest of the data, and why', async () => {
  await second.stop();
  const down = await ask('{ product(upc: "1") { name heavy } whoami }');
  assert.deepEqual(down.data.product, { name: 'table', heavy: null });
  assert.deepEqual(down.errors.map((e) => [e.path, e.extensions.code, e.extensions.service]), [[['product', 'heavy'], 'UNAVAILABLE', 'reviews']]);
  const all = await ask('{ products { name } top { stars } }');
  assert.equal(all.data, null);
  assert.deepEqual(all.errors.map((e) => e.path), [['top']]);
});

test("the server's own services as one of the subgraphs", async () => {
  const entities = `[graphql.entities]\nTopic = { key = "name", call = "switchboard.v1.Topics/Get", args = { name = "name" } }\n`;
  const alone = await serveHttp('', entities);
  const { json } = await post(`${alone.url}/graphql`, '{ _service { sdl } }');
  await alone.stop();
  const typeDefs = parse(json.data._service.sdl);
  const third = await serve('reviews', asked);
  const supergraph = compose({ products: first.url, reviews: third.url }, [{ name: 'own', typeDefs, url: 'http://own' }]);
  const both = await serveHttp(supergraph, `${entities}[graphql.gateway]\nsupergraph = "supergraph.graphql"\nsubgraphs = { own = "self" }\n[topics.news]\n`);
  try {
    const fields = (await post(both.graph, '{ __schema { queryType { fields { name } } } }')).json.data.__schema.queryType.fields.map((f) => f.name);
    assert.ok(fields.includes('products') && fields.includes('topicsGet'), fields.join());
    const answer = await post(both.graph, '{ topicsGet(name: "news") { name } product(upc: "1") { name heavy } }');
    assert.deepEqual(answer.json, { data: { topicsGet: { name: 'news' }, product: { name: 'table', heavy: false } } });
    const missing = (await post(both.graph, '{ topicsGet(name: "olds") { name } }')).json;
    assert.deepEqual([missing.errors[0].extensions.service, missing.errors[0].path], ['own', ['topicsGet']]);
  } finally {
    await both.stop();
    await third.stop();
  }
});

test('the fixture of the unit tests is what the composition writes', () => {
  const file = fileURLToPath(new URL('../../../protocols/graphql/tests/common/supergraph.graphql', import.meta.url));
  const urls = { products: 'http://127.0.0.1:4001/graphql', reviews: 'http://127.0.0.1:4002/graphql' };
  assert.equal(fs.readFileSync(file, 'utf8'), compose(urls));
});
