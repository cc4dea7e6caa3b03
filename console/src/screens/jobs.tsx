// Jobs, newest first.
import { useRef } from "preact/hooks";
import { getJson, url } from "../lib/api.ts";
import { duration, num } from "../lib/format.ts";
import { useLoad, useNow } from "../lib/load.ts";
import { href, param, setQuery, withQuery } from "../lib/router.ts";
import type { Job, Method } from "../lib/types.ts";
import { Age, Empty, Pager, ProblemBox, Search, State, Table } from "../ui/parts.tsx";

const LIMIT = 50;
const STATES = ["", "queued", "running", "succeeded", "failed", "cancelled", "expired"];

export const finished = (j: Job) => !["queued", "running"].includes(j.state);

export function Jobs() {
  const state = param("state");
  const method = param("method");
  const after = param("after");
  const now = useNow();
  const table = useRef<HTMLDivElement>(null);
  const methods = useLoad("methods", (signal) => getJson<{ methods: Method[] }>("methods", signal));
  const list = useLoad(
    `${state}\n${method}\n${after}`,
    (signal) => getJson<{ jobs: Job[]; next?: string | null }>(url("jobs", { state, method, after, limit: String(LIMIT) }), signal),
    2000,
    () => table.current?.matches(":hover") ?? false,
  );
  const jobs = list.data?.jobs ?? [];
  const names = (methods.data?.methods ?? []).map((m) => m.method ?? m.name ?? "").filter(Boolean);
  return (
    <>
      <header class="head">
        <h1>Jobs</h1>
        <p class="faint">Newest first.</p>
      </header>
      <div class="bar">
        <nav class="tabs" aria-label="State">
          {STATES.map((s) => (
            <a key={s} class="tab" href={withQuery({ state: s, after: undefined })} aria-current={s === state ? "true" : undefined}>
              {s || "all"}
            </a>
          ))}
        </nav>
        <Search label="Method (whole name)" value={method} list={names} change={(v) => setQuery({ method: v, after: undefined })} />
      </div>
      <ProblemBox of={list.problem} />
      {list.loading && <p class="faint">Reading the list…</p>}
      {list.data && jobs.length === 0 && <Empty>{state || method ? "No job matches." : "No job has been submitted yet. POST to /{Service}/{Method} with “Prefer: respond-async” makes one."}</Empty>}
      {jobs.length > 0 && (
        <div ref={table}>
          <Table label="Jobs, newest first" head={["State", "Job", "Method", ["Attempts", "n"], "Submitted", ["Took", "n"], "Worker"]}>
            {jobs.map((j) => (
              <tr key={j.id}>
                <td>
                  <State of={j.state} />
                </td>
                <th scope="row">
                  <a class="mono id" href={href(["jobs", j.id])} title={j.id}>
                    {j.id}
                  </a>
                </th>
                <td class="mono">{j.method}</td>
                <td class="n">{num(j.attempts)}</td>
                <td>
                  <Age at={j.created} now={now} />
                </td>
                <td class="n">{j.started ? duration((j.finished ? Date.parse(j.finished) : now) - Date.parse(j.started)) : "–"}</td>
                <td class="faint">{j.worker ?? "–"}</td>
              </tr>
            ))}
          </Table>
        </div>
      )}
      {list.data && <Pager shown={jobs.length} limit={LIMIT} next={list.data.next} what={jobs.length === 1 ? "job" : "jobs"} />}
    </>
  );
}
