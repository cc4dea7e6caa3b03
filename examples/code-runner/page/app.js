// The page: editor, job, output, what travels, history. How a job is followed is in follow.js.

import { Away, DONE, Problem, WAYS, ask, follow } from "./follow.js";

const METHOD = "code.v1.Runner/Run";
const MAX_LINES = 5000; // shown of an output
const MAX_TRAVEL = 400; // rows kept of what travels

const $ = (id) => document.getElementById(id);
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};

const EXAMPLES = {
  "A line each second": `import time

for i in range(1, 11):
    print("line", i)
    time.sleep(1)
`,
  "Both outputs": `import sys, time

for step in ("read", "check", "write"):
    print("step:", step)
    time.sleep(0.5)
    print("warning: nothing to", step, file=sys.stderr)
    time.sleep(0.5)
`,
  "Dots without line ends": `import time

for _ in range(40):
    print(".", end="")
    time.sleep(0.1)
print(" done")
`,
  "An error": `def divide(a, b):
    return a / b

print(divide(1, 2))
print(divide(1, 0))
`,
  "An endless loop (Cancel it)": `import time

n = 0
while True:
    n += 1
    print("still here", n)
    time.sleep(0.5)
`,
  "Too much output": `for i in range(100_000):
    print("line", i)
`,
  "Too much memory": `numbers = [0] * 10**9
print(len(numbers))
`,
};

// ---- errors ----------------------------------------------------------------------------------------------------------------

const showProblem = (error) => {
  $("problem").hidden = false;
  $("problem-title").textContent = error.message;
  $("problem-detail").textContent = error.detail ?? (error instanceof Away ? "Nothing was submitted." : "");
  $("problem-fix").textContent = error.fix ?? (error instanceof Away ? "Start the server, then try again." : "");
  $("problem-code").textContent = error.code ?? "";
  if (error.link?.startsWith("/")) $("problem-code").href = error.link;
  else $("problem-code").removeAttribute("href");
};
const hideProblem = () => ($("problem").hidden = true);
$("problem-close").addEventListener("click", hideProblem);

const guard = (work) => async (...given) => {
  try {
    return await work(...given);
  } catch (error) {
    if (error instanceof Problem || error instanceof Away) showProblem(error);
    else throw error;
  }
};

// ---- editor ----------------------------------------------------------------------------------------------------------------

const code = $("code");
let lines = 0;

const number = () => {
  const count = code.value.split("\n").length;
  if (count !== lines) {
    lines = count;
    $("gutter").textContent = Array.from({ length: count }, (_, i) => i + 1).join("\n");
  }
  $("gutter").scrollTop = code.scrollTop;
};

/** Puts text where the selection is, so that undo knows of it. */
const insert = (text) => {
  code.focus();
  const done = text === "" ? document.execCommand("delete") : document.execCommand("insertText", false, text);
  if (!done) code.setRangeText(text, code.selectionStart, code.selectionEnd, "end");
  keep();
};

const setCode = (text) => {
  if (text === code.value) return;
  const focused = document.activeElement;
  code.select();
  insert(text);
  code.setSelectionRange(0, 0);
  code.scrollTop = 0;
  if (focused !== code && focused instanceof HTMLElement) focused.focus();
};

const keep = () => {
  number();
  try {
    sessionStorage.setItem("draft", code.value);
  } catch {
    // Storage may be full or switched off; then a reload loses the draft.
  }
};

let leaving = false; // Esc was pressed: the next Tab moves on
code.addEventListener("input", keep);
code.addEventListener("scroll", () => ($("gutter").scrollTop = code.scrollTop));
code.addEventListener("blur", () => (leaving = false));
code.addEventListener("keydown", (key) => {
  if (key.key === "Escape") {
    leaving = true;
    return;
  }
  if (key.isComposing || key.ctrlKey || key.metaKey || key.altKey) return;
  const { value, selectionStart: from, selectionEnd: to } = code;
  const start = value.lastIndexOf("\n", from - 1) + 1;
  if (key.key === "Tab" && !leaving) {
    key.preventDefault();
    const block = value.slice(start, to);
    if (!key.shiftKey && !value.slice(from, to).includes("\n")) return insert(" ".repeat(4 - ((from - start) % 4)));
    const moved = key.shiftKey ? block.replace(/^ {1,4}/gm, "") : block.replace(/^(?=.)/gm, "    ");
    code.setSelectionRange(start, to);
    if (moved !== block) insert(moved);
    code.setSelectionRange(from === to ? start + moved.length : start, start + moved.length);
  } else if (key.key === "Enter") {
    const line = value.slice(start, from);
    key.preventDefault();
    insert(`\n${/^ */.exec(line)[0]}${/:\s*$/.test(line) ? "    " : ""}`);
  }
  if (key.key !== "Shift") leaving = false;
});
addEventListener("keydown", (key) => {
  if (key.key === "Enter" && (key.ctrlKey || key.metaKey)) {
    key.preventDefault();
    run();
  }
});

$("example").append(new Option("Examples…", ""), ...Object.keys(EXAMPLES).map((name) => new Option(name, name)));
$("example").addEventListener("change", ({ target }) => {
  if (EXAMPLES[target.value]) setCode(EXAMPLES[target.value]);
  target.value = "";
});

// ---- what travels ------------------------------------------------------------------------------------------------------------

const sums = new Map(); // way -> { requests, events, bytes, delays }
let sum = null;
const travelStart = performance.now();

const kib = (bytes) => (bytes < 1000 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KiB`);
const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];

const showSums = () => {
  $("sums").replaceChildren(
    ...Object.entries(WAYS).map(([way, { name }]) => {
      const row = make("tr");
      const head = make("th", "", name);
      head.scope = "row";
      const of = sums.get(way);
      const delay = of?.delays.length ? median(of.delays) : NaN;
      const cells = of ? [of.requests, of.events, kib(of.bytes), delay >= 0 ? `${delay} ms` : "–"] : ["–", "–", "–", "–"];
      row.append(head, ...cells.map((text) => make("td", "", String(text))));
      if (way === following) row.dataset.now = "";
      return row;
    }),
  );
};

const addTravel = (kind, head, gist, body, bytes) => {
  const list = $("travel");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 30;
  const item = make("li", kind);
  const row = make(body ? "summary" : "div", "row");
  const what = make("span", "what");
  what.append(make("span", "head", head), ...(gist ? [" ", make("span", "gist", gist)] : []));
  row.append(
    make("span", "when", `${((performance.now() - travelStart) / 1000).toFixed(2)} s`),
    make("span", "way", { out: "→", in: "←", note: "·" }[kind]),
    what,
    make("span", "size", bytes ? kib(bytes) : ""),
  );
  if (body) {
    const details = make("details");
    details.append(row, make("pre", "", body.trim().slice(0, 8000)));
    item.append(details);
  } else item.append(row);
  list.append(item);
  while (list.childElementCount > MAX_TRAVEL) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
};

/** A recorder; `of` is the row of the table that counts it, if any does. */
const recorder = (of) => ({
  out(head, gist, body, bytes) {
    if (of) of.requests += 1;
    addTravel("out", head, gist, body, bytes);
    showSums();
  },
  in(head, body, bytes, gist) {
    if (of) of.bytes += bytes;
    addTravel("in", head, gist, body, bytes);
    showSums();
  },
  note(text) {
    addTravel("note", text);
  },
});

$("clear").addEventListener("click", () => $("travel").replaceChildren());

// ---- the job ----------------------------------------------------------------------------------------------------------------

let job = null; // what is known of it
let following = null; // the way it is followed by
let stop = () => {};
let states = []; // state events
let openLine = null; // the last line of the output, when it has no end yet
let runningSince = 0;

const way = () => document.querySelector("input[name=way]:checked").value;
const setLink = (state, text) => {
  $("link").dataset.state = state;
  $("link").textContent = text;
};

const showState = () => {
  const state = job ? (job.cancel_requested && !DONE.has(job.state) ? "cancelling" : job.state) : "none";
  $("state").dataset.state = state;
  $("state").textContent = state;
  $("cancel").disabled = !job || DONE.has(job.state) || job.cancel_requested === true;
  $("rerun").disabled = !job || !DONE.has(job.state);
  document.title = job ? `${state} · Code runner` : "Code runner";
  $("output").dataset.empty = !job
    ? "The output appears here."
    : job.state === "queued"
      ? "Waiting for a worker. If none is running: python3 worker.py"
      : DONE.has(job.state)
        ? "It printed nothing."
        : "Running, nothing printed yet.";
};

const showBar = () => {
  const end = Date.now();
  $("bar").replaceChildren(
    ...states.map((event, i) => {
      const piece = make("span");
      piece.dataset.state = event.state;
      const until = i + 1 < states.length ? Date.parse(states[i + 1].at) : end;
      piece.style.flexGrow = DONE.has(event.state) ? "0" : String(Math.max(until - Date.parse(event.at), 1));
      return piece;
    }),
  );
};
setInterval(() => job && !DONE.has(job.state) && showBar(), 500);

const since = (from, to) => `${((Date.parse(to) - Date.parse(from)) / 1000).toFixed(2)} s`;

const addLine = (kind, at, text) => {
  const line = make("div", kind);
  line.append(make("time", "", runningSince ? since(runningSince, at) : ""), make("span", "text", text));
  $("output").append(line);
  return line;
};

const print = (event) => {
  const output = $("output");
  const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
  const kind = event.stream === "stderr" ? "stderr" : "stdout";
  const parts = String(event.text ?? "").split("\n");
  parts.forEach((part, i) => {
    const ends = i < parts.length - 1;
    if (openLine && openLine.className !== kind) openLine = null;
    if (openLine) openLine.lastChild.append(part);
    else if (part || ends) openLine = addLine(kind, event.at, part);
    if (ends) openLine = null;
  });
  while (output.childElementCount > MAX_LINES) output.firstElementChild.remove();
  if (atEnd) output.scrollTop = output.scrollHeight;
};

const showResult = () => {
  const line = $("result");
  delete line.dataset.good;
  line.textContent = "";
  if (!job || !DONE.has(job.state)) {
    if (job?.progress !== undefined) line.textContent = `Progress: ${JSON.stringify(job.progress)}`;
    return;
  }
  line.dataset.good = "no";
  if (job.state === "cancelled") line.textContent = "Cancelled.";
  else if (job.state === "expired") line.textContent = "Its time was over before it was done.";
  else if (job.state === "failed") line.textContent = `Failed: ${job.error?.message ?? "no reason given"}`;
  else {
    let result = null;
    try {
      result = JSON.parse(job.result?.body);
    } catch {
      line.textContent = "Done; the result is not JSON.";
      return;
    }
    const how = result.signal ? `Ended by ${result.signal}` : `Exit code ${result.exit_code}`;
    line.textContent = `${how} after ${(result.duration_ms / 1000).toFixed(2)} s${result.truncated ? "; the output was cut" : ""}.`;
    line.dataset.good = result.exit_code === 0 ? "yes" : "no";
  }
};

const onEvent = (event, counted, from) => {
  counted.events += 1;
  const arrived = Date.now();
  if (Date.parse(event.at) >= from) counted.delays.push(arrived - Date.parse(event.at));
  if (event.type === "state") {
    job.state = event.state;
    job.worker = event.worker ?? job.worker;
    const item = make("li");
    item.append(make("time", "", `+${since(states[0]?.at ?? event.at, event.at)}`));
    const more = [event.attempt > 1 || event.state === "running" ? `attempt ${event.attempt}` : "", event.worker ?? "", event.reason ?? ""];
    item.append([event.state, ...(DONE.has(event.state) ? more.slice(2) : more)].filter(Boolean).join(" · "));
    $("timeline").append(item);
    states.push(event);
    if (event.state === "running") {
      if ($("output").childElementCount) {
        for (const line of $("output").children) line.classList.add("old");
        openLine = null;
        runningSince = 0;
        addLine("note", event.at, `attempt ${event.attempt}${event.worker ? ` by ${event.worker}` : ""}: from the beginning`);
      }
      runningSince = event.at;
    }
    showBar();
  } else if (event.type === "log") print(event);
  else if (event.type === "progress") job.progress = event.progress;
  else if (event.type === "result") job.result = event;
  else if (event.type === "error") {
    openLine = null;
    job.error = event.error;
    addLine("note", event.at, `attempt ${event.attempt} ended: ${event.error?.message ?? "no reason given"}`);
  }
  showState();
  showResult();
  showSums();
};

const watch = (after = 0) => {
  stop();
  following = way();
  $("about").textContent = WAYS[following].about;
  if (!job) return showSums();
  const counted = { requests: 0, events: 0, bytes: 0, delays: [] };
  sums.set(following, counted);
  const from = Date.now();
  setLink("live", "connecting");
  stop = follow(following, job.id, {
    after,
    travel: recorder(counted),
    onEvent: (event) => {
      job.seen = event.seq;
      onEvent(event, counted, from);
    },
    onLink: setLink,
    onOver: guard(async (problem) => {
      setLink("idle", problem ? "not following" : "the job has ended");
      showSums();
      if (problem?.status === 404) job = null;
      showState();
      if (problem) throw problem;
      await history();
    }),
  });
};

const open = (id) => {
  stop();
  job = { id, state: "queued", seen: 0 };
  states = [];
  openLine = null;
  runningSince = 0;
  $("timeline").replaceChildren();
  $("bar").replaceChildren();
  $("output").replaceChildren();
  $("job-id").textContent = id;
  showState();
  showResult();
  const hash = `#job=${encodeURIComponent(id)}`;
  if (location.hash !== hash) location.hash = hash;
  watch();
};

const idInHash = () => new URLSearchParams(location.hash.slice(1)).get("job");

const run = guard(async () => {
  if ($("run").disabled) return;
  hideProblem();
  $("run").disabled = true;
  try {
    const { headers, json } = await ask("POST", "/api/execute", {
      headers: { "Content-Type": "text/x-python", Prefer: "respond-async" },
      body: code.value,
      travel: recorder(null),
    });
    const id = json?.id ?? headers.get("location")?.split("/").pop();
    if (!id) throw new Problem(200, "The answer names no job", { detail: "POST /api/execute should answer 202 with Location: /jobs/ID." });
    open(id);
  } finally {
    $("run").disabled = false;
  }
  await history();
});

$("run").addEventListener("click", run);
$("cancel").addEventListener(
  "click",
  guard(async () => {
    const { json } = await ask("DELETE", `/jobs/${encodeURIComponent(job.id)}`, { travel: recorder(null) });
    if (json?.id === job.id && json.cancel_requested) job.cancel_requested = true;
    showState();
  }),
);
$("rerun").addEventListener(
  "click",
  guard(async () => {
    hideProblem();
    const { json } = await ask("POST", `/jobs/${encodeURIComponent(job.id)}/rerun`, { travel: recorder(null) });
    if (json?.id) open(json.id);
    await history();
  }),
);
$("ways").addEventListener("change", () => {
  try {
    localStorage.setItem("way", way());
  } catch {
    // Then the next visit starts with the first way.
  }
  watch(job?.seen ?? 0);
});
addEventListener("hashchange", () => {
  const id = idInHash();
  if (id && id !== job?.id) open(id);
});

// ---- history -----------------------------------------------------------------------------------------------------------------

const age = (time) => {
  const past = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  if (past < 60) return `${Math.floor(past)} s ago`;
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  if (past < 86400) return `${Math.floor(past / 3600)} h ago`;
  return new Date(time).toLocaleDateString("en");
};

const history = guard(async () => {
  const { json } = await ask("GET", `/jobs?method=${encodeURIComponent(METHOD)}&limit=30`);
  $("history").replaceChildren(
    ...(json?.jobs ?? []).map((old) => {
      const button = make("button");
      button.type = "button";
      const state = make("span", "state", old.state);
      state.dataset.state = old.state;
      const took = old.started && old.finished ? `ran ${since(old.started, old.finished)}` : "";
      const tried = old.attempts > 1 ? `${old.attempts} attempts` : "";
      const what = [old.id.slice(-8), took, tried, old.worker, old.rerun_of ? `again ${old.rerun_of.slice(-8)}` : ""];
      button.append(state, make("span", "what", what.filter(Boolean).join(" · ")), make("span", "age", age(old.created)));
      button.setAttribute("aria-current", String(old.id === job?.id));
      button.addEventListener("click", guard(async () => {
        hideProblem();
        open(old.id);
        for (const other of $("history").querySelectorAll("button")) other.setAttribute("aria-current", String(other === button));
        setCode((await ask("GET", `/jobs/${encodeURIComponent(old.id)}/input`)).text);
      }));
      const item = make("li");
      item.append(button);
      return item;
    }),
  );
});
$("refresh").addEventListener("click", history);

// ---- start -------------------------------------------------------------------------------------------------------------------

const stored = (store, key) => {
  try {
    return store.getItem(key);
  } catch {
    return null;
  }
};

const start = guard(async () => {
  const wanted = stored(localStorage, "way");
  document.querySelector(`input[value=${wanted in WAYS ? wanted : "websocket"}]`).checked = true;
  const draft = stored(sessionStorage, "draft");
  code.value = draft ?? EXAMPLES["A line each second"];
  number();
  showState();
  watch();
  const id = idInHash();
  if (id) {
    open(id);
    if (draft === null) {
      code.value = (await ask("GET", `/jobs/${encodeURIComponent(id)}/input`)).text;
      number();
    }
  }
  await history();
});
start();
