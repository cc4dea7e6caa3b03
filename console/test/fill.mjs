// Puts things worth looking at into a server, over HTTP like any client: topics, groups, and a few jobs with a worker.
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export function client(base, key) {
  const call = async (method, path, body, headers = {}) => {
    const response = await fetch(`${base}/${path}`, { method, headers: { ...(key && { Authorization: `Bearer ${key}` }), ...headers }, body });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    const text = await response.text();
    return text && response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text;
  };
  const json = (method, path, body) => call(method, path, JSON.stringify(body), { "Content-Type": "application/json" });
  return { call, json };
}

/** Submits a job and works it as a worker would; `steps` gets what to do with the lease. Returns the job's id. */
export async function work(base, method, input, steps, key) {
  const { call, json } = client(base, key);
  await json("PUT", `methods/${method}`, {});
  const job = await call("POST", method, JSON.stringify(input), { "Content-Type": "application/json", Prefer: "respond-async" });
  const act = async (taken) => ({
    log: (text, stream = "stdout") => call("POST", `jobs/${job.id}/log?stream=${stream}`, text, { "Sb-Lease": taken.lease, "Content-Type": "text/plain" }),
    progress: (p) => call("POST", `jobs/${job.id}/progress`, JSON.stringify(p), { "Sb-Lease": taken.lease, "Content-Type": "application/json" }),
    complete: (body, type = "application/json") => call("POST", `jobs/${job.id}/complete`, body, { "Sb-Lease": taken.lease, "Content-Type": type }),
    fail: (e) => call("POST", `jobs/${job.id}/fail`, JSON.stringify(e), { "Sb-Lease": taken.lease, "Content-Type": "application/json" }),
  });
  const take = async () => {
    for (let tries = 0; tries < 100; tries++) {
      const r = await json("POST", "jobs/take", { methods: [method], max: 1, wait: "1s", worker: "worker-1" });
      const taken = r.jobs.find((j) => j.id === job.id);
      if (taken) return act(taken);
      await sleep(50);
    }
    throw new Error(`no worker got ${job.id}`);
  };
  await steps(take, job.id);
  return job.id;
}

export async function fill(base, key) {
  const { call, json } = client(base, key);
  await json("PUT", "topics/orders", { partitions: 3, keep_age: "7d", keep_bytes: 1073741824, claims: ["orders.>"] });
  await json("PUT", "topics/orders/groups/billing", {});
  await json("PUT", "topics/orders/groups/warehouse", {});
  for (const t of ["audit", "mail.out", "metrics.raw", "payments.settled", "sensors.hall-2", "users.changed"]) await call("POST", `topics/${t}`, '{"hello":"world"}', { "Content-Type": "application/json" });
  const states = ["created", "paid", "packed", "shipped"];
  for (let i = 0; i < 60; i++) {
    await call("POST", "topics/orders", JSON.stringify({ id: `84213377120034${5600 + i}`, state: states[i % 4], total: (i * 7.35).toFixed(2), currency: "EUR", note: i % 9 === 0 ? "leave at the door, ring twice" : undefined }), { "Content-Type": "application/json", "Sb-Key": `customer-${i % 7}`, "Sb-Header-region": "eu", "Sb-Header-source": "shop" });
  }
  await call("POST", "topics/orders", Buffer.from([0xff, 0xd8, 0xff, 0xe0, 0, 16, 0x4a, 0x46, 0x49, 0x46, 0, 1]), { "Content-Type": "image/jpeg" });
  await call("POST", "topics/orders", '{"id":9007199254740993,"state":"created","lines":[{"sku":"A-1","n":2},{"sku":"B-7","n":1}]}', { "Content-Type": "application/json", "Sb-Key": "customer-1" });

  const run = "code.v1.Runner/Run";
  const ids = {};
  ids.failed = await work(base, run, { language: "python", source: "print(1/0)" }, async (take) => {
    const w = await take();
    await w.log("Traceback (most recent call last):\n", "stderr");
    await w.log("ZeroDivisionError: division by zero\n", "stderr");
    await w.fail({ code: "exit_1", message: "the program ended with status 1", retryable: false });
  }, key);
  ids.done = await work(base, run, { language: "python", source: "print(sum(range(10)))" }, async (take) => {
    await sleep(350);
    let w = await take();
    await w.log("starting sandbox\n");
    await sleep(500);
    await w.fail({ code: "sandbox_lost", message: "the sandbox went away", retryable: true });
    await sleep(300);
    w = await take();
    await w.log("starting sandbox\n");
    await w.progress({ done: 1, total: 2 });
    await sleep(700);
    await w.log("45\n");
    await w.log("warning: no input was read\n", "stderr");
    await w.progress({ done: 2, total: 2 });
    await w.complete('{"exit":0,"stdout":"45\\n","took_ms":1201}');
  }, key);
  ids.queued = await work(base, "media.v1.Resize/Run", { width: 320 }, async () => {}, key);
  ids.running = await work(base, run, { language: "rust", source: "fn main() {}" }, async (take) => {
    const w = await take();
    await w.log("compiling\n");
    await w.progress({ percent: 40 });
  }, key);
  return ids;
}
