// Pictures of every screen, to be looked at: node test/shoot.mjs BASE FOLDER [KEY]. The folder is not kept in git.
import { chromium } from "playwright-core";
import { mkdir } from "node:fs/promises";

const [base, folder = "test/shots"] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
const jobs = (await (await fetch(`${base}/jobs`)).json()).jobs;
const id = (s) => jobs.find((j) => j.state === s)?.id;
const pages = {
  overview: ["#/", 6000],
  topics: ["#/topics"],
  topic: ["#/topics/orders"],
  message: ["#/topics/orders?m=MESSAGE"],
  write: ["#/topics/orders?write=1"],
  policy: ["#/topics/orders?tab=policy"],
  table: ["#/?view=table"],
  "topic-groups": ["#/topics/orders?tab=groups"],
  groups: ["#/groups"],
  group: ["#/groups/orders/billing?peek=1"],
  jobs: ["#/jobs"],
  "job-done": [`#/jobs/${id("succeeded")}`],
  "job-failed": [`#/jobs/${id("failed")}`],
  "job-running": [`#/jobs/${id("running")}`],
  missing: ["#/jobs/nothing"],
};
for (const [name, width, scheme] of [
  ["light", 1280, "light"],
  ["dark", 1280, "dark"],
  ["narrow", 320, "light"],
]) {
  const context = await browser.newContext({ viewport: { width, height: width < 500 ? 700 : 860 }, colorScheme: scheme });
  const page = await context.newPage();
  page.on("console", (m) => m.type() === "error" && console.log(name, m.text()));
  page.on("pageerror", (e) => console.log(name, String(e)));
  for (const [file, [hash, wait = 700]] of Object.entries(pages)) {
    await page.goto(`${base}/console/${hash.replace("MESSAGE", "0-3")}`);
    const beats = setInterval(() => fetch(`${base}/topics/audit`, { method: "POST", body: "beat" }), 37);
    await page.waitForTimeout(wait);
    clearInterval(beats);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) console.log(`${name} ${file}: ${wide} px too wide`);
    await page.screenshot({ path: `${folder}/${name}-${file}.png`, fullPage: width < 500 });
  }
  const act = async (file, hash, ...clicks) => {
    await page.goto(`${base}/console/${hash}`);
    for (const c of clicks) await page.getByRole("button", { name: c }).click();
    await page.waitForTimeout(400);
    await page.screenshot({ path: `${folder}/${name}-${file}.png` });
  };
  await act("seek", "#/groups/orders/billing", "See what it would do");
  await act("delete", "#/topics/orders?tab=policy", "Delete this topic");
  await act("rerun", `#/jobs/${id("succeeded")}`, "Run again");
  await act("hex", "#/topics/orders?m=0-17");
  await act("help", "#/", "Keyboard shortcuts");
  await context.close();
}
// Answers by hand what a page meets when it is not let in, or not answered.
for (const [name, scheme, status] of [["login", "light", 401], ["lost", "dark", 0]]) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, colorScheme: scheme });
  await page.goto(`${base}/console/`);
  await page.waitForTimeout(500);
  await page.route(/\/status$/, (r) => (status ? r.fulfill({ status, contentType: "application/problem+json", body: '{"title":"Who are you?","status":401}' }) : r.abort()));
  await page.waitForTimeout(2500);
  await page.screenshot({ path: `${folder}/${name}.png` });
}
await browser.close();
