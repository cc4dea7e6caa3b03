// GraphQL over HTTP: every audit of graphql-http, and what graphql-js reads of the schema.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { auditServer } from 'graphql-http';
import {
  buildClientSchema, buildSchema, getIntrospectionQuery, printSchema, validateSchema, parse, validate,
} from 'graphql';
import { post, start } from './site.js';

let site;
before(async () => { site = await start(); });
after(() => site.stop());

test('every audit of graphql-http', async () => {
  const results = await auditServer({ url: site.url });
  const bad = results.filter((r) => r.status !== 'ok').map((r) => `${r.status} ${r.name}: ${r.reason}`);
  assert.ok(results.length > 60, `only ${results.length} audits`);
  assert.deepEqual(bad, []);
  console.log(`${results.length} audits, all ok`);
});

test('graphql-js builds a client schema of the introspection', async () => {
  const options = { descriptions: true, specifiedByUrl: true, directiveIsRepeatable: true, schemaDescription: true, inputValueDeprecation: true };
  const { status, json } = await post(site.url, getIntrospectionQuery(options));
  assert.equal(status, 200, JSON.stringify(json.errors));
  const schema = buildClientSchema(json.data);
  assert.deepEqual(validateSchema(schema), []);
  assert.equal(schema.getType('Int64').specifiedByURL, 'https://protobuf.dev/programming-guides/json/');
  assert.match(schema.getQueryType().getFields().getUser.description, /One user, by id/);
  assert.equal(schema.getType('User').getFields().old.deprecationReason, 'No longer supported');
  const wanted = parse('query($i: AllInput) { echo(all: $i, double: 1) { double } user(id: 1) { posts { title } } }');
  assert.deepEqual(validate(schema, wanted), []);
});

test('graphql-js reads the schema as text', async () => {
  const text = await (await fetch(`${site.url}/schema.graphql`)).text();
  const schema = buildSchema(text);
  assert.deepEqual(validateSchema(schema), []);
  assert.ok(schema.getType('AllChoiceOneOf').isOneOf);
  assert.ok(printSchema(schema).length > 1000);
});
