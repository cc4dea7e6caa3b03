// Server-Sent Events with what EventSource leaves out: tokens, the reason of a refusal, and coming back where it was.
import { apiKey, ask, lostSince, Problem, sendJson, url } from "./api.ts";
import { poke } from "./status.ts";

export type FollowState = "connecting" | "live" | "reconnecting" | "ended";

export interface Following {
  /** Names of the events wanted. */
  names: string[];
  /** What a token has to allow, when one is needed. */
  grants: Record<string, string[]>;
  event(name: string, data: string): void;
  state(s: FollowState): void;
  problem(p: Problem): void;
}

/**
 * Follows `path`; returns the function that stops it. When the connection has to be opened anew, `resume` tells how:
 * topics take the last cursor as `after`, jobs start again from the first event and the caller drops what it has.
 */
export function follow(path: string, query: Record<string, string | undefined>, resume: "after" | "again", to: Following): () => void {
  let source: EventSource | null = null;
  let stopped = false;
  let last = "";
  let pause = 500;
  let timer = 0;
  const abort = new AbortController();

  const stop = () => {
    stopped = true;
    abort.abort();
    clearTimeout(timer);
    source?.close();
  };

  async function open() {
    if (stopped) return;
    const target = last && resume === "after" ? url(path, { envelope: query.envelope, partition: query.partition, after: last }) : url(path, query);
    // A bare `?envelope` is meant; URLSearchParams writes `envelope=`, which says the same.
    if (query.envelope) target.searchParams.set("envelope", "");
    const refusal = new URL(target);
    if (apiKey.value) {
      try {
        const { token } = await sendJson<{ token: string }>("POST", "tokens", { grants: to.grants, ttl: "10m" });
        target.searchParams.set("token", token);
      } catch (e) {
        return failed(Problem.of(e));
      }
      if (stopped) return;
    }
    const es = new EventSource(target);
    source = es;
    es.onopen = () => {
      pause = 500;
      to.state("live");
    };
    const take = (e: MessageEvent) => {
      if (e.lastEventId) last = e.lastEventId;
      if (e.type === "end") {
        es.close();
        if (resume === "again") {
          stopped = true;
          to.event("end", String(e.data));
          to.state("ended");
        } else {
          // The server drains: come back, to it or to its successor.
          again();
        }
      } else if (e.type === "reset") {
        stop();
        to.problem(Problem.from(String(e.data), 410, "Position gone"));
        to.state("ended");
      } else to.event(e.type, String(e.data));
    };
    for (const name of [...to.names, "end", "reset"]) if (name !== "error") es.addEventListener(name, take);
    // An event named "error" and the failure of the connection arrive at the same place; only the first carries data.
    es.addEventListener("error", (e) => {
      if (e instanceof MessageEvent) return take(e);
      if (stopped) return;
      to.state("reconnecting");
      poke();
      if (es.readyState === EventSource.CLOSED) void refused(refusal);
    });
  }

  function again() {
    if (stopped) return;
    to.state("reconnecting");
    timer = window.setTimeout(open, pause);
    pause = Math.min(pause * 2, 10_000);
  }

  /** EventSource does not tell why it gave up: ask once more, plainly. */
  async function refused(at: URL) {
    try {
      const look = new AbortController();
      abort.signal.addEventListener("abort", () => look.abort());
      await ask("GET", at, { headers: { Accept: "text/event-stream" }, signal: look.signal });
      look.abort();
      again();
    } catch (e) {
      if (!stopped) failed(Problem.of(e));
    }
  }

  function failed(p: Problem) {
    if (stopped) return;
    if (p.status === 0 || p.status === 429 || p.status >= 500 || lostSince.value) return again();
    stop();
    to.state("ended");
    to.problem(p);
  }

  to.state("connecting");
  void open();
  return stop;
}
