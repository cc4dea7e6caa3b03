// A server to talk to, and the requests every test makes. The binary is SWITCHBOARD_BIN or target/release/switchboard.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const target = process.env.CARGO_TARGET_DIR || path.join(root, 'target');
const binary = process.env.SWITCHBOARD_BIN || path.join(target, 'release', 'switchboard');
let count = 0;

export const unique = (stem = 't') => `${stem}${++count}x${process.pid % 1000}`;
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
export const everyByte = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

/** Calls `probe` until it gives something true. */
export async function until(probe, what = 'the condition', timeout = 15000) {
  const end = Date.now() + timeout;
  for (;;) {
    const got = await probe();
    if (got) return got;
    if (Date.now() > end) throw new Error(`${what} did not come true in ${timeout} ms`);
    await sleep(10);
  }
}

/** Rejects when `promise` is not settled in time, so that a lost message is a failure and not a hang. */
export function soon(promise, what = 'an answer', timeout = 15000) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`${what} did not come in ${timeout} ms`)), timeout);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts `switchboard serve` in a folder of its own; `extra` is added to the config. */
export async function start(extra = '') {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'switchboard-node-'));
  for (let round = 0; round < 5; round++) {
    const port = await freePort();
    const file = path.join(dir, 'switchboard.toml');
    fs.writeFileSync(file, `listen = ["http://127.0.0.1:${port}"]\nengine = "disk:${dir}/data"\n${extra}\n`);
    const log = fs.openSync(path.join(dir, 'server.log'), 'w');
    const child = spawn(binary, ['serve', '-c', file], { cwd: dir, stdio: ['ignore', log, log] });
    fs.closeSync(log);
    let failed = null;
    child.on('error', (error) => (failed = error));
    const ended = new Promise((done) => child.on('exit', done));
    const url = `http://127.0.0.1:${port}`;
    const ready = await until(async () => {
      if (failed || child.exitCode !== null) return 'gone';
      return fetch(`${url}/readyz`).then((r) => r.ok && 'ready', () => false);
    }, 'the server');
    if (ready === 'ready') return server(url, child, dir, ended);
    if (failed) throw failed;
    const said = fs.readFileSync(path.join(dir, 'server.log'), 'utf8');
    if (!said.includes('SB0105')) throw new Error(`the server did not start:\n${said.slice(-4000)}`);
  }
  throw new Error('no free port');
}

function server(url, child, dir, ended) {
  return {
    url,
    ws: url.replace('http', 'ws'),
    child,
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 20000);
      await ended;
      clearTimeout(timer);
      fs.rmSync(dir, { recursive: true, force: true });
      if (child.exitCode !== 0) throw new Error(`the server ended with ${child.exitCode ?? child.signalCode}`);
    },
    request: (method, where, options = {}) => fetch(url + where, { method, ...options }),
    async json(method, where, options = {}) {
      const answer = await fetch(url + where, { method, ...options });
      if (!answer.ok) throw new Error(`${method} ${where}: ${answer.status} ${await answer.text()}`);
      return answer.json();
    },
    publish(address, body = '', headers = {}, query = '') {
      return this.json('POST', `/topics/${address}${query}`, { body, headers });
    },
    post(where, value, headers = {}) {
      return this.json('POST', where, {
        body: JSON.stringify(value),
        headers: { 'content-type': 'application/json', ...headers },
      });
    },
    put(where, value = {}, headers = {}) {
      return this.json('PUT', where, {
        body: JSON.stringify(value),
        headers: { 'content-type': 'application/json', ...headers },
      });
    },
  };
}

/** Everything an emitter-like source gave, with a way to wait for the next. */
export class Inbox {
  #items = [];
  #waiting = [];
  add(item) {
    const waiter = this.#waiting.shift();
    if (waiter) waiter(item);
    else this.#items.push(item);
  }
  next(what = 'a message') {
    if (this.#items.length) return Promise.resolve(this.#items.shift());
    return soon(new Promise((done) => this.#waiting.push(done)), what);
  }
  async take(n) {
    const got = [];
    while (got.length < n) got.push(await this.next());
    return got;
  }
  get size() {
    return this.#items.length;
  }
}
