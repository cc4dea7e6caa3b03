// The page in a real browser.
//
//   SWITCHBOARD_URL   a running server with this example's configuration and a worker; without it one is started (SWITCHBOARD_BIN),
//                     and then also the tests that kill the server and the worker run
//   CHROMIUM          the browser (/usr/bin/chromium)
//   SCREENSHOTS       a folder for pictures

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { finish, getEvents, getJob, sleep, startServer, startWorker, submit, until } from "./start.mjs";

const given = process.env.SWITCHBOARD_URL?.replace(/\/$/, "");
const pictures = process.env.SCREENSHOTS;
const flags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const WAYS = ["websocket", "sse", "long", "short"];
const TEN = `import time\nfor i in range(1, 11):\n    print("line", i)\n    time.sleep(1)\n`;

let browser, server, worker, url;
before(async () => {
  if (pictures) mkdirSync(pictures, { recursive: true });
  if (!given) {
    server = await startServer();
    worker = await startWorker(server.url, "first", "--concurrency", "4", "--lease", "2s");
  }
  url = given ?? server.url;
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
});
after(async () => {
  await browser?.close();
  await worker?.end();
  await server?.end();
});

/** A page of its own that must not ask anybody else for anything, nor complain. */
const open = async (t, { way = "websocket", hash = "", noise = false, ...options } = {}) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 1000 }, ...options });
  await context.addInitScript((name) => localStorage.getItem("way") ?? localStorage.setItem("way", name), way);
  const page = await context.newPage();
  const foreign = [];
  const complaints = [];
  page.on("request", (request) => new URL(request.url()).origin === new URL(url).origin || foreign.push(request.url()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  t.after(async () => {
    await context.close();
    assert.deepEqual(foreign, []);
    if (!noise) assert.deepEqual(complaints, []);
  });
  await page.goto(`${url}/${hash}`);
  await page.waitForFunction(() => document.querySelector("#about").textContent !== "");
  return page;
};

const picture = async (page, name) => pictures && page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
const lines = (page) => page.locator("#output .stdout .text").allTextContents();
const state = (page) => page.locator("#state").textContent();
const waitState = (page, wanted, ms = 20_000) =>
  page.waitForFunction((text) => document.querySelector("#state").textContent === text, wanted, { timeout: ms });
const idOf = (page) => new URLSearchParams(new URL(page.url()).hash.slice(1)).get("job");

for (const way of WAYS) {
  test(`${way}: lines appear one by one, then the result`, async (t) => {
    const page = await open(t, { way });
    await page.evaluate(() => {
      window.seen = [];
      new MutationObserver((changes) => {
        for (const change of changes)
          for (const node of change.addedNodes)
            if (node.classList?.contains("stdout")) window.seen.push([performance.now(), node.lastChild.textContent]);
      }).observe(document.querySelector("#output"), { childList: true });
    });
    await page.fill("#code", TEN);
    await page.click("#run");
    await page.waitForFunction(() => window.seen.length >= 5, null, { timeout: 15_000 });
    await picture(page, `${way}-running`);
    await waitState(page, "succeeded");
    const done = await page.evaluate(() => performance.now());
    const seen = await page.evaluate(() => window.seen);
    assert.deepEqual(seen.map(([, text]) => text), Array.from({ length: 10 }, (_, i) => `line ${i + 1}`));
    const gaps = seen.slice(1).map(([at], i) => Math.round(at - seen[i][0]));
    // A short poll may find two lines at once or none; the others give each line by itself.
    assert.ok(gaps.filter((gap) => gap > 400).length >= (way === "short" ? 7 : 9), `gaps ${gaps}`);
    assert.ok(done - seen.at(-1)[0] < 4000);
    assert.match(await page.locator("#result").textContent(), /^Exit code 0 after 10\.\d\d s\.$/);
    await page.waitForFunction(() => document.querySelector("#link").textContent === "the job has ended");
    const travelled = await page.locator("#travel .head").allTextContents();
    const expected = {
      websocket: ["101 Switching Protocols", "text frame log", "close frame 1000"],
      sse: ["200 OK", "event: log", "event: end"],
      long: ["200 OK"],
      short: ["200 OK"],
    }[way];
    for (const head of ["POST /api/execute", "202 Accepted", ...expected]) assert.ok(travelled.includes(head), `${head} in ${travelled}`);
    const polls = travelled.filter((head) => /events\?after=/.test(head)).length;
    if (way === "long") assert.ok(polls >= 10 && polls <= 20, `${polls} requests`);
    if (way === "short") assert.ok(polls >= 9 && polls <= 14, `${polls} requests`);
    await picture(page, `${way}-done`);
  });
}

test("both outputs are told apart, and so is the exit code", async (t) => {
  const page = await open(t);
  await page.fill("#code", `import sys\nprint("fine")\nprint("not fine", file=sys.stderr)\nprint("a", end="", flush=True)\nprint("b")\nsys.exit(2)`);
  await page.locator("#code").press("Control+Enter");
  await waitState(page, "succeeded");
  assert.deepEqual((await lines(page)).sort(), ["ab", "fine"]);
  assert.deepEqual(await page.locator("#output .stderr .text").allTextContents(), ["not fine"]);
  assert.match(await page.locator("#result").textContent(), /^Exit code 2/);
});

test("cancel, run again, history", async (t) => {
  const page = await open(t);
  await page.selectOption("#example", "An endless loop (Cancel it)");
  await page.click("#run");
  await page.waitForFunction(() => document.querySelectorAll("#output .stdout").length >= 2);
  const first = idOf(page);
  await page.click("#cancel");
  await waitState(page, "cancelled");
  assert.equal(await page.locator("#result").textContent(), "Cancelled.");
  await page.fill("#code", `print("second")`);
  await page.click("#run");
  await waitState(page, "succeeded");
  const second = idOf(page);
  await page.click("#rerun");
  await page.waitForFunction((old) => !location.hash.includes(old), second);
  await waitState(page, "succeeded");
  assert.deepEqual(await lines(page), ["second"]);
  await page.waitForFunction((id) => document.querySelector("#history").textContent.includes(`again ${id}`), second.slice(-8));
  await page.locator("#history button", { hasText: first.slice(-8) }).first().click();
  await waitState(page, "cancelled");
  await page.waitForFunction(() => document.querySelector("#code").value.includes("while True"));
  assert.equal(idOf(page), first);
  await page.goBack();
  await waitState(page, "succeeded");
});

test("an error of the server is shown with its title, detail and remedy", async (t) => {
  const page = await open(t, { hash: "#job=nosuchjob", noise: true });
  await page.waitForSelector("#problem:not([hidden])");
  assert.notEqual(await page.locator("#problem-title").textContent(), "");
  assert.notEqual(await page.locator("#problem-detail").textContent(), "");
  assert.notEqual(await page.locator("#problem-fix").textContent(), "");
  assert.match(await page.locator("#problem-code").textContent(), /^SB\d{4}$/);
  await picture(page, "problem");
  await page.click("#problem-close");
  assert.ok(await page.locator("#problem").isHidden());
});

test("keyboard: Tab indents, Shift+Tab undoes it, Enter keeps the depth, Esc lets go", async (t) => {
  const page = await open(t);
  const code = page.locator("#code");
  await code.fill("");
  await code.focus();
  await page.keyboard.type("if x:");
  await page.keyboard.press("Enter");
  await page.keyboard.type("y");
  assert.equal(await code.inputValue(), "if x:\n    y");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await code.inputValue(), "if x:\ny");
  await page.keyboard.press("Control+a");
  await page.keyboard.press("Tab");
  assert.equal(await code.inputValue(), "    if x:\n    y");
  await page.keyboard.press("Control+z");
  assert.equal(await code.inputValue(), "if x:\ny");
  assert.equal(await page.locator("#gutter").textContent(), "1\n2");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "run");
});

for (const way of WAYS) {
  test(`${way}: a reload and a change of way in the middle lose nothing`, async (t) => {
    const page = await open(t, { way });
    await page.fill("#code", `import time\nfor i in range(8):\n    print(i)\n    time.sleep(0.5)`);
    await page.click("#run");
    await page.waitForFunction(() => document.querySelectorAll("#output .stdout").length >= 2);
    await page.reload();
    await page.waitForFunction(() => document.querySelectorAll("#output .stdout").length >= 4);
    const other = WAYS[(WAYS.indexOf(way) + 1) % 4];
    await page.locator(`input[value=${other}]`).check();
    await waitState(page, "succeeded");
    assert.deepEqual(await lines(page), Array.from("01234567"));
  });
}

test("a job from another window opens with its code", async (t) => {
  const id = await submit(url, `print("from elsewhere")`);
  await finish(url, id);
  const page = await open(t, { hash: `#job=${id}`, way: "sse" });
  await waitState(page, "succeeded");
  assert.deepEqual(await lines(page), ["from elsewhere"]);
  assert.equal(await page.locator("#code").inputValue(), `print("from elsewhere")`);
});

test("a flood of output and an odd text do no harm", async (t) => {
  const page = await open(t);
  await page.fill("#code", `print("<b>bold</b><script>document.title='x'</script> \\x1b[31m")\nfor i in range(100000): print("line", i)`);
  await page.click("#run");
  await waitState(page, "succeeded", 30_000);
  assert.match(await page.locator("#result").textContent(), /the output was cut/);
  assert.ok((await page.locator("#output > div").count()) <= 5000);
  assert.equal(await page.locator("#output b, #output script").count(), 0);
});

test("light, dark, and 320 pixels wide", async (t) => {
  const code = `import sys, time\nfor step in ("read", "check", "write"):\n    print("step:", step)\n    time.sleep(0.3)\nprint("a warning that is longer than a narrow screen is wide, so that it has to be broken", file=sys.stderr)\nsys.exit(1)`;
  for (const [name, options] of [
    ["light", {}],
    ["dark", { colorScheme: "dark" }],
    ["narrow", { viewport: { width: 320, height: 640 } }],
    ["narrow-dark", { viewport: { width: 320, height: 640 }, colorScheme: "dark" }],
  ]) {
    const page = await open(t, options);
    await page.fill("#code", code);
    await page.click("#run");
    await waitState(page, "succeeded");
    await page.waitForFunction(() => document.querySelector("#link").textContent === "the job has ended");
    await sleep(200);
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(wide <= room, `${name}: ${wide} px in ${room} px`);
    await picture(page, name);
  }
});

// ---- only against a server of our own, which may be killed ---------------------------------------------------------------------------

const own = { skip: given ? "the given server is not ours to kill" : false };

for (const way of WAYS) {
  test(`${way}: the server dies and comes back`, own, async (t) => {
    const page = await open(t, { way, noise: true });
    await page.fill("#code", `import time\nfor i in range(50):\n    print(i)\n    time.sleep(0.2)`);
    await page.click("#run");
    await page.waitForFunction(() => document.querySelectorAll("#output .stdout").length >= 5);
    await server.kill();
    await page.waitForFunction(() => document.querySelector("#link").dataset.state === "away", null, { timeout: 5000 });
    assert.match(await page.locator("#link").textContent(), /server is away/);
    if (way === "websocket") await picture(page, "away");
    await sleep(1000);
    await server.again();
    await page.waitForFunction(() => document.querySelector("#link").dataset.state === "back", null, { timeout: 15_000 });
    assert.match(await page.locator("#link").textContent(), /server is back, went on behind event \d+/);
    await waitState(page, "succeeded", 30_000);
    const shown = await lines(page);
    assert.deepEqual([...new Set(shown)], Array.from({ length: 50 }, (_, i) => String(i)));
    if (way === "sse") await picture(page, "back");
  });
}

test("the worker dies: the page shows the second attempt", own, async (t) => {
  const page = await open(t);
  await page.fill("#code", `import time\nfor i in range(6):\n    print(i)\n    time.sleep(0.3)`);
  await page.click("#run");
  await page.waitForFunction(() => document.querySelectorAll("#output .stdout").length >= 3);
  await worker.end("SIGKILL");
  worker = await startWorker(url, "second", "--concurrency", "4", "--lease", "2s");
  await waitState(page, "succeeded", 20_000);
  assert.match(await page.locator("#output").textContent(), /attempt 2 by second: from the beginning/);
  assert.deepEqual(await page.locator("#output .stdout:not(.old) .text").allTextContents(), Array.from("012345"));
  assert.equal((await getJob(url, idOf(page))).attempts, 2);
  await picture(page, "second-attempt");
});

test("submitting while the server is away says so", own, async (t) => {
  const page = await open(t, { noise: true });
  await server.kill();
  await page.click("#run");
  await page.waitForSelector("#problem:not([hidden])");
  assert.match(await page.locator("#problem").textContent(), /cannot be reached[\s\S]*Start the server/);
  await server.again();
  await page.fill("#code", "print(1)");
  await page.click("#run");
  await waitState(page, "succeeded", 20_000);
  assert.ok(await page.locator("#problem").isHidden());
  assert.ok((await getEvents(url, idOf(page))).length >= 4);
  assert.equal(await state(page), "succeeded");
});
