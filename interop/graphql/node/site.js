// The services to talk to: the example of `protocols/graphql`, GRAPHQL_SERVICES or target/debug/examples/services.
import { spawn } from 'node:child_process';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const target = process.env.CARGO_TARGET_DIR || path.join(root, 'target');
const binary = process.env.GRAPHQL_SERVICES || path.join(target, 'debug/examples/services');

/** Starts it; with a key, nobody else may do anything; with the file of a supergraph, as its gateway. It ends with the pipe to its standard input. */
export async function start(key = '', supergraph = '') {
  const child = spawn(binary, ['0', key, supergraph], { stdio: ['pipe', 'pipe', 'inherit'] });
  const gone = new Promise((done) => child.on('exit', done));
  const failed = new Promise((_, fail) => child.on('error', fail));
  const url = await Promise.race([failed, new Promise((done) => {
    readline.createInterface({ input: child.stdout }).once('line', done);
  })]);
  return {
    url,
    ws: url.replace('http', 'ws'),
    async stop() {
      child.stdin.end();
      await gone;
    },
  };
}

/** Posts a document and gives status, headers and JSON. */
export async function post(url, query, variables, headers = {}, rest = {}) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/graphql-response+json', ...headers },
    body: JSON.stringify({ query, variables, ...rest }),
  });
  return { status: response.status, headers: response.headers, json: await response.json() };
}
