// Where the time of a job went: waiting, and each attempt. Long waits are folded, and marked as folded.
import { clock, duration } from "../lib/format.ts";
import type { Job, JobEvent, Num } from "../lib/types.ts";

interface Span {
  label: string;
  tone: string;
  from: number;
  to: number;
  open: boolean;
}

/** Spans shown at most; a job may have been tried thousands of times. */
const ROWS = 100;

/** Reads the spans off the changes of state; without them, off the job's own times. */
export function spansOf(job: Job, events: JobEvent[], now: number): Span[] {
  const at = (iso: string) => Date.parse(iso);
  const end = job.finished ? at(job.finished) : now || at(events.at(-1)?.at ?? job.created);
  const spans: Span[] = [];
  const changes: { state: string; at: number; attempt?: Num }[] = events.map((e) => ({ state: e.state ?? "", at: at(e.at), attempt: e.attempt }));
  if (changes.length === 0 && job.started) changes.push({ state: "running", at: at(job.started), attempt: job.attempts });
  let state = "queued";
  let since = at(job.created);
  let attempt: Num = 0;
  const close = (to: number, how: string, open = false) => {
    if (state === "running") spans.push({ label: `attempt ${attempt}`, tone: how, from: since, to, open });
    else if (state === "queued" && (to - since > 0 || open)) spans.push({ label: "waited", tone: "queued", from: since, to, open });
  };
  for (const c of changes) {
    if (c.state === state && c.state === "queued") continue;
    close(c.at, c.state === "queued" ? "failed" : c.state === "running" ? "failed" : c.state);
    if (c.state === "running") attempt = c.attempt ?? Number(attempt) + 1;
    state = c.state;
    since = c.at;
  }
  if (state === "running" || state === "queued") close(Math.max(end, since), job.finished ? job.state : "running", !job.finished);
  return spans;
}

export function Timeline({ job, events, now }: { job: Job; events: JobEvent[]; now: number }) {
  const all = spansOf(job, events, now);
  const spans = all.slice(-ROWS);
  if (spans.length === 0) return <p class="faint">Nothing has happened yet.</p>;
  // A wait longer than three quarters of the whole would leave no room for what ran: it gets as much as all the rest.
  const total = spans.reduce((s, x) => s + x.to - x.from, 0) || 1;
  const length = (s: Span) => s.to - s.from;
  const folded = (s: Span) => s.tone === "queued" && length(s) > total * 0.75 && total - length(s) > 0;
  const width = (s: Span) => (folded(s) ? total - length(s) : length(s));
  const shown = spans.reduce((sum, s) => sum + width(s), 0) || 1;
  let left = 0;
  return (
    <>
      <ol class="timeline">
        {spans.map((s) => {
          const begin = left;
          left += width(s);
          return (
            <li key={`${s.from} ${s.label}`}>
              <span class="label">{s.label}</span>
              <span class="lane" aria-hidden="true">
                <i class={`span s-${s.tone}${folded(s) ? " folded" : ""}${s.open ? " open" : ""}`} style={{ insetInlineStart: `${(100 * begin) / shown}%`, inlineSize: `${(100 * width(s)) / shown}%` }} />
              </span>
              <span class="took" title={`${clock(new Date(s.from).toISOString())} to ${clock(new Date(s.to).toISOString())}`}>
                {duration(length(s))}
                {s.open && " so far"}
                {s.label !== "waited" && !s.open && <span class={s.tone === "succeeded" ? "good-text" : s.tone === "failed" ? "bad-text" : "faint"}> {s.tone}</span>}
              </span>
            </li>
          );
        })}
      </ol>
      {spans.some(folded) && <p class="faint">A long wait is folded (hatched); its true length is written beside it.</p>}
      {all.length > ROWS && <p class="faint">The newest {ROWS} of {all.length} spans.</p>}
    </>
  );
}
