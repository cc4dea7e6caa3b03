// One job: what happened when, what it said, what came of it.
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ask, curl, getJson, parse, Problem, say, sendJson, url } from "../lib/api.ts";
import { jobCommand } from "../lib/command.ts";
import { follow, type FollowState } from "../lib/follow.ts";
import { bytes, clock, count, duration, num, textOf } from "../lib/format.ts";
import { useLoad, useNow } from "../lib/load.ts";
import { go, href, param, withQuery } from "../lib/router.ts";
import type { Job, JobEvent } from "../lib/types.ts";
import { BodyView } from "../ui/message.tsx";
import { Age, Clock, Confirm, Copy, Dialog, Empty, Facts, ProblemBox, State } from "../ui/parts.tsx";
import { finished } from "./jobs.tsx";
import { Timeline } from "./timeline.tsx";

/** Log lines kept in the view. */
const LINES = 2000;

export function JobPage({ id }: { id: string }) {
  const path = `jobs/${encodeURIComponent(id)}`;
  const load = useLoad(id, (signal) => getJson<Job>(path, signal));
  const states = useSignal<JobEvent[]>([]);
  const lines = useSignal<JobEvent[]>([]);
  const dropped = useSignal(0);
  const following = useSignal<FollowState>("connecting");
  const problem = useSignal<Problem | null>(null);
  const cancelling = useSignal(false);
  const rerunning = useSignal(false);
  const reload = useRef(load.reload);
  reload.current = load.reload;

  const kept = useRef<Job | null>(null);
  if (load.data) kept.current = load.data;
  const j = kept.current;
  const known = j !== null;

  useEffect(() => {
    let log: JobEvent[] = [];
    let marks: JobEvent[] = [];
    let lost = 0;
    let seen = 0;
    let changed = false;
    let stale = false;
    let said = 0;
    lines.value = [];
    states.value = [];
    problem.value = null;
    // What does not exist is said once, by the request for the job itself.
    if (!known) return;
    const stop = follow(path, {}, "again", {
      names: ["state", "progress", "log", "result", "error"],
      grants: { jobs: [id] },
      state: (s) => {
        following.value = s;
      },
      problem: (p) => {
        problem.value = p;
      },
      event: (name, data) => {
        stale ||= name !== "log";
        if (name === "end") return;
        let e: JobEvent;
        try {
          e = parse<JobEvent>(data);
        } catch {
          return;
        }
        // A connection that had to be opened anew begins again at the first event.
        if (Number(e.seq) <= seen) return;
        seen = Number(e.seq);
        changed = true;
        if (e.type === "log") {
          log.push(e);
          if (log.length > LINES * 2) {
            lost += log.length - LINES;
            log = log.slice(-LINES);
          }
        } else if (e.type === "state") marks = [...marks, e];
      },
    });
    const beat = setInterval(() => {
      if (changed) {
        lines.value = log.slice(-LINES);
        dropped.value = lost + Math.max(0, log.length - LINES);
        states.value = marks;
        if (log.length + lost > said && Date.now() % 5000 < 250) {
          say(`${count(log.length + lost - said, "new log line")}.`);
          said = log.length + lost;
        }
      }
      if (stale) reload.current();
      changed = false;
      stale = false;
    }, 200);
    return () => {
      stop();
      clearInterval(beat);
    };
  }, [id, known]);

  const done = j ? finished(j) : false;
  const now = useNow();

  const spoken = useRef("");
  useEffect(() => {
    if (j && spoken.current && spoken.current !== j.state) say(`The job is ${j.state}.`);
    if (j) spoken.current = j.state;
  }, [j?.state]);

  return (
    <>
      <header class="head">
        <p class="crumb">
          <a href="#/jobs">Jobs</a>
        </p>
        <h1 class="mono break">{j?.method ?? id}</h1>
        {j && (
          <p class="faint">
            <State of={j.state} /> submitted <Age at={j.created} now={now} /> · {count(j.attempts, "attempt")}
            {j.cancel_requested && !done && " · asked to stop"}
          </p>
        )}
      </header>
      {!j && <ProblemBox of={load.problem} />}
      {j && <ProblemBox of={problem.value} />}
      {!j && load.loading && <p class="faint">Asking the server…</p>}
      {j && (
        <>
          <div class="bar">
            <button type="button" disabled={done || j.cancel_requested} onClick={() => (cancelling.value = true)}>
              Cancel…
            </button>
            <button type="button" onClick={() => (rerunning.value = true)}>
              Run again…
            </button>
            <span class="grow" />
            <Copy label="Copy as curl" text={() => curl("GET", url(path), { Accept: "text/event-stream" }, undefined, ["-N"])} />
            <Copy label="Copy as command" text={() => jobCommand("logs", id)} />
            <Copy label="Copy id" text={() => id} />
          </div>
          <section class="panel">
            <Facts
              of={[
                ["Job", <span class="mono break">{j.id}</span>],
                ["Worker", j.worker],
                ["Started", j.started && <Clock at={j.started} />],
                ["Finished", j.finished && <Clock at={j.finished} />],
                ["Deadline", j.deadline && <Clock at={j.deadline} />],
                ["Took", j.started ? duration((j.finished ? Date.parse(j.finished) : now) - Date.parse(j.started)) : undefined],
                ["Runs again", j.rerun_of && <a class="mono break" href={href(["jobs", j.rerun_of])}>{j.rerun_of}</a>],
              ]}
            />
            {j.progress !== undefined && j.progress !== null && <Progress of={j.progress} />}
          </section>
          <section class="panel">
            <h2>Timeline</h2>
            <Timeline job={j} events={states.value} now={done ? 0 : now} />
          </section>
          {j.error && (
            <section class="panel">
              <h2>Error</h2>
              <div class="problem">
                <strong class="mono">{j.error.code ?? "failed"}</strong>
                <p class="pre">{j.error.message}</p>
                {j.error.details?.map((detail) => <pre class="mono">{JSON.stringify(detail, null, 2)}</pre>)}
                <p class="fix">{j.error.retryable ? "The worker says that trying again may help." : "The worker says that trying again would not help."}</p>
              </div>
            </section>
          )}
          {j.result && (
            <section class="panel" aria-label="Result">
              <h2>Result</h2>
              <BodyView of={j.result} />
            </section>
          )}
          <Log lines={lines.value} dropped={dropped.value} state={following.value} start={j.created} />
          {cancelling.value && (
            <Confirm
              close={() => (cancelling.value = false)}
              of={{
                title: "Cancel this job?",
                effect: <p>{j.state === "queued" ? "It has not begun, and never will: it is cancelled at once." : `Attempt ${num(j.attempts)} is running. Its worker is asked to stop; it may still finish first.`}</p>,
                action: "Cancel the job",
                run: async () => {
                  await sendJson("DELETE", path);
                  say("Cancel requested.");
                  load.reload();
                },
              }}
            />
          )}
          {rerunning.value && <Rerun of={j} close={() => (rerunning.value = false)} />}
        </>
      )}
    </>
  );
}

/** Progress is any JSON; what looks like a share is drawn as one. */
function Progress({ of }: { of: unknown }) {
  let share: number | null = null;
  if (typeof of === "number") share = of <= 1 ? of : of / 100;
  else if (typeof of === "object" && of !== null) {
    const p = of as Record<string, unknown>;
    const done = p.done ?? p.current ?? p.completed;
    if (typeof p.percent === "number") share = p.percent / 100;
    else if (typeof done === "number" && typeof p.total === "number" && p.total > 0) share = done / p.total;
  }
  const known = share !== null && share >= 0 && share <= 1;
  return (
    <div class="progress">
      {known && <progress max={1} value={share ?? 0} aria-label="Progress" />}
      {known && <b>{Math.round((share ?? 0) * 100)} %</b>}
      <code class="faint">{JSON.stringify(of)}</code>
    </div>
  );
}

function Log({ lines, dropped, state, start }: { lines: JobEvent[]; dropped: number; state: FollowState; start: string }) {
  const box = useRef<HTMLDivElement>(null);
  const stick = useRef(true);
  const order = param("times");
  useEffect(() => {
    const b = box.current;
    if (b && stick.current) b.scrollTop = b.scrollHeight;
  }, [lines]);
  const text = () => lines.map((l) => `${l.at} ${l.stream ?? ""} ${l.text ?? ""}`).join("\n");
  return (
    <section class="panel" aria-label="Log">
      <div class="bar">
        <h2>Log</h2>
        <State of={state} />
        <span class="faint">{count(lines.length + dropped, "line")}</span>
        <span class="grow" />
        <a class="tab" role="button" aria-pressed={order === "clock"} href={withQuery({ times: order === "clock" ? undefined : "clock" })}>
          Time of day
        </a>
        {lines.length > 0 && <Copy label="Copy log" text={text} />}
      </div>
      {dropped > 0 && (
        <p class="note">
          The newest {LINES} lines are kept here; {count(dropped, "older line")} left out. All of them: <span class="mono">GET /jobs/ID/events</span>
        </p>
      )}
      {lines.length === 0 ? (
        <Empty>{state === "ended" ? "The job wrote no log." : "Nothing logged yet."}</Empty>
      ) : (
        <div
          class="log"
          ref={box}
          tabIndex={0}
          role="log"
          aria-live="off"
          aria-label="Log lines"
          onScroll={(e) => {
            const b = e.currentTarget;
            stick.current = b.scrollHeight - b.scrollTop - b.clientHeight < 24;
          }}
        >
          {lines.map((l) => (
            <div key={l.seq} class={l.stream === "stderr" ? "line err" : "line"}>
              <time title={l.at}>{order === "clock" ? clock(l.at) : `+${duration(Date.parse(l.at) - Date.parse(start))}`}</time>
              <span class="which">{l.stream === "stderr" ? "err" : l.stream === "stdout" || !l.stream ? "out" : l.stream}</span>
              <span class="text">{(l.text ?? "").replace(/\n$/, "")}</span>
            </div>
          ))}
        </div>
      )}
    </section>
  );
}

/** A new job with the same input, or with this one edited. */
function Rerun({ of: j, close }: { of: Job; close: () => void }) {
  const path = `jobs/${encodeURIComponent(j.id)}`;
  const input = useLoad(path, async (signal) => {
    const response = await ask("GET", `${path}/input`, { signal });
    const data = new Uint8Array(await response.arrayBuffer());
    return { text: textOf(data), size: data.length, type: response.headers.get("Content-Type") };
  });
  const edited = useSignal<string | null>(null);
  const problem = useSignal<Problem | null>(null);
  const busy = useSignal(false);
  const was = input.data;
  const changed = edited.value !== null && edited.value !== was?.text;
  return (
    <Dialog title="Run again" close={close}>
      <form
        onSubmit={async (e) => {
          e.preventDefault();
          busy.value = true;
          try {
            const response = await ask("POST", `${path}/rerun`, changed ? { body: edited.value ?? "", headers: was?.type ? { "Content-Type": was.type } : {} } : {});
            const made = parse<Job>(await response.text());
            say("A new job has begun.");
            close();
            go(["jobs", made.id]);
          } catch (x) {
            problem.value = Problem.of(x);
          }
          busy.value = false;
        }}
      >
        <p>
          Makes <b>1 new job</b> of <span class="mono break">{j.method}</span>. This one stays as it is.
        </p>
        <ProblemBox of={input.problem} />
        {was &&
          (was.text === null ? (
            <p class="note">The input is {bytes(was.size)} that are not UTF-8, so it cannot be edited here. It is sent again as it was.</p>
          ) : (
            <label class="field">
              <span>
                Input ({was.type ?? "no content type"}, {bytes(was.size)}){changed && " – edited"}
              </span>
              <textarea class="mono" rows={10} spellcheck={false} defaultValue={was.text} onInput={(e) => (edited.value = e.currentTarget.value)} />
            </label>
          ))}
        <ProblemBox of={problem.value} />
        <p class="actions">
          <button type="button" onClick={close}>
            Close
          </button>
          <button type="submit" class="primary" disabled={busy.value || !was}>
            {changed ? "Run with the edited input" : "Run with the same input"}
          </button>
        </p>
      </form>
    </Dialog>
  );
}
