// Writes one message.
import { useSignal } from "@preact/signals";
import { curl, Problem, say, sendJson, url } from "../lib/api.ts";
import { pubCommand } from "../lib/command.ts";
import { num } from "../lib/format.ts";
import type { Num } from "../lib/types.ts";
import { Copy, ProblemBox } from "../ui/parts.tsx";
import { withQuery } from "../lib/router.ts";

const TYPES = ["application/json", "text/plain", "application/xml", "application/x-ndjson"];

/** "name: value" a line. */
function headersOf(text: string): Record<string, string> {
  const all: Record<string, string> = {};
  for (const line of text.split("\n")) {
    if (!line.trim()) continue;
    const at = line.indexOf(":");
    if (at < 1) throw new Problem("A header line was not understood", `“${line}” has no name before a colon.`, "Write one header a line: name: value");
    all[line.slice(0, at).trim()] = line.slice(at + 1).trim();
  }
  return all;
}

export function Publish({ topic, published }: { topic: string; published: () => void }) {
  const address = useSignal(topic);
  const type = useSignal("application/json");
  const key = useSignal("");
  const headers = useSignal("");
  const body = useSignal("");
  const problem = useSignal<Problem | null>(null);
  const done = useSignal<{ partition: Num; offset: Num } | null>(null);
  const busy = useSignal(false);

  const message = () => {
    const h = headersOf(headers.value);
    return {
      address: address.value.trim(),
      ...(key.value && { key: key.value }),
      ...(Object.keys(h).length > 0 && { headers: h }),
      ...(type.value.trim() && { content_type: type.value.trim() }),
      body: body.value,
    };
  };

  const asCurl = () => {
    const m = message();
    const h: Record<string, string> = {};
    if (m.content_type) h["Content-Type"] = m.content_type;
    if (m.key) h["Sb-Key"] = m.key;
    for (const [k, v] of Object.entries(m.headers ?? {})) h[`Sb-Header-${k}`] = v;
    return curl("POST", url(`topics/${encodeURIComponent(m.address)}`), h, m.body);
  };

  const asCommand = () => pubCommand(message());

  async function send(e: Event) {
    e.preventDefault();
    if (busy.value) return;
    busy.value = true;
    problem.value = null;
    try {
      const r = await sendJson<{ messages: { partition: Num; offset: Num }[] }>("POST", "publish", { messages: [message()] });
      done.value = r.messages[0] ?? null;
      say("Published.");
      published();
    } catch (x) {
      done.value = null;
      problem.value = Problem.of(x);
    }
    busy.value = false;
  }

  /** A command for what the form holds; a form that is not right yet says so instead. */
  const safely = (f: () => string) => () => {
    try {
      return f();
    } catch (x) {
      problem.value = Problem.of(x);
      return "";
    }
  };

  return (
    <form class="panel publish" onSubmit={send} aria-label="Write a message">
      <div class="grid">
        <label class="field">
          <span>Address</span>
          <input class="mono" required value={address} onInput={(e) => (address.value = e.currentTarget.value)} spellcheck={false} />
        </label>
        <label class="field">
          <span>Content type</span>
          <input class="mono" list="content-types" value={type} onInput={(e) => (type.value = e.currentTarget.value)} spellcheck={false} />
          <datalist id="content-types">
            {TYPES.map((t) => (
              <option key={t} value={t} />
            ))}
          </datalist>
        </label>
        <label class="field">
          <span>Key (optional)</span>
          <input class="mono" value={key} onInput={(e) => (key.value = e.currentTarget.value)} spellcheck={false} />
        </label>
        <label class="field">
          <span>Headers, one a line (optional)</span>
          <textarea class="mono" rows={1} placeholder="name: value" value={headers} onInput={(e) => (headers.value = e.currentTarget.value)} spellcheck={false} />
        </label>
      </div>
      <label class="field">
        <span>Body</span>
        <textarea
          class="mono"
          rows={5}
          name="body"
          value={body}
          spellcheck={false}
          onInput={(e) => (body.value = e.currentTarget.value)}
          onKeyDown={(e) => (e.ctrlKey || e.metaKey) && e.key === "Enter" && void send(e)}
        />
      </label>
      <ProblemBox of={problem.value} />
      <div class="bar">
        <button type="submit" class="primary" disabled={busy.value}>
          Publish
        </button>
        {done.value && (
          <span class="good-text">
            Kept at{" "}
            <a class="mono" href={withQuery({ m: `${done.value.partition}-${done.value.offset}` })}>
              {num(done.value.partition)}-{num(done.value.offset)}
            </a>
          </span>
        )}
        <span class="grow" />
        <Copy label="Copy as curl" text={safely(asCurl)} />
        <Copy label="Copy as command" text={safely(asCommand)} />
      </div>
    </form>
  );
}
