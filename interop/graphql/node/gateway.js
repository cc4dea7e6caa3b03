// The server itself with a supergraph: SWITCHBOARD_BIN or target/release/switchboard.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const target = process.env.CARGO_TARGET_DIR || path.join(root, 'target');
const binary = process.env.SWITCHBOARD_BIN || path.join(target, 'release/switchboard');

/** Starts it in a folder of its own, on a port of its choice; `config` names the supergraph as `supergraph.graphql`. */
export async function serve(supergraph, config, env = {}) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'gateway-'));
  fs.writeFileSync(path.join(dir, 'supergraph.graphql'), supergraph);
  fs.writeFileSync(path.join(dir, 'switchboard.toml'), `listen = ["http://127.0.0.1:0"]\nengine = "memory"\n${config}`);
  const options = { cwd: dir, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] };
  const child = spawn(binary, ['--json', 'serve', '-c', path.join(dir, 'switchboard.toml')], options);
  const ended = once(child, 'exit');
  const lines = readline.createInterface({ input: child.stdout });
  const banner = await Promise.race([once(lines, 'line'), ended.then(() => { throw new Error('the server ended'); })]);
  const [url] = JSON.parse(banner[0]).listeners;
  return {
    url,
    graph: `${url}/graphql/supergraph`,
    async stop() {
      child.kill('SIGTERM');
      await ended;
      fs.rmSync(dir, { recursive: true, force: true });
      if (child.exitCode !== 0) throw new Error(`the server ended with ${child.exitCode ?? child.signalCode}`);
    },
  };
}
