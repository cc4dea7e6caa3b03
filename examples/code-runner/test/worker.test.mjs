// The worker against a server: what it runs, what it refuses, and what happens when something dies.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { finish, getEvents, getJob, isDone, sleep, startServer, startWorker, submit, until } from "./start.mjs";

let server, worker;
const run = async (code, ms) => finish(server.url, await submit(server.url, code), ms);
const alive = (mark) => {
  try {
    return execFileSync("pgrep", ["-f", mark]).toString().trim() !== "";
  } catch {
    return false;
  }
};

before(async () => {
  server = await startServer();
  worker = await startWorker(server.url, "first", "--cpu", "1", "--memory", "256", "--wall", "10", "--lease", "2s");
});
after(async () => {
  await worker?.end();
  await server?.end();
});

test("runs a program and gives both outputs, the exit code and the time", async () => {
  const { job, stdout, stderr, result } = await run(`import sys\nprint("größe ✓")\nprint("oops", file=sys.stderr)\nsys.exit(3)`);
  assert.equal(job.state, "succeeded");
  assert.equal(stdout, "größe ✓\n");
  assert.equal(stderr, "oops\n");
  assert.equal(result.exit_code, 3);
  assert.equal(result.signal, null);
  assert.equal(result.truncated, false);
  assert.ok(result.duration_ms > 0);
});

test("an exception is the program's result, not a failed job", async () => {
  const { job, stderr, result } = await run("1 / 0");
  assert.equal(job.state, "succeeded");
  assert.match(stderr, /File ".*main\.py", line 1[\s\S]*ZeroDivisionError/);
  assert.equal(result.exit_code, 1);
});

test("output arrives while the program runs, in order, at most every 100 ms", async () => {
  const { logs, stdout } = await run(`import time\nfor i in range(60):\n    print(i)\n    time.sleep(0.02)`);
  assert.equal(stdout, Array.from({ length: 60 }, (_, i) => `${i}\n`).join(""));
  assert.ok(logs.length >= 6 && logs.length <= 20, `${logs.length} log events`);
  const gaps = logs.slice(1, -1).map((event, i) => Date.parse(event.at) - Date.parse(logs[i].at));
  assert.ok(Math.min(...gaps) >= 80, `gaps ${gaps}`);
});

test("characters split between two reads stay whole", async () => {
  const { stdout } = await run(`import sys, time\nfor b in "é✓🙂".encode():\n    sys.stdout.buffer.write(bytes([b])); sys.stdout.flush(); time.sleep(0.15)`);
  assert.equal(stdout, "é✓🙂");
});

test("output past 256 KiB is cut and said to be", async () => {
  const { stdout, stderr, result, logs } = await run(`print("x" * 2_000_000)\nprint("end")`);
  assert.equal(stdout.length, 256 * 1024);
  assert.match(stderr, /output cut after 256 KiB/);
  assert.equal(result.truncated, true);
  assert.equal(result.exit_code, 0);
  assert.ok(logs.every((event) => Buffer.byteLength(event.text) <= 65_536));
});

test("limits: processor time, memory, file size, wall time", async () => {
  const cpu = await run("while True: pass");
  assert.equal(cpu.result.signal, "SIGXCPU");
  assert.match(cpu.stderr, /more than 1 s of processor time/);
  const memory = await run("x = bytearray(10**9)");
  assert.equal(memory.result.exit_code, 1);
  assert.match(memory.stderr, /MemoryError/);
  const file = await run(`open("big", "wb").write(b"x" * (17 << 20))`);
  assert.ok(file.result.exit_code === 1 || file.result.signal === "SIGXFSZ");
  const wall = await run("import time\ntime.sleep(60)");
  assert.equal(wall.result.signal, "SIGKILL");
  assert.match(wall.stderr, /still running after 10 s/);
  assert.ok(wall.result.duration_ms < 13_000);
});

test("nothing comes from the worker's surroundings, and nothing is left behind", async () => {
  const { stdout } = await run(`import os, sys\nprint(sorted(os.environ)); print(os.getcwd()); print(sys.stdin.read() == "")`);
  const [names, folder, empty] = stdout.trim().split("\n");
  assert.equal(names, "['HOME', 'LANG', 'PATH', 'TMPDIR']");
  assert.match(folder, /code-runner-/);
  assert.equal(empty, "True");
  await assert.rejects(async () => execFileSync("ls", [folder], { stdio: "ignore" }));
});

test("what the program leaves running is ended with it", async () => {
  const { job } = await run(`import subprocess\nsubprocess.Popen(["sleep", "6543.21"])\nprint("gone")`);
  assert.equal(job.state, "succeeded");
  assert.ok(!alive("sleep 6543.21"));
});

test("code that is not text fails for good, at the first attempt", async () => {
  const { job } = await run(Buffer.from([0x70, 0xff, 0xfe]));
  assert.equal(job.state, "failed");
  assert.equal(job.attempts, 1);
  assert.equal(job.error.code, "INPUT");
});

test("a cancelled job ends within seconds", async () => {
  const id = await submit(server.url, `import time\nprint("go")\ntime.sleep(7654.32)`);
  await until("output", async () => (await getEvents(server.url, id)).some((event) => event.type === "log"));
  await fetch(`${server.url}/jobs/${id}`, { method: "DELETE" });
  const { job } = await finish(server.url, id, 4000);
  assert.equal(job.state, "cancelled");
});

test("the server dies and comes back: the job goes on, no line is lost", async () => {
  const id = await submit(server.url, `import time\nfor i in range(30):\n    print(i)\n    time.sleep(0.1)`);
  await until("output", async () => (await getEvents(server.url, id)).length > 5);
  await server.kill();
  await sleep(1200);
  await server.again();
  const { job, stdout } = await finish(server.url, id);
  assert.equal(job.state, "succeeded");
  assert.equal(job.attempts, 1);
  // A log that was kept but not answered may arrive twice; none may be missing.
  for (let i = 0; i < 30; i++) assert.match(stdout, new RegExp(`(^|\n)${i}\n`));
});

test("a killed worker takes its program with it, and another worker runs the job again", async () => {
  const id = await submit(server.url, `import time\nprint("begin")\ntime.sleep(3.2109)\nprint("end")`);
  await until("output", async () => (await getEvents(server.url, id)).some((event) => event.type === "log"));
  const pids = execFileSync("pgrep", ["-P", String(worker.child.pid)]).toString().trim().split("\n");
  await worker.end("SIGKILL");
  await until("the program to end", () => pids.every((pid) => !alive(`^${pid}$`) && !exists(pid)), 2000);
  worker = await startWorker(server.url, "second", "--lease", "2s");
  const { job, stdout } = await finish(server.url, id);
  assert.equal(job.state, "succeeded");
  assert.equal(job.attempts, 2);
  assert.equal(job.worker, "second");
  assert.equal(stdout, "begin\nbegin\nend\n");
});

const exists = (pid) => {
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch {
    return false;
  }
};

test("a worker that lost its lease drops the job", async () => {
  const other = await startServer();
  const one = await startWorker(other.url, "one", "--lease", "2s");
  const id = await submit(other.url, `import time\nfor i in range(100):\n    print(i)\n    time.sleep(0.1)`);
  await until("output", async () => (await getEvents(other.url, id)).some((event) => event.type === "log"));
  one.child.kill("SIGSTOP");
  await until("the lease to end", async () => (await getJob(other.url, id)).state === "queued", 5000);
  one.child.kill("SIGCONT");
  await until("the worker to notice", () => one.log.includes("dropped, the lease is over"), 5000);
  await fetch(`${other.url}/jobs/${id}`, { method: "DELETE" });
  await one.end();
  await other.end();
});

test("SIGTERM: idle, it ends at once; busy, it finishes; too long, it gives the job back", async () => {
  const idle = await startWorker(server.url, "idle");
  await sleep(300);
  let began = Date.now();
  assert.equal(await idle.end("SIGTERM"), 0);
  assert.ok(Date.now() - began < 3000, `${Date.now() - began} ms`);

  await worker.end("SIGTERM");
  const busy = await startWorker(server.url, "busy");
  const short = await submit(server.url, `import time\nprint("a")\ntime.sleep(1.5)\nprint("b")`);
  await until("start", async () => (await getJob(server.url, short)).state === "running");
  assert.equal(await busy.end("SIGTERM"), 0);
  assert.equal((await getJob(server.url, short)).state, "succeeded");

  const hasty = await startWorker(server.url, "hasty", "--grace", "1s");
  const long = await submit(server.url, `import time\nprint("a")\ntime.sleep(4)\nprint("b")`);
  await until("start", async () => (await getJob(server.url, long)).state === "running");
  began = Date.now();
  assert.equal(await hasty.end("SIGTERM"), 0);
  assert.ok(Date.now() - began < 4000);
  assert.equal((await getJob(server.url, long)).state, "queued");
  worker = await startWorker(server.url, "third");
  const { job } = await finish(server.url, long);
  assert.equal(job.state, "succeeded");
  assert.equal(job.attempts, 2);
  assert.ok(isDone(job));
});

test("SIGTERM while the server is away: it still ends", async () => {
  const lonely = await startWorker(server.url, "lonely", "--grace", "1s");
  await sleep(200);
  await server.kill();
  await sleep(500);
  const began = Date.now();
  assert.equal(await lonely.end("SIGTERM"), 0);
  assert.ok(Date.now() - began < 4000);
  await server.again();
  const { result } = await run("print(1)");
  assert.equal(result.exit_code, 0);
});
