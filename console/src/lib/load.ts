// Loads what a view shows, again every so often, and never lets an old answer overwrite a newer one.
import { useEffect, useRef, useState } from "preact/hooks";
import { apiKey, Problem } from "./api.ts";

export interface Loaded<T> {
  data: T | null;
  problem: Problem | null;
  loading: boolean;
  reload(): void;
}

/** `key` names what is loaded: a change starts anew. `every` is in milliseconds; `hold` skips a beat while it returns true. */
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>, every = 0, hold?: () => boolean): Loaded<T> {
  const [state, set] = useState<{ key: string; data: T | null; problem: Problem | null }>({ key: "", data: null, problem: null });
  const [beat, next] = useState(0);
  const latest = useRef({ load, hold });
  latest.current = { load, hold };
  const login = apiKey.value;
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const run = async (first: boolean) => {
      if (first || !(document.hidden || latest.current.hold?.())) {
        try {
          const data = await latest.current.load(abort.signal);
          if (!abort.signal.aborted) set({ key, data, problem: null });
        } catch (e) {
          if (abort.signal.aborted) return;
          const problem = Problem.of(e);
          // What was shown last stays while the server cannot answer; a refusal takes its place.
          const keep = problem.status === 0 || problem.status === 429 || problem.status >= 500;
          set((s) => ({ key, data: keep && s.key === key ? s.data : null, problem }));
        }
      }
      if (every && !abort.signal.aborted) timer = window.setTimeout(run, every, false);
    };
    void run(true);
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [key, beat, every, login]);
  const own = state.key === key;
  return { data: own ? state.data : null, problem: own ? state.problem : null, loading: !own, reload: () => next((n) => n + 1) };
}

/** The time, renewed every second, for ages. */
export function useNow(every = 1000): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const t = setInterval(() => set(Date.now()), every);
    return () => clearInterval(t);
  }, [every]);
  return now;
}
