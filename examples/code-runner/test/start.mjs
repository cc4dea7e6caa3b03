// Starts the server and workers for the tests and ends them again, each by its own process id.
// The server is SWITCHBOARD_BIN, or what was built last in this repository.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const BINARY = process.env.SWITCHBOARD_BIN ?? join(here, "../../../target/release/switchboard");

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const until = async (what, check, ms = 15_000) => {
  const end = Date.now() + ms;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(50);
  }
};

const start = async (command, args, ready) => {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  let failed = null;
  child.once("error", (error) => (failed = error));
  const process = { child, log: "", exit: once(child, "exit").catch(() => []) };
  for (const pipe of [child.stdout, child.stderr]) pipe.on("data", (data) => (process.log += data));
  process.end = async (name = "SIGKILL") => {
    if (child.exitCode === null && child.signalCode === null) child.kill(name);
    return (await process.exit)[0];
  };
  await until(`${command} to start`, () => {
    if (failed) throw failed;
    if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}: ${process.log}`);
    return process.log.includes(ready);
  });
  return process;
};

/** A server with this example's configuration, on a port and in a folder of its own. */
export const startServer = async () => {
  const folder = mkdtempSync(join(tmpdir(), "code-runner-test-"));
  const run = (port) => start(BINARY, ["serve", "--json", "--config", join(here, "..", "switchboard.toml"), "--port", String(port), "--data", folder], '"ready":true');
  let server = await run(0);
  const url = `http://127.0.0.1:${new URL(/"url":"([^"]+)"/.exec(server.log)[1]).port}`;
  return {
    url,
    kill: () => server.end("SIGKILL"),
    again: async () => (server = await run(new URL(url).port)),
    end: async () => {
      await server.end();
      rmSync(folder, { recursive: true });
    },
  };
};

export const startWorker = (url, name, ...more) =>
  start("python3", [join(here, "..", "worker.py"), "--url", url, "--name", name, ...more], "taking jobs");

export const submit = async (url, code, headers = {}) => {
  const answer = await fetch(`${url}/api/execute`, { method: "POST", body: code, headers: { "Content-Type": "text/x-python", Prefer: "respond-async", ...headers } });
  if (answer.status !== 202) throw new Error(`${answer.status} ${await answer.text()}`);
  return (await answer.json()).id;
};

export const getJob = async (url, id) => (await fetch(`${url}/jobs/${id}`)).json();
export const getEvents = async (url, id) => (await (await fetch(`${url}/jobs/${id}/events?limit=1000`)).json()).events;
export const isDone = (job) => ["succeeded", "failed", "cancelled", "expired"].includes(job.state);

/** Waits for the job's end and gives what it printed beside it. */
export const finish = async (url, id, ms = 30_000) => {
  const job = await until(`the end of job ${id}`, async () => (await getJob(url, id)).finished && getJob(url, id), ms);
  const logs = (await getEvents(url, id)).filter((event) => event.type === "log");
  const text = (stream) => logs.filter((event) => event.stream === stream).map((event) => event.text).join("");
  return { job, logs, stdout: text("stdout"), stderr: text("stderr"), result: job.result ? JSON.parse(job.result.body) : null };
};
