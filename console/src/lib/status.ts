// /status every two seconds: the figures of the overview, and the first to notice that the server is gone.
import { signal } from "@preact/signals";
import { apiKey, getJson, loginWanted, Problem } from "./api.ts";
import type { Status } from "./types.ts";

const EVERY = 2000;
const KEPT = 300;

export interface Sample {
  /** Unix seconds. */
  at: number;
  /** Messages a second; null where nothing is known (no answer, a restart, a sleeping tab). */
  in: number | null;
  out: number | null;
}

export const status = signal<Status | null>(null);
export const statusProblem = signal<Problem | null>(null);
export const samples = signal<Sample[]>([]);

let before: { at: number; status: Status } | null = null;
let timer = 0;
let busy = false;

function record(s: Sample) {
  samples.value = [...samples.value.slice(1 - KEPT), s];
}

async function look() {
  if (busy) return;
  busy = true;
  clearTimeout(timer);
  try {
    if (!loginWanted.value) {
      const s = await getJson<Status>("status", undefined, 5000);
      const at = Date.now() / 1000;
      const seconds = before ? at - before.at : 0;
      const step = (k: "messages_in" | "messages_out") => (before ? Number(s[k]) - Number(before.status[k]) : -1);
      const known = seconds > 0.2 && seconds < (EVERY / 1000) * 3 && step("messages_in") >= 0 && step("messages_out") >= 0;
      if (!before || seconds > 0.2) {
        record({ at, in: known ? step("messages_in") / seconds : null, out: known ? step("messages_out") / seconds : null });
        before = { at, status: s };
      }
      status.value = s;
      statusProblem.value = null;
    }
  } catch (e) {
    before = null;
    statusProblem.value = Problem.of(e);
    record({ at: Date.now() / 1000, in: null, out: null });
  } finally {
    busy = false;
    timer = window.setTimeout(look, EVERY);
  }
}

/** Looks now instead of at the next beat. */
export function poke(): void {
  void look();
}

export function startStatus(): void {
  apiKey.subscribe(() => {
    poke();
  });
}
