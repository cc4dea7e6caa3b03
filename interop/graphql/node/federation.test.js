// A subgraph of a federation: Apollo's composition takes the schema, and entities are found by their keys.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { composeServices } from '@apollo/composition';
import { parse } from 'graphql';
import { post, start } from './site.js';

let site;
before(async () => { site = await start(); });
after(() => site.stop());

const REVIEWS = `
  extend schema @link(url: "https://specs.apollo.dev/federation/v2.3", import: ["@key", "@external"])
  type Review { stars: Int! by: User! }
  type User @key(fields: "id") { id: Int64! reviews: [Review!]! }
  type Query { reviews: [Review!]! }
  scalar Int64
`;

test("Apollo's composition takes the schema, alone and with another subgraph", async () => {
  const { json } = await post(site.url, '{ _service { sdl } }');
  const typeDefs = parse(json.data._service.sdl);
  const ours = { name: 'switchboard', url: site.url, typeDefs };
  for (const subgraphs of [[ours], [ours, { name: 'reviews', url: 'http://reviews', typeDefs: parse(REVIEWS) }]]) {
    const { errors, supergraphSdl } = composeServices(subgraphs);
    assert.equal(errors, undefined, errors?.map(String).join('\n'));
    assert.match(supergraphSdl, /type User/);
  }
});

test('entities by key, one call for all', async () => {
  const query = `query($r: [_Any!]!) { _entities(representations: $r) { __typename ... on User { name posts { title } } } }`;
  const r = [1, 2, 404].map((id) => ({ __typename: 'User', id: `${id}` }));
  const { json } = await post(site.url, query, { r });
  assert.equal(json.errors, undefined);
  assert.deepEqual(json.data._entities.map((e) => e?.name), ['user 1', 'user 2', undefined]);
  assert.equal(json.data._entities[0].__typename, 'User');
});
