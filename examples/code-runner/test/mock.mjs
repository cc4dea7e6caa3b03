// A stand-in for the server with just what the code runner uses: routes, static files, jobs and the HTTP worker API of docs/http.md.
// Jobs live in memory; with --state FILE they are also written there, so that a restart can be tried. Not for anything else.
//
//   node mock.mjs [--port 7070] [--state FILE]

import { createServer } from "node:http";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "page");
const option = (name, otherwise) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : otherwise);
const port = Number(option("--port", "7070"));
const stateFile = option("--state", null);

const METHOD = "code.v1.Runner/Run";
const POLICY = { timeout: 120_000, attempts: 3, lease: 15_000, backoff: 1_000 };
const DONE = new Set(["succeeded", "failed", "cancelled", "expired"]);
const MAX_BODY = 1 << 20;

// ---- the store -----------------------------------------------------------------------------------------------------------

/** id -> { job, input, type, events, handle, leaseUntil, notBefore, watchers } */
const store = new Map();
const takers = []; // { methods, max, lease, worker, done, timer }

const save = () => {
  if (!stateFile) return;
  const rows = [...store.values()].map(({ watchers, leaseUntil, ...row }) => row);
  writeFileSync(`${stateFile}.new`, JSON.stringify(rows));
  renameSync(`${stateFile}.new`, stateFile);
};

if (stateFile && existsSync(stateFile)) {
  for (const row of JSON.parse(readFileSync(stateFile, "utf8"))) {
    // Leases begin anew in full after a restart.
    store.set(row.job.id, { ...row, leaseUntil: row.handle ? Date.now() + row.lease : 0, watchers: new Set() });
  }
}

const now = () => new Date().toISOString();
const describe = (row) => ({ ...row.job, events: row.events.length });

const addEvent = (row, type, members) => {
  const event = { seq: row.events.length + 1, at: now(), type, attempt: row.job.attempts, ...members };
  row.events.push(event);
  save();
  for (const watcher of [...row.watchers]) watcher();
};

const setState = (row, state, members = {}) => {
  row.job.state = state;
  if (DONE.has(state)) {
    row.job.finished = now();
    row.handle = null;
  }
  addEvent(row, "state", { state, ...members });
};

/** The pair that carries bytes inside JSON: text when it is UTF-8, otherwise base64. */
const shown = (bytes) => {
  const body = bytes.toString();
  return Buffer.from(body).equals(bytes) ? { body } : { body: bytes.toString("base64"), encoding: "base64" };
};
const bytesOf = ({ body, encoding }) => Buffer.from(body, encoding === "base64" ? "base64" : "utf8");

const submit = (input, type, rerunOf) => {
  const id = `01${Date.now().toString(36).toUpperCase()}${randomBytes(6).toString("hex").toUpperCase()}`;
  const job = {
    id,
    method: METHOD,
    state: "queued",
    attempts: 0,
    created: now(),
    deadline: new Date(Date.now() + POLICY.timeout).toISOString(),
    cancel_requested: false,
    ...(rerunOf ? { rerun_of: rerunOf } : {}),
  };
  const row = { job, input, type, events: [], handle: null, leaseUntil: 0, notBefore: 0, watchers: new Set() };
  store.set(id, row);
  addEvent(row, "state", { state: "queued" });
  handOut();
  return row;
};

const handOut = () => {
  for (const row of store.values()) {
    if (row.job.state !== "queued" || row.notBefore > Date.now()) continue;
    const taker = takers.shift();
    if (!taker) return;
    clearTimeout(taker.timer);
    row.lease = taker.lease;
    row.leaseUntil = Date.now() + taker.lease;
    row.handle = randomBytes(12).toString("base64url");
    row.job.attempts += 1;
    row.job.worker = taker.worker;
    row.job.started ??= now();
    setState(row, "running", { worker: taker.worker });
    taker.done([
      {
        id: row.job.id,
        method: METHOD,
        attempt: row.job.attempts,
        lease: row.handle,
        lease_until: new Date(row.leaseUntil).toISOString(),
        deadline: row.job.deadline,
        content_type: row.type,
        ...row.input,
      },
    ]);
  }
};

const tryAgain = (row, error, delay = POLICY.backoff) => {
  row.handle = null;
  addEvent(row, "error", { error });
  if (row.job.cancel_requested) return setState(row, "cancelled");
  if (!error.retryable || row.job.attempts >= POLICY.attempts) {
    row.job.error = error;
    return setState(row, "failed", { reason: error.message });
  }
  row.notBefore = Date.now() + delay;
  delete row.job.worker;
  setState(row, "queued", { reason: error.message });
};

setInterval(() => {
  for (const row of store.values()) {
    if (DONE.has(row.job.state)) continue;
    if (Date.parse(row.job.deadline) <= Date.now()) setState(row, "expired");
    else if (row.handle && row.leaseUntil <= Date.now()) {
      tryAgain(row, { code: "SB0404", message: `worker ${row.job.worker} said nothing for ${row.lease / 1000} s`, retryable: true }, 0);
    }
  }
  handOut();
}, 100);

// ---- HTTP ----------------------------------------------------------------------------------------------------------------

const send = (response, status, body, headers = {}) => {
  if (response.writableEnded) return;
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
  response.writeHead(status, { "Content-Type": "application/json", "Cache-Control": "no-store", "Content-Length": bytes.length, ...headers });
  response.end(bytes);
};

const problem = (response, status, code, title, detail, fix) =>
  send(response, status, { type: `/docs/errors#${code}`, title, status, detail, code, fix }, { "Content-Type": "application/problem+json" });

const read = (request) =>
  new Promise((resolve, reject) => {
    const parts = [];
    let size = 0;
    request.on("data", (part) => {
      size += part.length;
      if (size <= MAX_BODY) parts.push(part);
    });
    request.on("end", () => resolve(size > MAX_BODY ? null : Buffer.concat(parts)));
    request.on("error", reject);
  });

const duration = (text, otherwise) => {
  const found = /^(\d+)(ms|s|m|h)?$/.exec(text ?? "");
  return found ? Number(found[1]) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[found[2] ?? "s"] : otherwise;
};

const preferred = (request) => {
  const text = request.headers.prefer ?? "";
  const wait = /(?:^|[,;\s])wait=(\d+)/.exec(text);
  return { async: /respond-async/.test(text), wait: wait ? Math.min(Number(wait[1]), 60) * 1000 : null };
};

/** Resolves at the row's next change, after `ms`, or when the client goes away. */
const change = (row, ms, response) =>
  new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      row.watchers.delete(done);
      response?.off("close", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    row.watchers.add(done);
    response?.on("close", done);
  });

const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml" };

const file = async (request, response, path) => {
  const name = normalize(path === "/" ? "/index.html" : path);
  try {
    if (name.split("/").some((part) => part.startsWith("."))) throw new Error("no dot files");
    const bytes = await readFile(join(root, name));
    const headers = { "Content-Type": types[extname(name)] ?? "application/octet-stream", "Content-Security-Policy": "default-src 'self'" };
    send(response, 200, bytes, headers);
  } catch {
    problem(response, 404, "SB0101", "No such page", `Nothing is served at ${path}.`, "Look at / for the page.");
  }
};

const accepted = (response, row) =>
  send(response, 202, describe(row), { Location: `/jobs/${row.job.id}`, "Retry-After": "1", "Preference-Applied": "respond-async" });

const result = (response, row) => {
  if (row.job.state === "succeeded") {
    return send(response, 200, Buffer.from(row.job.result.body), { "Content-Type": row.job.result.content_type });
  }
  if (DONE.has(row.job.state)) {
    return problem(response, 500, "SB0405", "The job did not succeed", row.job.error?.message ?? row.job.state, "Look at its events.");
  }
  return problem(response, 409, "SB0406", "The job is not done", `It is ${row.job.state}.`, "Wait with Prefer: wait=N.");
};

const call = async (request, response) => {
  const body = await read(request);
  if (!body) return problem(response, 413, "SB0205", "Too large", "The body is larger than 1 MiB.", "Send less.");
  const row = submit(shown(body), request.headers["content-type"]);
  const prefer = preferred(request);
  const until = Date.now() + (prefer.async ? (prefer.wait ?? 0) : POLICY.timeout);
  while (!DONE.has(row.job.state) && Date.now() < until && !response.destroyed) await change(row, until - Date.now(), response);
  return DONE.has(row.job.state) || !prefer.async ? result(response, row) : accepted(response, row);
};

const sse = async (request, response, row) => {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  response.flushHeaders();
  let at = Number(request.headers["last-event-id"] ?? 0);
  while (!response.destroyed) {
    for (; at < row.events.length; at++) {
      const event = row.events[at];
      response.write(`id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
    }
    if (DONE.has(row.job.state)) return response.end("event: end\ndata: {}\n\n");
    await change(row, 15_000, response);
    if (at === row.events.length) response.write(": still here\n\n");
  }
};

const events = async (request, response, row, query) => {
  const after = Number(query.get("after") ?? 0);
  const limit = Math.min(Number(query.get("limit") ?? 100), 1000);
  const { wait } = preferred(request);
  if (wait && row.events.length <= after && !DONE.has(row.job.state)) await change(row, wait, response);
  const found = row.events.slice(after, after + limit);
  const headers = wait ? { "Preference-Applied": `wait=${wait / 1000}` } : {};
  send(response, 200, { events: found, next: found.at(-1)?.seq ?? after }, headers);
};

const lease = (response, row, handle) => {
  if (row.handle && row.handle === handle) return true;
  problem(response, 409, "SB0402", "Not your job any more", "The lease is over.", "Stop working on it and take another one.");
  return false;
};

const renewed = (response, row) =>
  send(response, 200, { lease_until: new Date(row.leaseUntil).toISOString(), cancel_requested: row.job.cancel_requested });

const handle = async (request, response) => {
  const url = new URL(request.url, "http://mock");
  const path = decodeURIComponent(url.pathname);
  const verb = `${request.method} ${path}`;
  if (verb === "POST /api/execute" || verb === `POST /${METHOD}`) return call(request, response);
  if (verb === "GET /readyz" || verb === "GET /livez") return send(response, 200, Buffer.from("ok"), { "Content-Type": "text/plain" });
  if (verb === "GET /jobs") {
    const { searchParams: query } = url;
    const jobs = [...store.values()].reverse().map(describe).filter((job) => !query.has("state") || job.state === query.get("state"));
    return send(response, 200, { jobs: jobs.slice(0, Number(query.get("limit") ?? 100)).map(({ result: _, ...job }) => job) });
  }
  if (verb === "POST /jobs/take") {
    const body = JSON.parse((await read(request)).toString());
    const taker = { lease: duration(body.lease, POLICY.lease), worker: body.worker, done: (jobs) => send(response, 200, { jobs }) };
    const leave = () => takers.includes(taker) && takers.splice(takers.indexOf(taker), 1);
    taker.timer = setTimeout(() => (leave(), taker.done([])), duration(body.wait, 30_000));
    response.on("close", () => (clearTimeout(taker.timer), leave()));
    takers.push(taker);
    return handOut();
  }
  const found = /^\/jobs\/([^/]+)(?:\/([a-z]+))?$/.exec(path);
  if (!found) return request.method === "GET" || request.method === "HEAD" ? file(request, response, path) : problem(response, 404, "SB0101", "Nothing here", verb, "");
  const row = store.get(found[1]);
  if (!row) return problem(response, 404, "SB0401", "No such job", `There is no job ${found[1]}, or not any more.`, "Look at GET /jobs for those that are kept.");
  const what = found[2] ?? "";
  if (request.method === "GET") {
    if (what === "" && (request.headers.accept ?? "").includes("text/event-stream")) return sse(request, response, row);
    if (what === "") {
      const etag = () => `"${row.events.length}"`;
      const { wait } = preferred(request);
      const known = request.headers["if-none-match"];
      const until = Date.now() + (wait ?? 0);
      const waitOn = () => !DONE.has(row.job.state) && (known ? known === etag() : true);
      while (wait && waitOn() && Date.now() < until && !response.destroyed) await change(row, until - Date.now(), response);
      if (known === etag()) return response.writeHead(304, { ETag: etag() }).end();
      return send(response, 200, describe(row), { ETag: etag() });
    }
    if (what === "events") return events(request, response, row, url.searchParams);
    if (what === "input") return send(response, 200, bytesOf(row.input), { "Content-Type": row.type ?? "application/octet-stream" });
    if (what === "result") return result(response, row);
  }
  if (request.method === "DELETE" && what === "") {
    if (row.job.state === "queued") setState(row, "cancelled");
    if (DONE.has(row.job.state)) return send(response, 200, describe(row));
    row.job.cancel_requested = true;
    for (const watcher of [...row.watchers]) watcher();
    return send(response, 202, describe(row));
  }
  const body = await read(request);
  if (!body) return problem(response, 413, "SB0205", "Too large", "The body is larger than 1 MiB.", "Send less.");
  if (request.method === "POST" && what === "rerun") {
    const again = submit(body.length ? shown(body) : row.input, row.type, row.job.id);
    return send(response, 201, describe(again), { Location: `/jobs/${again.job.id}` });
  }
  if (request.method === "POST" && ["extend", "log", "progress", "complete", "fail"].includes(what)) {
    if (!lease(response, row, request.headers["sb-lease"])) return;
    row.leaseUntil = Date.now() + row.lease;
    if (what === "extend") return renewed(response, row);
    if (what === "log") {
      if (body.length > 65_536) return problem(response, 413, "SB0205", "Too large", "More than 64 KiB of log at once.", "Send it in parts.");
      addEvent(row, "log", { text: body.toString(), stream: url.searchParams.get("stream") ?? "stdout" });
      return renewed(response, row);
    }
    if (what === "progress") {
      row.job.progress = JSON.parse(body.toString());
      addEvent(row, "progress", { progress: row.job.progress });
      return renewed(response, row);
    }
    if (what === "complete") {
      row.job.result = { content_type: request.headers["content-type"], body: body.toString() };
      addEvent(row, "result", row.job.result);
      setState(row, "succeeded");
      return send(response, 200, describe(row));
    }
    const { delay, ...error } = JSON.parse(body.toString());
    tryAgain(row, error, duration(delay, POLICY.backoff));
    return send(response, 200, describe(row));
  }
  problem(response, 405, "SB0102", "Not here", `${verb} is not known.`, "");
};

const server = createServer((request, response) => {
  handle(request, response).catch((error) => problem(response, 400, "SB0201", "Bad request", String(error.message), "Look at docs/http.md."));
});

// ---- WebSocket: one text frame for each EVENT, then close 1000 --------------------------------------------------------------

const frame = (opcode, payload) => {
  const head = payload.length < 126 ? Buffer.from([0x80 | opcode, payload.length]) : payload.length < 65_536 ? Buffer.alloc(4) : Buffer.alloc(10);
  if (payload.length >= 126) {
    head[0] = 0x80 | opcode;
    head[1] = payload.length < 65_536 ? 126 : 127;
    if (payload.length < 65_536) head.writeUInt16BE(payload.length, 2);
    else head.writeBigUInt64BE(BigInt(payload.length), 2);
  }
  return Buffer.concat([head, payload]);
};

server.on("upgrade", async (request, socket) => {
  socket.on("error", () => socket.destroy());
  const row = store.get(/^\/jobs\/([^/?]+)/.exec(request.url)?.[1]);
  const key = request.headers["sec-websocket-key"];
  if (!row || !key) return socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on("data", (bytes) => (bytes[0] & 15) === 8 && socket.end(frame(8, Buffer.from([3, 232]))));
  let at = 0;
  while (!socket.destroyed && socket.writable) {
    for (; at < row.events.length; at++) socket.write(frame(1, Buffer.from(JSON.stringify(row.events[at]))));
    if (DONE.has(row.job.state)) return socket.end(frame(8, Buffer.from([3, 232])));
    await change(row, 15_000, socket);
  }
});

server.listen(port, "127.0.0.1", () => console.log(`mock on http://127.0.0.1:${server.address().port}`));
