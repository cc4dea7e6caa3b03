// The live tail of a topic: bounded, pausable, and honest about what it leaves out.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ask, curl, getJson, parse, Problem, say, url } from "../lib/api.ts";
import { subCommand } from "../lib/command.ts";
import { follow, type Following, type FollowState } from "../lib/follow.ts";
import { bodyBytes, bytes, clock, count, num, textOf } from "../lib/format.ts";
import { useLoad } from "../lib/load.ts";
import { param, setQuery } from "../lib/router.ts";
import type { Header, Message, Partition } from "../lib/types.ts";
import { keyText, MessageDetail, place, preview } from "../ui/message.tsx";
import { Copy, Empty, Pager, ProblemBox, State } from "../ui/parts.tsx";

/** Rows kept in the view. */
const ROWS = 500;
/** Rows shown a second, before sampling begins. */
const SHOWN = 200;

interface Counts {
  got: number;
  held: number;
  skipped: number;
  /** Messages in the last full second. */
  speed: number;
}

const NONE: Counts = { got: 0, held: 0, skipped: 0, speed: 0 };

/** What the chosen start means to the server. */
function startOf(from: string): Record<string, string | undefined> {
  if (from === "start") return { from: "start" };
  if (from === "now") return { from: "end" };
  if (from === "time") return { from: `time:${param("time") || new Date(Date.now() - 3_600_000).toISOString()}` };
  return { last: "20" };
}

export function Tail({ topic, partitions }: { topic: string; partitions: Partition[] }) {
  return param("from") === "pages" ? <Pages topic={topic} partitions={partitions} /> : <Live topic={topic} partitions={partitions} />;
}

/** Where to begin, and of which partition. */
function Start({ partitions }: { partitions: Partition[] }) {
  const from = param("from", "last");
  return (
    <>
      <label class="field inline">
        <span>From</span>
        <select value={from} onChange={(e) => setQuery({ from: e.currentTarget.value, m: undefined, after: undefined }, true)}>
          <option value="last">{partitions.length > 1 && param("partition") === "" ? "the last 20 of each" : "the last 20"}</option>
          <option value="now">now</option>
          <option value="start">the start</option>
          <option value="time">a time</option>
          <option value="pages">the start, in pages</option>
        </select>
      </label>
      {from === "time" && (
        <label class="field inline">
          <span>Time</span>
          <input
            type="datetime-local"
            step="1"
            value={local(param("time"))}
            onChange={(e) => e.currentTarget.value && setQuery({ time: new Date(e.currentTarget.value).toISOString() }, true)}
          />
        </label>
      )}
      {partitions.length > 1 && (
        <label class="field inline">
          <span>Partition</span>
          <select value={param("partition")} onChange={(e) => setQuery({ partition: e.currentTarget.value, after: undefined }, true)}>
            <option value="">all</option>
            {partitions.slice(0, 256).map((p) => (
              <option key={p.partition} value={String(p.partition)}>
                {num(p.partition)}
              </option>
            ))}
          </select>
        </label>
      )}
    </>
  );
}

/** What is kept, oldest first, a page at a time. */
function Pages({ topic, partitions }: { topic: string; partitions: Partition[] }) {
  const limit = 100;
  const after = param("after");
  const partition = param("partition");
  const open = param("m");
  const at = url(`topics/${encodeURIComponent(topic)}`, { partition, limit: String(limit), ...(after ? { after } : { from: "start" }) });
  const page = useLoad(at.href, (signal) => getJson<{ messages: Message[]; next?: string }>(at, signal));
  const messages = page.data?.messages ?? [];
  return (
    <section class="tail" aria-label="Messages">
      <div class="bar controls">
        <Start partitions={partitions} />
        <span class="grow" />
        <Copy label="Copy as curl" text={() => curl("GET", at)} />
      </div>
      <ProblemBox of={page.problem} />
      {page.loading && <p class="faint">Reading…</p>}
      {page.data && messages.length === 0 && <Empty>{after ? "There is nothing after this." : "The topic holds no message."}</Empty>}
      <div class={`split ${open ? "open" : ""}`}>
        <div class="rows">
          {messages.length > 0 && (
            <ol aria-label="Messages, oldest first">
              {messages.map((m) => (
                <Row key={place(m)} of={m} open={open === place(m)} />
              ))}
            </ol>
          )}
        </div>
        {open && <Opened key={open} topic={topic} at={open} rows={messages} />}
      </div>
      {page.data && <Pager shown={messages.length} limit={limit} next={messages.length === limit ? page.data.next : null} what={messages.length === 1 ? "message" : "messages"} />}
    </section>
  );
}

function Live({ topic, partitions }: { topic: string; partitions: Partition[] }) {
  const from = param("from", "last");
  const time = param("time");
  const partition = param("partition");
  const open = param("m");
  const rows = useSignal<Message[]>([]);
  const counts = useSignal<Counts>(NONE);
  const state = useSignal<FollowState>("connecting");
  const problem = useSignal<Problem | null>(null);
  const paused = useSignal(false);
  const hovered = useSignal(false);
  const still = useRef(false);
  still.current = paused.value || hovered.value;
  const flush = useRef<() => void>(() => {});

  useEffect(() => {
    // Held outside the signals: a thousand messages a second must not mean a thousand renderings.
    let fresh: Message[] = [];
    let c: Counts = { ...NONE };
    let second = 0;
    let inSecond = 0;
    let spoken = 0;
    let changed = false;
    rows.value = [];
    counts.value = NONE;
    problem.value = null;

    const show = () => {
      if (!still.current && fresh.length > 0) {
        const places = new Set(fresh.map(place));
        const all = [...fresh.reverse(), ...rows.value.filter((m) => !places.has(place(m)))];
        // What is kept comes one partition after the other; it is read by time.
        if (all.some((m) => m.partition !== all[0]?.partition)) all.sort((a, b) => ((b.at ?? "") > (a.at ?? "") ? 1 : (b.at ?? "") < (a.at ?? "") ? -1 : 0));
        rows.value = all.slice(0, ROWS);
        fresh = [];
        c.held = 0;
        changed = true;
      }
      if (changed) counts.value = { ...c };
      changed = false;
    };
    flush.current = show;

    const path = `topics/${encodeURIComponent(topic)}`;
    const to: Following = {
      names: ["envelope", "message"],
      grants: { read: [topic] },
      state: (s) => {
        state.value = s;
      },
      problem: (p) => {
        // What does not exist yet has no history to read, but may be waited for.
        if (p.status === 404 && !waiting) {
          waiting = true;
          stop = follow(path, { envelope: "1", partition, from: "end" }, "after", to);
        } else problem.value = p;
      },
      event: (_name, data) => {
        const now = Math.floor(Date.now() / 1000);
        if (now !== second) {
          c.speed = now === second + 1 ? inSecond : 0;
          second = now;
          inSecond = 0;
        }
        c.got++;
        changed = true;
        if (++inSecond > SHOWN) {
          c.skipped++;
          return;
        }
        try {
          const m = parse<Message>(data);
          // A live message has no place in a topic; here it gets one of its own.
          fresh.push(m.offset === undefined ? { ...m, topic: m.topic ?? topic, partition: "live", offset: c.got } : m);
        } catch {
          fresh.push({ topic, partition: "?", offset: c.got, body: data });
        }
        if (fresh.length > ROWS) fresh.shift();
        if (still.current) c.held++;
      },
    };
    let waiting = from === "now";
    let stop = follow(path, { envelope: "1", partition, ...startOf(from) }, "after", to);
    const beat = setInterval(show, 100);
    const summary = setInterval(() => {
      if (c.got > spoken) say(`${count(c.got - spoken, "new message")} in ${topic}${still.current ? `, ${c.held} held back` : ""}.`);
      spoken = c.got;
    }, 5000);
    return () => {
      stop();
      clearInterval(beat);
      clearInterval(summary);
    };
  }, [topic, from, time, partition]);

  const c = counts.value;
  const isPaused = paused.value || hovered.value;
  const tail = url(`topics/${encodeURIComponent(topic)}`, { partition, ...startOf(from) });

  return (
    <section class="tail" aria-label="Messages">
      <div class="bar controls">
        <Start partitions={partitions} />
        <button
          type="button"
          data-key="p"
          aria-pressed={paused.value}
          onClick={() => {
            paused.value = !paused.value;
            still.current = paused.value || hovered.value;
            flush.current();
          }}
        >
          {paused.value ? "Go on" : "Pause"}
        </button>
        <State of={isPaused && state.value === "live" ? "paused" : state.value} />
        <span class="faint">
          {count(c.got, "message")}
          {isPaused && c.held > 0 && <b class="warn-text"> · {num(c.held)} held back</b>}
        </span>
        <span class="grow" />
        <Copy label="Copy as curl" text={() => curl("GET", tail, { Accept: "text/event-stream" }, undefined, ["-N"])} />
        <Copy label="Copy as command" text={() => subCommand(topic, startOf(from))} />
      </div>
      {c.skipped > 0 && (
        <p class="note">
          Sampling: at most {SHOWN} rows a second are shown{c.speed > SHOWN && ` of ${num(c.speed)}`}. {count(c.skipped, "message")} left out so far; they are kept in the topic.
        </p>
      )}
      <ProblemBox of={problem.value} />
      <div class={`split ${open ? "open" : ""}`}>
        <div
          class="rows"
          onMouseEnter={() => (hovered.value = true)}
          onMouseLeave={() => (hovered.value = false)}
          onFocusCapture={() => (hovered.value = true)}
          onBlurCapture={(e) => {
            if (!(e.currentTarget as HTMLElement).contains(e.relatedTarget as Node | null)) hovered.value = false;
          }}
        >
          {rows.value.length === 0 ? (
            <Empty>{problem.value ? "Nothing is followed." : from === "now" ? "Waiting for the next message…" : state.value === "connecting" ? "Connecting…" : "No message yet. New ones appear here as they arrive."}</Empty>
          ) : (
            <ol aria-label="Messages, newest first">
              {rows.value.map((m) => (
                <Row key={place(m)} of={m} open={open === place(m)} />
              ))}
            </ol>
          )}
          {rows.value.length === ROWS && <p class="faint">The newest {ROWS} rows are kept here.</p>}
        </div>
        {open && <Opened key={open} topic={topic} at={open} rows={rows.value} />}
      </div>
    </section>
  );
}

function local(iso: string): string {
  const d = new Date(iso || Date.now() - 3_600_000);
  if (Number.isNaN(d.getTime())) return "";
  return new Date(d.getTime() - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function Row({ of: m, open }: { of: Message; open: boolean }) {
  const key = keyText(m);
  return (
    <li class={open ? "row open" : "row"}>
      <button type="button" aria-expanded={open} onClick={() => setQuery({ m: open ? undefined : place(m) }, true)}>
        <span class="at">{clock(m.at)}</span>
        <span class="pos">{place(m)}</span>
        <span class="text">
          {m.address && <span class="tag">{m.address}</span>}
          {key !== undefined && <span class="tag key-tag">{key}</span>}
          {preview(m)}
        </span>
        <span class="size">{bytes(bodyBytes(m).length)}</span>
      </button>
    </li>
  );
}

/** The message that the URL names: the row's, or fetched by itself when the link came from elsewhere. */
function Opened({ topic, at, rows }: { topic: string; at: string; rows: Message[] }) {
  const kept = useRef<Message | null>(null);
  const fetched = useSignal<Message | null>(null);
  const problem = useSignal<Problem | null>(null);
  const row = rows.find((m) => place(m) === at);
  if (row) kept.current = row;
  useEffect(() => {
    if (kept.current) return;
    const abort = new AbortController();
    single(topic, at, abort.signal).then(
      (m) => {
        fetched.value = m;
      },
      (e) => {
        if (!abort.signal.aborted) problem.value = Problem.of(e);
      },
    );
    return () => abort.abort();
  }, []);
  const m = kept.current ?? fetched.value;
  const close = () => setQuery({ m: undefined }, true);
  if (m) return <MessageDetail of={m} close={close} />;
  return (
    <section class="detail panel">
      <ProblemBox of={problem.value} />
      {!problem.value && <p class="faint">Reading message {at}…</p>}
      <button type="button" onClick={close}>
        Close
      </button>
    </section>
  );
}

async function single(topic: string, at: string, signal: AbortSignal): Promise<Message> {
  const response = await ask("GET", `topics/${encodeURIComponent(topic)}/messages/${encodeURIComponent(at)}`, { signal });
  const data = new Uint8Array(await response.arrayBuffer());
  const text = textOf(data);
  const h = response.headers;
  const headers: Record<string, Header> = {};
  h.forEach((v, k) => {
    if (k.startsWith("sb-header-")) headers[k.slice(10)] = v;
  });
  const [partition = "", offset = ""] = at.split("-");
  let wide = "";
  if (text === null) for (const b of data) wide += String.fromCharCode(b);
  return {
    id: h.get("Sb-Id") ?? undefined,
    topic,
    address: h.get("Sb-Address") ?? undefined,
    partition,
    offset,
    at: h.get("Sb-At") ?? undefined,
    key: h.get("Sb-Key") ?? undefined,
    headers,
    content_type: h.get("Content-Type") ?? undefined,
    ...(text === null ? { body: btoa(wide), encoding: "base64" } : { body: text }),
  };
}
