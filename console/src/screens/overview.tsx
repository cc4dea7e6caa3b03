// How the server is: figures, traffic, jobs, memory, listeners.
import { useComputed } from "@preact/signals";
import { bytes, count, num, rate, uptime } from "../lib/format.ts";
import { href, param, withQuery } from "../lib/router.ts";
import { samples, status, statusProblem } from "../lib/status.ts";
import type { Status } from "../lib/types.ts";
import { theme } from "../lib/theme.ts";
import { Chart, ChartTable } from "../ui/chart.tsx";
import { Empty, ProblemBox, State, Table } from "../ui/parts.tsx";

const STATES = ["queued", "running", "succeeded", "failed", "cancelled", "expired"];
const SPANS: [string, number][] = [
  ["1m", 60],
  ["5m", 300],
  ["10m", 600],
];

/** A rate under a total; while it is not known, a dash alone. */
const perSecond = (n: number | null | undefined) => (n === null || n === undefined ? "–" : `${rate(n)} a second`);

export function Overview() {
  const s = status.value;
  const now = useComputed(() => samples.value.at(-1));
  if (!s) return statusProblem.value ? <ProblemBox of={statusProblem.value} /> : <p class="faint">Asking the server…</p>;
  const table = param("view") === "table";
  const span = SPANS.find(([n]) => n === param("span")) ?? (SPANS[1] as [string, number]);
  return (
    <>
      <header class="head">
        <h1>Overview</h1>
        <p class="faint">
          Switchboard {s.version}
          {s.node && ` · node ${s.node}`}
          {s.mode && ` · ${s.mode}`} · up {uptime(s.uptime)}
        </p>
      </header>

      <dl class="figures">
        <Figure label="Connections" value={num(s.connections)} />
        <Figure label="Topics" value={num(s.topics)} to={href(["topics"])} />
        <Figure label="Groups" value={num(s.groups)} to={href(["groups"])} />
        <Figure label="Messages in" value={num(s.messages_in)} note={perSecond(now.value?.in)} tone="in" />
        <Figure label="Messages out" value={num(s.messages_out)} note={perSecond(now.value?.out)} tone="out" />
        {s.journal_bytes !== undefined && <Figure label="Journal" value={bytes(s.journal_bytes)} />}
      </dl>

      <section class="panel">
        <div class="bar">
          <h2>Messages a second</h2>
          <span class="keys-line">
            <span class="key in">in</span> <span class="key out">out</span>
          </span>
          <span class="grow" />
          <nav class="tabs" aria-label="Time range">
            {SPANS.map(([n]) => (
              <a key={n} class="tab" href={withQuery({ span: n })} aria-current={n === span[0] ? "true" : undefined}>
                {n.replace("m", " min")}
              </a>
            ))}
          </nav>
          <a class="tab" href={withQuery({ view: table ? undefined : "table" })} aria-pressed={table} role="button">
            Table
          </a>
        </div>
        {table ? <ChartTable of={samples.value} /> : <Chart of={samples.value} theme={theme.value} span={span[1]} />}
      </section>

      <div class="columns">
        <div class="stack">
          <JobsPanel of={s} />
          <Memory of={s} />
        </div>
        <Listeners of={s.listeners ?? []} />
      </div>
    </>
  );
}

function Figure({ label, value, note, to, tone }: { label: string; value: string; note?: string; to?: string; tone?: string }) {
  return (
    <div class={`figure ${tone ?? ""}`}>
      <dt>{to ? <a href={to}>{label}</a> : label}</dt>
      <dd>
        <span class="value">{value}</span>
        {note && <span class="faint">{note}</span>}
      </dd>
    </div>
  );
}

function JobsPanel({ of }: { of: Status }) {
  const jobs = of.jobs ?? {};
  const names = [...STATES.filter((n) => n in jobs), ...Object.keys(jobs).filter((n) => !STATES.includes(n))];
  const total = names.reduce((sum, n) => sum + Number(jobs[n]), 0);
  return (
    <section class="panel">
      <div class="bar">
        <h2>Jobs by state</h2>
        <span class="grow" />
        <a href={href(["jobs"])}>All jobs</a>
      </div>
      {total === 0 ? (
        <Empty>No job has been submitted yet.</Empty>
      ) : (
        <ul class="meters">
          {names.map((n) => (
            <li key={n}>
              <a href={href(["jobs"], { state: n })}>
                <State of={n} />
              </a>
              <span class={`meter s-${n}`} aria-hidden="true">
                {Number(jobs[n]) > 0 && <i style={{ inlineSize: `${(100 * Number(jobs[n])) / total}%` }} />}
              </span>
              <span class="n">{num(jobs[n])}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Memory({ of }: { of: Status }) {
  const m = of.memory;
  if (!m) return null;
  const used = Number(m.used);
  const budget = Number(m.budget);
  const share = budget > 0 ? used / budget : 0;
  return (
    <section class="panel">
      <h2>Memory</h2>
      <p>
        <span class="value">{bytes(m.used)}</span> <span class="faint">used of a budget of {bytes(m.budget)}</span>
      </p>
      <span class={`meter tall ${share > 0.9 ? "s-failed" : share > 0.75 ? "s-expired" : "s-running"}`} role="img" aria-label={`${Math.round(share * 100)} per cent used`}>
        <i style={{ inlineSize: `${Math.min(100, share * 100)}%` }} />
      </span>
      <p class="faint">{share > 0.9 ? "Nearly full: new work is refused until some is free again." : `${Math.round(share * 100)} % used`}</p>
    </section>
  );
}

function Listeners({ of }: { of: (string | Record<string, unknown>)[] }) {
  const rows = of.map((l) => {
    if (typeof l !== "string") return l;
    const [protocol, address] = l.split("://", 2);
    return address === undefined ? { listener: l } : { protocol, address };
  });
  const names = [...new Set(rows.flatMap((r) => Object.keys(r)))];
  return (
    <section class="panel">
      <div class="bar">
        <h2>Listeners</h2>
        <span class="faint">{count(rows.length, "listener")}</span>
      </div>
      {rows.length === 0 ? (
        <Empty>The server names none.</Empty>
      ) : (
        <Table label="Listeners" head={names.map((n) => n.replaceAll("_", " "))} class="dense">
          {rows.map((r) => (
            <tr key={JSON.stringify(r)}>
              {names.map((n) => (
                <td key={n} class="mono">
                  {String((r as Record<string, unknown>)[n] ?? "–")}
                </td>
              ))}
            </tr>
          ))}
        </Table>
      )}
    </section>
  );
}
