// A small stand-in for the server, for the console's tests: docs/http.md as far as the console and its tests use it.
// Everything is in memory. `node test/mock.mjs [PORT]` fills it with something to look at and keeps it moving.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";

const DIST = new URL("../dist/", import.meta.url);
const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml", txt: "text/plain; charset=utf-8" };

class Refusal extends Error {
  constructor(status, code, title, detail, fix) {
    super(title);
    this.status = status;
    this.body = { type: `/docs/errors#${code}`, title, status, detail, code, fix, trace: "0af7651916cd43dd8448eb211c80319c" };
  }
}

/** Starts the mock. With `key`, everything but the console's files wants it. */
export async function start({ port = 0, key = null } = {}) {
  const began = Date.now();
  const topics = new Map();
  const methods = new Map();
  const jobs = new Map();
  const order = [];
  const tokens = new Set();
  const open = new Set();
  let messagesIn = 0;
  let messagesOut = 0;

  const now = () => new Date().toISOString();

  function topic(name, policy = {}) {
    let t = topics.get(name);
    if (!t) {
      const partitions = policy.partitions ?? 1;
      t = { name, policy: { partitions, keep_until_consumed: false, max_message: 1048576, memory: false, claims: [], ...policy }, log: Array.from({ length: partitions }, () => []), groups: new Map(), tails: new Set(), created: now() };
      topics.set(name, t);
    }
    return t;
  }

  function publish(name, m) {
    const t = topic(name);
    const partition = m.key ? [...m.key].reduce((h, c) => (h * 31 + c.codePointAt(0)) >>> 0, 7) % t.log.length : 0;
    const offset = t.log[partition].length;
    const kept = { id: Buffer.from(`${name}/${partition}/${offset}`).toString("base64url"), topic: name, partition, offset, at: m.at ?? now(), ...m };
    t.log[partition].push(kept);
    messagesIn++;
    for (const tail of t.tails) tail(kept);
    return { id: kept.id, topic: name, partition, offset, at: kept.at };
  }

  const size = (m) => (m.encoding === "base64" ? Buffer.from(m.body, "base64") : Buffer.from(m.body ?? "")).length;

  const describe = (t) => ({
    ...t.policy,
    name: t.name,
    partition: t.log.map((l, i) => ({ partition: i, start: 0, end: l.length, bytes: l.reduce((s, m) => s + size(m), 0) })),
    messages: t.log.reduce((s, l) => s + l.length, 0),
    groups: t.groups.size,
    created: t.created,
  });

  const groupOf = (t, g) => {
    const total = t.log.reduce((s, l) => s + l.length, 0);
    const ready = Math.max(0, total - g.floor - g.leased - g.delayed);
    return { mode: "queue", start: "start", lease: "30s", attempts: 5, dead_letter: g.dead_letter ?? null, backoff: "1s", order: "none", topic: t.name, name: g.name, ready, leased: g.leased, delayed: g.delayed, acked: g.floor, dead: g.dead, expired: 0, depth: ready + g.leased + g.delayed, position: t.log.map((l, i) => ({ partition: i, floor: Math.min(g.floor, l.length), end: l.length })) };
  };

  const find = (name) => {
    const t = topics.get(name);
    if (!t) throw new Refusal(404, "SB0301", "No such topic", `There is no topic named “${name}”.`, "Publish to it, or create it with PUT /topics/{name}.");
    return t;
  };

  // Jobs
  function event(j, e) {
    const full = { seq: j.events.length + 1, at: now(), attempt: j.job.attempts, ...e };
    j.events.push(full);
    j.job.events = j.events.length;
    for (const w of j.watchers) w(full);
  }
  function change(j, state, more = {}) {
    j.job.state = state;
    if (["succeeded", "failed", "cancelled", "expired"].includes(state)) j.job.finished = now();
    event(j, { type: "state", state, ...more });
  }
  function finish(j) {
    for (const w of j.watchers) w(null);
    j.watchers.clear();
  }
  function submit(method, input, type, rerunOf) {
    const id = randomUUID().replaceAll("-", "");
    const at = now();
    const job = { id, method, state: "queued", attempts: 0, created: at, deadline: new Date(Date.now() + 600000).toISOString(), cancel_requested: false, events: 0, ...(rerunOf && { rerun_of: rerunOf }) };
    const j = { job, input, type, events: [], watchers: new Set(), lease: null };
    jobs.set(id, j);
    order.unshift(id);
    event(j, { type: "state", state: "queued", attempt: undefined });
    return j;
  }
  function takeJob(wanted, worker) {
    for (const id of [...order].reverse()) {
      const j = jobs.get(id);
      if (j.job.state !== "queued" || !wanted.includes(j.job.method) || (j.after ?? 0) > Date.now()) continue;
      j.job.attempts++;
      j.job.started ??= now();
      j.job.worker = worker;
      j.lease = randomUUID();
      change(j, "running", { worker });
      return { id, method: j.job.method, attempt: j.job.attempts, lease: j.lease, lease_until: new Date(Date.now() + 30000).toISOString(), headers: {}, content_type: j.type, body: j.input.toString() };
    }
    return null;
  }
  const findJob = (id) => {
    const j = jobs.get(id);
    if (!j) throw new Refusal(404, "SB0304", "No such job", `There is no job ${id}; it may have been forgotten after its time.`, "List the jobs with GET /jobs.");
    return j;
  };

  async function handle(req, res) {
    const url = new URL(req.url, "http://mock");
    const path = url.pathname.split("/").slice(1).map(decodeURIComponent);
    const q = url.searchParams;
    const chunks = [];
    for await (const c of req) chunks.push(c);
    const raw = Buffer.concat(chunks);
    const json = () => JSON.parse(raw.toString() || "{}");
    const say = (status, body, headers = {}) => {
      res.writeHead(status, { "Content-Type": "application/json", ...headers });
      res.end(body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body));
    };
    const limit = Math.min(1000, Number(q.get("limit") ?? 100));
    const sse = req.headers.accept?.includes("text/event-stream");
    const startSse = () => {
      res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      res.write(":\n\n");
      open.add(res);
      res.on("close", () => open.delete(res));
    };

    if (path[0] === "console") {
      const name = path[1] || "index.html";
      const type = TYPES[name.split(".").at(-1)];
      if (!/^[a-z.]+$/.test(name) || !type) return say(404, {});
      const file = await readFile(new URL(name, DIST)).catch(() => null);
      if (!file) return say(404, {});
      res.writeHead(200, { "Content-Type": type, "Content-Security-Policy": "default-src 'self'", "X-Content-Type-Options": "nosniff" });
      return res.end(file);
    }

    if (key) {
      const given = req.headers.authorization?.replace(/^Bearer /, "");
      if (given !== key && !tokens.has(q.get("token"))) throw new Refusal(401, "SB0103", "Who are you?", given ? "The key is not known." : "The request has no credentials.", "Send “Authorization: Bearer KEY” with a key of [auth] keys.");
    }

    const [first, a, b, c, d] = path;
    const m = req.method;

    if (first === "status") {
      const states = {};
      for (const s of ["queued", "running", "succeeded", "failed", "cancelled"]) states[s] = 0;
      for (const j of jobs.values()) states[j.job.state] = (states[j.job.state] ?? 0) + 1;
      return say(200, { version: "0.1.0", uptime: Math.floor((Date.now() - began) / 1000), node: "a1", mode: "development", connections: 3 + open.size, topics: topics.size, groups: [...topics.values()].reduce((s, t) => s + t.groups.size, 0), jobs: states, messages_in: messagesIn, messages_out: messagesOut, journal_bytes: 268435456, memory: { used: 73400320, budget: 536870912 }, listeners: ["http://127.0.0.1:7070", "amqp://127.0.0.1:5672", "mqtt://127.0.0.1:1883"] });
    }
    if (first === "tokens" && m === "POST") {
      const token = randomUUID();
      tokens.add(token);
      return say(201, { token, expires: new Date(Date.now() + 600000).toISOString() });
    }
    if (first === "publish" && m === "POST") {
      return say(201, { messages: json().messages.map(({ address, ...rest }) => publish(address, rest)) });
    }
    if (first === "topics" && !a && m === "GET") {
      const names = [...topics.keys()].sort().filter((n) => n.startsWith(q.get("prefix") ?? "") && n > (q.get("after") ?? ""));
      return say(200, { topics: names.slice(0, limit).map((n) => describe(topics.get(n))), ...(names.length > limit && { next: names[limit - 1] }) });
    }
    if (first === "topics" && b === undefined) {
      if (m === "PUT") return say(201, describe(topic(a, json())));
      if (m === "DELETE") {
        find(a);
        topics.delete(a);
        return say(204);
      }
      if (m === "POST") {
        const headers = Object.fromEntries(Object.entries(req.headers).filter(([k]) => k.startsWith("sb-header-")).map(([k, v]) => [k.slice(10), v]));
        const text = raw.toString("utf8");
        const utf8 = Buffer.from(text).equals(raw);
        const r = publish(a, { ...(req.headers["sb-key"] && { key: req.headers["sb-key"] }), ...(Object.keys(headers).length && { headers }), ...(req.headers["content-type"] && { content_type: req.headers["content-type"] }), ...(utf8 ? { body: text } : { body: raw.toString("base64"), encoding: "base64" }) });
        return say(201, r, { Location: `/topics/${a}/messages/${r.partition}-${r.offset}` });
      }
      if (m === "GET" && sse) {
        // What does not exist can be waited for, but has no history.
        const t = q.get("from") === "end" || q.get("after") ? topic(a) : find(a);
        const all = () => t.log.flat().filter((x) => q.get("partition") === null || x.partition === Number(q.get("partition"))).sort((x, y) => (x.at < y.at ? -1 : 1));
        const last = req.headers["last-event-id"] ?? q.get("after");
        const from = q.get("from");
        let list = [];
        if (last) {
          const at = all().findIndex((x) => x.id === last);
          list = all().slice(at + 1);
        } else if (q.get("last")) list = all().slice(-Number(q.get("last")));
        else if (from === "start") list = all();
        else if (from?.startsWith("time:")) list = all().filter((x) => x.at >= from.slice(5));
        startSse();
        const send = (x) => {
          messagesOut++;
          res.write(`event: envelope\nid: ${x.id}\ndata: ${JSON.stringify(x)}\n\n`);
        };
        list.forEach(send);
        const live = (x) => (q.get("partition") === null || x.partition === Number(q.get("partition"))) && send(x);
        t.tails.add(live);
        res.on("close", () => t.tails.delete(live));
        return;
      }
      if (m === "GET") {
        const list = find(a).log.flat();
        const rest = list.slice(list.findIndex((x) => x.id === q.get("after")) + 1, undefined).slice(0, limit);
        return say(200, { messages: rest, next: rest.at(-1)?.id ?? q.get("after") ?? "" });
      }
    }
    if (first === "topics" && b === "info") return say(200, describe(find(a)));
    if (first === "topics" && b === "messages") {
      const [p, o] = c.split("-").map(Number);
      const x = find(a).log[p]?.[o];
      if (!x) throw new Refusal(410, "SB0305", "Position gone", `Message ${c} is not kept.`, "Read from the first one kept: 0-0.");
      res.writeHead(200, { ...(x.content_type && { "Content-Type": x.content_type }), "Sb-Id": x.id, "Sb-At": x.at, ...(x.key && { "Sb-Key": x.key }), ...Object.fromEntries(Object.entries(x.headers ?? {}).map(([k, v]) => [`Sb-Header-${k}`, String(v)])) });
      return res.end(x.encoding === "base64" ? Buffer.from(x.body, "base64") : x.body);
    }
    if (first === "topics" && b === "groups") {
      if (m === "PUT") {
        const t = topic(a);
        t.groups.set(c, { name: c, floor: 0, leased: 0, delayed: 0, dead: 0 });
        return say(201, groupOf(t, t.groups.get(c)));
      }
      const t = find(a);
      const g = t.groups.get(c);
      if (!g) throw new Refusal(404, "SB0302", "No such group", `The topic “${a}” has no group “${c}”.`, "Create it with PUT.");
      if (m === "DELETE") {
        t.groups.delete(c);
        return say(204);
      }
      if (d === "peek") return say(200, { messages: t.log.flat().slice(g.floor, g.floor + limit) });
      if (d === "seek") {
        const total = t.log.flat().length;
        const { to, dry_run } = json();
        const target = to === "start" ? 0 : to === "end" ? total : to.startsWith("offset:") ? Number(to.slice(7)) : 0;
        const answer = { skipped: Math.max(0, target - g.floor), again: Math.max(0, g.floor - target) };
        if (!dry_run) Object.assign(g, { floor: target, leased: 0, delayed: 0 });
        return say(200, answer);
      }
      return say(200, groupOf(t, g));
    }
    if (first === "groups") {
      const all = [...topics.values()].flatMap((t) => [...t.groups.values()].map((g) => groupOf(t, g))).filter((g) => (!q.get("topic") || g.topic === q.get("topic")) && `${g.topic}/${g.name}` > (q.get("after") ?? "")).sort((x, y) => (`${x.topic}/${x.name}` < `${y.topic}/${y.name}` ? -1 : 1));
      return say(200, { groups: all.slice(0, limit), ...(all.length > limit && { next: `${all[limit - 1].topic}/${all[limit - 1].name}` }) });
    }
    if (first === "methods") {
      if (m === "PUT") {
        methods.set(`${a}/${b}`, json());
        return say(201, { name: `${a}/${b}`, ...json() });
      }
      return say(200, { methods: [...methods].map(([name, x]) => ({ name, ...x })) });
    }
    if (first === "jobs" && !a) {
      let ids = order;
      if (q.get("after")) ids = ids.slice(ids.indexOf(q.get("after")) + 1);
      const list = ids.map((id) => jobs.get(id).job).filter((j) => (!q.get("state") || j.state === q.get("state")) && (!q.get("method") || j.method === q.get("method")));
      return say(200, { jobs: list.slice(0, limit).map(({ result, ...rest }) => rest), ...(list.length > limit && { next: list[limit - 1].id }) });
    }
    if (first === "jobs" && a === "take") {
      const { methods: wanted, worker } = json();
      const taken = takeJob(wanted, worker ?? "worker");
      return say(200, { jobs: taken ? [taken] : [] });
    }
    if (first === "jobs") {
      const j = findJob(a);
      const leased = () => {
        if (req.headers["sb-lease"] !== j.lease) throw new Refusal(409, "SB0402", "The lease is over", "Another worker may have the job.", "Stop working on it.");
      };
      if (!b && m === "GET" && sse) {
        startSse();
        const since = Number(req.headers["last-event-id"] ?? 0);
        const send = (e) => {
          if (e === null) return res.end("event: end\ndata: {}\n\n");
          res.write(`event: ${e.type}\nid: ${e.seq}\ndata: ${JSON.stringify(e)}\n\n`);
        };
        j.events.filter((e) => e.seq > since).forEach(send);
        if (j.job.finished) return send(null);
        j.watchers.add(send);
        res.on("close", () => j.watchers.delete(send));
        return;
      }
      if (!b && m === "GET") return say(200, j.job);
      if (!b && m === "DELETE") {
        j.job.cancel_requested = true;
        if (j.job.state === "queued") {
          change(j, "cancelled", { reason: "asked" });
          finish(j);
          return say(200, j.job);
        }
        return say(202, j.job);
      }
      if (b === "input") {
        res.writeHead(200, j.type ? { "Content-Type": j.type } : {});
        return res.end(j.input);
      }
      if (b === "rerun") {
        const made = submit(j.job.method, raw.length ? raw : j.input, req.headers["content-type"] ?? j.type, j.job.id);
        return say(201, made.job, { Location: `/jobs/${made.job.id}` });
      }
      if (b === "events") return say(200, { events: j.events.filter((e) => e.seq > Number(q.get("after") ?? 0)).slice(0, limit), next: j.events.length });
      leased();
      const answer = { lease_until: now(), cancel_requested: j.job.cancel_requested };
      if (b === "log") {
        event(j, { type: "log", text: raw.toString(), stream: q.get("stream") ?? "stdout" });
        return say(200, answer);
      }
      if (b === "progress") {
        j.job.progress = json();
        event(j, { type: "progress", progress: j.job.progress });
        return say(200, answer);
      }
      if (b === "complete") {
        j.job.result = { content_type: req.headers["content-type"], body: raw.toString() };
        event(j, { type: "result", ...j.job.result });
        change(j, "succeeded");
        finish(j);
        return say(200, j.job);
      }
      if (b === "fail") {
        const { delay, ...error } = json();
        event(j, { type: "error", error });
        if (error.retryable && j.job.attempts < 3) {
          j.after = Date.now() + (Number.parseInt(delay ?? "0", 10) || 0) * 1000;
          change(j, "queued", { reason: "retry" });
        } else {
          j.job.error = error;
          change(j, "failed");
          finish(j);
        }
        return say(200, j.job);
      }
    }
    if (m === "POST" && a && methods.has(`${first}/${a}`)) {
      const j = submit(`${first}/${a}`, raw, req.headers["content-type"]);
      return say(202, j.job, { Location: `/jobs/${j.job.id}`, "Retry-After": "1" });
    }
    throw new Refusal(404, "SB0303", "No such method", `Nothing answers to ${m} ${url.pathname}.`, "See GET /methods.");
  }

  const server = createServer((req, res) => {
    handle(req, res).catch((e) => {
      if (res.headersSent) return res.destroy();
      const refusal = e instanceof Refusal ? e : new Refusal(500, "SB0901", "The mock failed", String(e.stack ?? e), "Mend test/mock.mjs.");
      res.writeHead(refusal.status, { "Content-Type": "application/problem+json" });
      res.end(JSON.stringify(refusal.body));
    });
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    port: server.address().port,
    topic,
    publish,
    submit,
    async stop() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const mock = await start({ port: Number(process.argv[2] ?? 7171), key: process.env.MOCK_KEY ?? null });
  const { fill } = await import("./fill.mjs");
  await fill(mock.url, process.env.MOCK_KEY);
  console.log(`${mock.url}/console/`);
}
