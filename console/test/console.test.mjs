// The console in a real browser: against the mock, or against the server that SWITCHBOARD_URL names
// (SWITCHBOARD_KEY holds an API key for it, if it wants one). Everything is published and submitted over HTTP.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createServer, request } from "node:http";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { client, work } from "./fill.mjs";
import { start } from "./mock.mjs";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const BROWSER = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const KEY = process.env.SWITCHBOARD_KEY;
const mark = Date.now().toString(36);
const TOPIC = `console-test-${mark}`;
const METHOD = `console.test.T${mark}/Run`;

let mock = null;
let base = process.env.SWITCHBOARD_URL?.replace(/\/$/, "");
let browser;
let jobId;
let api;

before(async () => {
  if (!base) {
    mock = await start();
    base = mock.url;
  }
  api = client(base, KEY);
  browser = await chromium.launch({ executablePath: BROWSER, args: FLAGS });
  await api.json("PUT", `topics/${TOPIC}`, { partitions: 2 });
  await api.json("PUT", `topics/${TOPIC}/groups/readers`, {});
  for (let i = 0; i < 5; i++) await api.call("POST", `topics/${TOPIC}`, `{"n":${i},"big":9007199254740993}`, { "Content-Type": "application/json", "Sb-Key": "k", "Sb-Header-colour": "green" });
  await api.call("POST", `topics/${TOPIC}`, Buffer.from([0xff, 0xfe, 0x00, 0x41]), { "Sb-Key": "k" });
  jobId = await work(base, METHOD, { say: "hello" }, async (take) => {
    const w = await take();
    await w.log("first line\n");
    await w.log("a complaint\n", "stderr");
    await w.progress({ done: 1, total: 2 });
    await w.complete('{"answer":42}');
  }, KEY);
}, { timeout: 60_000 });

after(async () => {
  await browser?.close();
  await api?.call("DELETE", `topics/${TOPIC}`).catch(() => {});
  await mock?.stop();
});

/** Opens the console; whatever goes wrong unseen (console errors, requests elsewhere) fails the test at the end. */
async function visit(hash, { at = base, key = KEY, expected = [], ...options } = {}, check) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, colorScheme: "light", ...options });
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const faults = [];
  page.on("console", (m) => m.type() === "error" && !expected.some((e) => m.text().includes(e)) && faults.push(m.text()));
  page.on("pageerror", (e) => faults.push(String(e)));
  page.on("request", (r) => new URL(r.url()).origin !== new URL(at).origin && faults.push(`foreign request ${r.url()}`));
  if (key) await context.addInitScript((k) => sessionStorage.setItem("switchboard.key", k), key);
  try {
    await page.goto(`${at}/console/${hash}`);
    await check(page);
    assert.deepEqual(faults, []);
  } finally {
    await context.close();
  }
}

const text = (page, selector) => page.locator(selector).first().innerText();

test("overview shows the figures, the chart and its table", async () => {
  await visit("#/", {}, async (page) => {
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    const figures = await text(page, ".figures");
    for (const label of ["Connections", "Topics", "Groups", "Messages in", "Messages out"]) assert.match(figures, new RegExp(label));
    await page.locator(".chart canvas").waitFor();
    assert.match(await text(page, "main"), /used of a budget of/);
    await page.getByRole("button", { name: "Table" }).click();
    await page.waitForURL(/view=table/);
    await page.locator("tbody tr").nth(1).waitFor();
  });
});

test("topics: search in the server, and the way to a topic", async () => {
  await visit("#/topics", {}, async (page) => {
    await page.getByLabel("Name begins with").fill(TOPIC);
    await page.waitForURL(/prefix=console-test/);
    await page.getByRole("link", { name: TOPIC }).click();
    await page.getByRole("heading", { name: TOPIC }).waitFor();
    await page.locator(".head", { hasText: "6 messages" }).waitFor();
  });
});

test("live tail shows what is published, holds back while paused, opens a message", async () => {
  await visit(`#/topics/${TOPIC}`, {}, async (page) => {
    await page.locator(".row").nth(5).waitFor();
    assert.match(await text(page, ".rows"), /4 B, not UTF-8/);
    await page.locator(".state", { hasText: "live" }).waitFor();
    await api.call("POST", `topics/${TOPIC}`, '{"fresh":"one"}', { "Content-Type": "application/json" });
    await page.locator(".row", { hasText: '{"fresh":"one"}' }).waitFor();

    await page.locator(".row").first().hover();
    await page.locator(".state", { hasText: "paused" }).waitFor();
    await api.call("POST", `topics/${TOPIC}`, "held");
    await page.getByText("1 held back").waitFor();
    assert.equal(await page.locator(".row", { hasText: "held" }).count(), 0);
    await page.locator("h1").hover();
    await page.locator(".row", { hasText: "held" }).waitFor();

    // A number beyond 2^53 is shown as it was sent, in the row, the text and the indented form.
    await page.locator(".row", { hasText: '"n":3' }).locator("button").click();
    await page.waitForURL(/m=\d-\d/);
    const detail = page.locator(".detail");
    await detail.getByText("green").waitFor();
    await detail.getByRole("button", { name: "Indented" }).click();
    assert.match(await detail.locator("pre").innerText(), /"big": 9007199254740993\n/);
    await detail.getByRole("button", { name: "Hex" }).click();
    assert.match(await detail.locator("pre").innerText(), /^000000 {2}7b 22 6e/);
    // The link alone leads to the same message.
    await page.reload();
    await page.locator(".detail").getByText("green").waitFor();
  });
});

test("a burst is sampled, and says so", async () => {
  await api.json("PUT", `topics/${TOPIC}-burst`, {});
  await visit(`#/topics/${TOPIC}-burst?from=now`, {}, async (page) => {
    await page.locator(".state", { hasText: "live" }).waitFor();
    await api.json("POST", "publish", { messages: Array.from({ length: 900 }, (_, i) => ({ address: `${TOPIC}-burst`, body: `row ${i}` })) });
    await page.getByText(/Sampling: at most 200 rows a second/).waitFor();
  });
  await api.call("DELETE", `topics/${TOPIC}-burst`);
});

test("what is kept, in pages", async () => {
  const name = `${TOPIC}-pages`;
  await api.json("PUT", `topics/${name}`, {});
  await api.json("POST", "publish", { messages: Array.from({ length: 130 }, (_, i) => ({ address: name, body: `row ${i}.` })) });
  await visit(`#/topics/${name}?from=pages`, {}, async (page) => {
    await page.locator(".row", { hasText: "row 0." }).waitFor();
    assert.equal(await page.locator(".row").count(), 100);
    await page.keyboard.press("n");
    await page.locator(".row", { hasText: "row 129." }).waitFor();
    assert.equal(await page.locator(".row").count(), 30);
    assert.equal(await page.getByText("Next page").count(), 0);
    await page.goBack();
    await page.locator(".row", { hasText: "row 0." }).waitFor();
  });
  await api.call("DELETE", `topics/${name}`);
});

test("a topic that does not exist yet is waited for", async () => {
  await visit(`#/topics/${TOPIC}-later`, { expected: ["404"] }, async (page) => {
    await page.getByText("This topic does not exist yet").waitFor();
    await page.locator(".state", { hasText: "live" }).waitFor();
    await api.call("POST", `topics/${TOPIC}-later`, "the first");
    await page.locator(".row", { hasText: "the first" }).waitFor();
    assert.equal(await page.locator(".problem").count(), 0);
  });
  await api.call("DELETE", `topics/${TOPIC}-later`);
});

test("publishing from the form", async () => {
  await visit(`#/topics/${TOPIC}`, {}, async (page) => {
    await page.locator(".state", { hasText: "live" }).waitFor();
    await page.keyboard.press("w");
    await page.locator("textarea[name=body]").fill('{"from":"the form"}');
    await page.getByLabel("Key (optional)").fill("schlüssel");
    await page.getByLabel("Headers").fill("colour: blue\nn: 1");
    await page.getByRole("button", { name: "Publish" }).click();
    await page.getByText("Kept at").waitFor();
    await page.locator(".row", { hasText: "the form" }).getByText("schlüssel").waitFor();
    await page.getByLabel("Headers").fill("no colon");
    await page.getByRole("button", { name: "Publish" }).click();
    await page.locator(".problem", { hasText: "A header line was not understood" }).waitFor();
  });
});

test("a group: peek takes nothing, moving shows the numbers first, deleting wants the name", async () => {
  await visit("#/groups", {}, async (page) => {
    await page.getByLabel("Of the topic").fill(TOPIC);
    await page.getByRole("link", { name: "readers" }).click();
    await page.getByRole("heading", { name: "readers" }).waitFor();
    const before = await api.call("GET", `topics/${TOPIC}/groups/readers`);
    await page.getByRole("button", { name: "Look" }).click();
    await page.locator(".row").nth(3).waitFor();
    assert.equal((await api.call("GET", `topics/${TOPIC}/groups/readers`)).ready, before.ready);

    await page.locator("section", { hasText: "Nothing moves until" }).locator("select").first().selectOption("end");
    await page.getByRole("button", { name: "See what it would do" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText(/will be skipped/).waitFor();
    assert.match(await dialog.innerText(), new RegExp(`${before.ready} messages? will be skipped`));
    const act = dialog.getByRole("button", { name: "Move the group" });
    assert.equal(await act.isDisabled(), true);
    await dialog.getByLabel(/Type readers/).fill("readers");
    await act.click();
    await page.locator(".figure", { hasText: "Ready" }).getByText("0", { exact: true }).waitFor();

    await page.getByRole("button", { name: "Delete this group" }).click();
    await page.getByRole("button", { name: "Keep as it is" }).click();
    assert.equal(await page.getByRole("dialog").count(), 0);
  });
});

test("jobs: list, filter, log lines, result, timeline, rerun with edited input", async () => {
  await visit("#/jobs", {}, async (page) => {
    await page.getByLabel("Method (whole name)").fill(METHOD);
    await page.waitForURL(/method=/);
    await page.getByRole("link", { name: "succeeded" }).click();
    await page.getByRole("link", { name: jobId }).click();
    await page.locator(".log .line", { hasText: "first line" }).waitFor();
    await page.locator(".log .line.err", { hasText: "a complaint" }).waitFor();
    assert.match(await page.getByRole("region", { name: "Result" }).innerText(), /\{"answer":42\}/);
    assert.match(await text(page, ".timeline"), /attempt 1/);
    assert.match(await text(page, ".progress"), /50 %/);
    await page.locator(".state", { hasText: "ended" }).waitFor();

    await page.getByRole("button", { name: "Run again" }).click();
    const input = page.getByRole("dialog").locator("textarea");
    assert.equal(await input.inputValue(), '{"say":"hello"}');
    await input.fill('{"say":"again"}');
    await page.getByRole("button", { name: "Run with the edited input" }).click();
    await page.waitForURL((u) => /#\/jobs\/.+/.test(u.hash) && !u.hash.includes(jobId));
    await page.locator(".head .state", { hasText: "queued" }).waitFor();
    const made = decodeURIComponent(new URL(page.url()).hash.split("/")[2]);
    assert.equal(JSON.stringify(await api.call("GET", `jobs/${made}/input`)), '{"say":"again"}');
    // What happens elsewhere shows here, live.
    const taken = (await api.json("POST", "jobs/take", { methods: [METHOD], max: 1, wait: "5s", worker: "w" })).jobs[0];
    await page.locator(".head .state", { hasText: "running" }).waitFor();
    await api.call("POST", `jobs/${made}/log?stream=stdout`, "live line\n", { "Sb-Lease": taken.lease, "Content-Type": "text/plain" });
    await page.locator(".log .line", { hasText: "live line" }).waitFor();
    await page.getByRole("button", { name: "Cancel…" }).click();
    await page.getByRole("button", { name: "Cancel the job" }).click();
    await page.getByText("asked to stop").waitFor();
  });
});

test("the keyboard alone", async () => {
  await visit("#/", {}, async (page) => {
    await page.getByRole("heading", { name: "Overview" }).waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await page.keyboard.press("g");
    await page.keyboard.press("t");
    await page.getByRole("heading", { name: "Topics" }).waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type(TOPIC);
    await page.waitForURL(/prefix=/);
    const link = page.getByRole("link", { name: TOPIC });
    await link.waitFor();
    for (let i = 0; i < 12 && !(await link.evaluate((e) => e === document.activeElement)); i++) await page.keyboard.press("Tab");
    const outline = await link.evaluate((e) => getComputedStyle(e).outlineStyle);
    assert.equal(outline, "solid", "the focus is visible");
    await page.keyboard.press("Enter");
    await page.locator(".row button").first().waitFor();
    await page.keyboard.press("p");
    await page.locator(".state", { hasText: "paused" }).waitFor();
    await page.keyboard.press("?");
    await page.getByRole("dialog").getByText("Next page").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
  });
});

test("a refusal is shown with what happened and what to do", async () => {
  await visit("#/jobs/00000000000000000000000000000000", { expected: ["404", "400"] }, async (page) => {
    await page.locator(".problem", { hasText: "What to do:" }).waitFor();
    assert.equal(await page.locator(".problem").count(), 1);
  });
});

test("works under a prefix", async () => {
  const target = new URL(base);
  const proxy = createServer((req, res) => {
    if (!req.url.startsWith("/deep/prefix/")) {
      res.writeHead(404);
      return res.end();
    }
    const up = request({ host: target.hostname, port: target.port, method: req.method, path: req.url.slice("/deep/prefix".length), headers: { ...req.headers, host: target.host } }, (back) => {
      res.writeHead(back.statusCode, back.headers);
      back.pipe(res);
    });
    up.on("error", () => res.destroy());
    res.on("close", () => up.destroy());
    req.pipe(up);
  });
  await new Promise((done) => proxy.listen(0, "127.0.0.1", done));
  try {
    await visit(`#/topics/${TOPIC}`, { at: `http://127.0.0.1:${proxy.address().port}/deep/prefix` }, async (page) => {
      await page.locator(".row").nth(2).waitFor();
      await page.getByRole("link", { name: "Overview" }).click();
      await page.locator(".figures").waitFor();
    });
  } finally {
    proxy.closeAllConnections();
    proxy.close();
  }
});

test("320 pixels: nothing scrolls sideways", async () => {
  await visit("#/", { viewport: { width: 320, height: 640 } }, async (page) => {
    for (const hash of ["#/", "#/?view=table", "#/topics", `#/topics/${TOPIC}`, `#/topics/${TOPIC}?m=0-0&write=1`, `#/topics/${TOPIC}?tab=policy`, `#/topics/${TOPIC}?tab=groups`, "#/groups", `#/groups/${TOPIC}/readers?peek=1`, "#/jobs", `#/jobs/${jobId}`, ...(process.env.SWITCHBOARD_URL ? ["#/services", "#/services/switchboard.v1.Jobs"] : [])]) {
      await page.evaluate((h) => {
        location.hash = h;
      }, hash);
      await page.waitForTimeout(500);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(over, 0, `${hash} is ${over} px too wide`);
    }
  });
});

/** Contrast of every text on the page with what is behind it, as WCAG 2 computes it; the ones below the bar. */
function lowContrast() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgba = (c) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = c;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.closest(":disabled,.unseen,.skip,datalist,option")) continue;
    let behind = e;
    while (behind && rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
    if (!behind) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(rgba(style.color)), light(rgba(getComputedStyle(behind).backgroundColor))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < (Number.parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} ${e.className} ${e.textContent.slice(0, 30)}`);
  }
  return found;
}

for (const scheme of ["light", "dark"]) {
  test(`${scheme}: follows the system, the switch wins, contrast AA`, async () => {
    await visit("#/", { colorScheme: scheme }, async (page) => {
      const dark = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).every((v) => Number(v) < 80));
      await page.locator(".figures").waitFor();
      assert.equal(await dark(), scheme === "dark");
      for (const hash of ["#/", "#/topics", `#/topics/${TOPIC}?m=0-0&write=1`, `#/groups/${TOPIC}/readers`, "#/jobs", `#/jobs/${jobId}`, ...(process.env.SWITCHBOARD_URL ? ["#/services", "#/services/switchboard.v1.Jobs"] : [])]) {
        await page.evaluate((h) => {
          location.hash = h;
        }, hash);
        await page.waitForTimeout(500);
        assert.deepEqual(await page.evaluate(lowContrast), [], hash);
      }
      await page.keyboard.press("t");
      assert.equal(await dark(), false, "light by choice");
      await page.keyboard.press("t");
      assert.equal(await dark(), true, "dark by choice");
      await page.reload();
      assert.equal(await dark(), true, "the choice is kept");
    });
  });
}

test("login: a key is asked for, kept in the tab, and streams get a token", async () => {
  const closed = await start({ key: "sesame" });
  closed.publish("vault", { body: "gold" });
  try {
    await visit("#/topics/vault", { at: closed.url, expected: ["401"] }, async (page) => {
      await page.getByRole("heading", { name: "Log in" }).waitFor();
      await page.getByLabel("API key").fill("wrong");
      await page.getByRole("button", { name: "Log in" }).click();
      await page.locator(".problem", { hasText: "The key is not known." }).waitFor();
      await page.getByLabel("API key").fill("sesame");
      await page.getByRole("button", { name: "Log in" }).click();
      await page.locator(".row", { hasText: "gold" }).waitFor();
      assert.equal(await page.evaluate(() => sessionStorage.getItem("switchboard.key")), "sesame");
      assert.equal(await page.evaluate(() => localStorage.length), 0);
      await page.getByRole("button", { name: "Log out" }).click();
      await page.getByRole("heading", { name: "Log in" }).waitFor();
    });
  } finally {
    await closed.stop();
  }
});

test("a lost connection is said at once, and the tail goes on afterwards", async () => {
  let server = await start();
  const { port, url } = server;
  server.publish("t", { body: "before" });
  try {
    await visit("#/topics/t", { at: url, expected: ["ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY", "404"] }, async (page) => {
      await page.locator(".row", { hasText: "before" }).waitFor();
      await server.stop();
      await page.getByText("No connection to the server since").waitFor({ timeout: 4000 });
      assert.equal(await page.locator(".row", { hasText: "before" }).count(), 1, "what was shown stays");
      server = await start({ port });
      server.publish("t", { body: "before" });
      await page.getByText("No connection to the server since").waitFor({ state: "detached" });
      await page.locator(".state", { hasText: "live" }).waitFor({ timeout: 15_000 });
      server.publish("t", { body: "after" });
      await page.locator(".row", { hasText: "after" }).waitFor();
    });
  } finally {
    await server.stop();
  }
});

test("services are listed, described and can be tried", { skip: !process.env.SWITCHBOARD_URL && "the stand-in has no services" }, async () => {
  await visit("#/services", { expected: ["400 (Bad Request)"] }, async (page) => {
    await page.getByRole("link", { name: "switchboard.v1.Topics" }).click();
    const list = page.getByRole("region", { name: "List", exact: true });
    await list.getByRole("button", { name: "Call" }).click();
    await list.locator("pre.answer", { hasText: TOPIC }).waitFor();
    await list.getByLabel("Request, as JSON").fill('{"nonsense": 1}');
    await list.getByRole("button", { name: "Call" }).click();
    await list.locator(".problem", { hasText: "nonsense" }).waitFor();
    assert.match(await text(page, "main"), /POST \/switchboard\.v1\.Topics\/List/);
  });
});
