// One group: what waits, what comes next, moving it, deleting it.
import { useSignal } from "@preact/signals";
import { getJson, Problem, say, sendJson, url } from "../lib/api.ts";
import { clock, count, num } from "../lib/format.ts";
import { useLoad } from "../lib/load.ts";
import { go, href, param, setQuery, withQuery } from "../lib/router.ts";
import type { Group, Message, Num } from "../lib/types.ts";
import { keyText, MessageDetail, place, preview } from "../ui/message.tsx";
import { Confirm, Empty, Facts, ProblemBox, Table } from "../ui/parts.tsx";

const PEEK = 20;

export function GroupPage({ topic, name }: { topic: string; name: string }) {
  const path = `topics/${encodeURIComponent(topic)}/groups/${encodeURIComponent(name)}`;
  const load = useLoad(path, (signal) => getJson<Group>(path, signal), 2000);
  const asking = useSignal(false);
  const g = load.data;
  return (
    <>
      <header class="head">
        <p class="crumb">
          <a href="#/groups">Groups</a> / <a href={href(["topics", topic])}>{topic}</a>
        </p>
        <h1 class="mono">{name}</h1>
        {g && (
          <p class="faint">
            {g.mode === "cursor" ? "remembers a position" : "hands out leases"}
            {g.lease && g.mode !== "cursor" && ` of ${g.lease}`} · {Number(g.attempts ?? 0) === 0 ? "any number of attempts" : count(g.attempts ?? 0, "attempt")}
            {g.order === "key" && " · one message of a key at a time"}
          </p>
        )}
      </header>
      <ProblemBox of={load.problem} />
      {load.loading && <p class="faint">Asking the server…</p>}
      {g && (
        <>
          <dl class="figures">
            {(
              [
                ["Depth", g.depth ?? Number(g.ready) + Number(g.leased) + Number(g.delayed)],
                ["Ready", g.ready],
                ["Leased", g.leased],
                ["Delayed", g.delayed],
                ["Acked", g.acked],
                ["Dead", g.dead],
                ["Expired", g.expired],
              ] as [string, Num | undefined][]
            )
              .filter(([, v]) => v !== undefined)
              .map(([k, v]) => (
                <div class="figure" key={k}>
                  <dt>{k}</dt>
                  <dd>
                    <span class="value">{num(v)}</span>
                  </dd>
                </div>
              ))}
          </dl>
          <div class="columns">
            <section class="panel">
              <h2>Position</h2>
              {g.position?.length ? (
                <Table label="Position" head={["Partition", ["Done up to", "n"], ["Next offset", "n"]]} class="dense">
                  {g.position.map((p) => (
                    <tr key={p.partition}>
                      <td>{num(p.partition)}</td>
                      <td class="n">{num(p.floor)}</td>
                      <td class="n">{num(p.end)}</td>
                    </tr>
                  ))}
                </Table>
              ) : (
                <p class="faint">The server names no position.</p>
              )}
              <Facts
                of={[
                  [
                    "Dead-letter topic",
                    g.dead_letter ? (
                      <a class="mono" href={href(["topics", g.dead_letter])}>
                        {g.dead_letter}
                      </a>
                    ) : (
                      "none"
                    ),
                  ],
                  ["Backoff", g.backoff],
                ]}
              />
            </section>
            <Seek of={g} path={path} moved={load.reload} />
          </div>
          <Peek path={path} />
          <section class="panel">
            <h2>Delete</h2>
            <p class="faint">The messages stay in the topic; what this group has done and not done is forgotten.</p>
            <button type="button" class="danger" onClick={() => (asking.value = true)}>
              Delete this group…
            </button>
          </section>
          {asking.value && (
            <Confirm
              close={() => (asking.value = false)}
              of={{
                title: "Delete this group?",
                effect: (
                  <p>
                    <b>{count(g.depth ?? g.ready, "waiting message")}</b> will not be delivered by it, and <b>{count(g.leased, "lease")}</b> now held by consumers end. The messages stay in the topic {topic}.
                  </p>
                ),
                word: name,
                action: "Delete the group",
                run: async () => {
                  await sendJson("DELETE", path);
                  say(`Group ${name} deleted.`);
                  go(["groups"]);
                },
              }}
            />
          )}
        </>
      )}
    </>
  );
}

/** The next messages, left where they are. */
function Peek({ path }: { path: string }) {
  const on = param("peek") === "1";
  const open = param("m");
  const list = useLoad(on ? path : "", async (signal) => (on ? getJson<{ messages: Message[] }>(url(`${path}/peek`, { limit: String(PEEK) }), signal) : { messages: [] }));
  const messages = list.data?.messages ?? [];
  const message = messages.find((m) => place(m) === open);
  return (
    <section class="panel" aria-label="Next messages">
      <div class="bar">
        <h2>Next messages</h2>
        <span class="faint">Looking takes nothing.</span>
        <span class="grow" />
        {on ? (
          <button type="button" onClick={list.reload}>
            Look again
          </button>
        ) : (
          <a class="button" role="button" href={withQuery({ peek: "1" })}>
            Look
          </a>
        )}
      </div>
      <ProblemBox of={list.problem} />
      {on && list.data && messages.length === 0 && <Empty>Nothing is ready to be delivered.</Empty>}
      {messages.length > 0 && (
        <div class={`split ${message ? "open" : ""}`}>
          <div class="rows">
            <ol aria-label="Next messages">
              {messages.map((m) => (
                <li key={place(m)} class={open === place(m) ? "row open" : "row"}>
                  <button type="button" aria-expanded={open === place(m)} onClick={() => setQuery({ m: open === place(m) ? undefined : place(m) }, true)}>
                    <span class="at">{clock(m.at)}</span>
                    <span class="pos">{place(m)}</span>
                    <span class="text">
                      {keyText(m) !== undefined && <span class="tag key-tag">{keyText(m)}</span>}
                      {preview(m)}
                    </span>
                    <span class="size">{m.attempt !== undefined ? `attempt ${m.attempt}` : ""}</span>
                  </button>
                </li>
              ))}
            </ol>
            <p class="faint">
              The next {messages.length}, at most {PEEK}.
            </p>
          </div>
          {message && <MessageDetail of={message} close={() => setQuery({ m: undefined }, true)} />}
        </div>
      )}
    </section>
  );
}

/** Moves the group: first the numbers, then the act. */
function Seek({ of: g, path, moved }: { of: Group; path: string; moved: () => void }) {
  const to = useSignal("start");
  const value = useSignal("");
  const partition = useSignal("");
  const problem = useSignal<Problem | null>(null);
  const dry = useSignal<{ skipped: Num; again: Num; request: object; words: string } | null>(null);
  const busy = useSignal(false);

  async function look(e: Event) {
    e.preventDefault();
    problem.value = null;
    busy.value = true;
    const target = to.value === "offset" ? `offset:${value.value.trim()}` : to.value === "time" ? `time:${new Date(value.value).toISOString()}` : to.value === "ago" ? `-${value.value.trim().replace(/^-/, "")}` : to.value;
    const request = { to: target, ...(partition.value !== "" && { partition: Number(partition.value) }) };
    try {
      const r = await sendJson<{ skipped: Num; again: Num }>("POST", `${path}/seek`, { ...request, dry_run: true });
      dry.value = { ...r, request, words: target };
    } catch (x) {
      problem.value = Problem.of(x);
    }
    busy.value = false;
  }

  return (
    <section class="panel">
      <h2>Move</h2>
      <form onSubmit={look}>
        <div class="bar">
          <label class="field inline">
            <span>To</span>
            <select
              value={to}
              onChange={(e) => {
                to.value = e.currentTarget.value;
                value.value = "";
              }}
            >
              <option value="start">the start</option>
              <option value="end">the end</option>
              <option value="offset">an offset</option>
              <option value="time">a time</option>
              <option value="ago">so long ago</option>
            </select>
          </label>
          {["offset", "time", "ago"].includes(to.value) && (
            <label class="field inline">
              <span>{to.value === "offset" ? "Offset" : to.value === "time" ? "Time" : "How long (30s, 10m, 1h, 7d)"}</span>
              {to.value === "time" ? (
                <input type="datetime-local" step="1" required value={value} onInput={(e) => (value.value = e.currentTarget.value)} />
              ) : (
                <input class="mono" required pattern={to.value === "offset" ? "\\d+" : "\\d+(ms|s|m|h|d)?"} value={value} onInput={(e) => (value.value = e.currentTarget.value)} />
              )}
            </label>
          )}
          {(g.position?.length ?? 0) > 1 && (
            <label class="field inline">
              <span>Partition</span>
              <select value={partition} onChange={(e) => (partition.value = e.currentTarget.value)}>
                <option value="">all</option>
                {g.position?.map((p) => (
                  <option key={p.partition} value={String(p.partition)}>
                    {num(p.partition)}
                  </option>
                ))}
              </select>
            </label>
          )}
          <button type="submit" disabled={busy.value}>
            See what it would do…
          </button>
        </div>
        <p class="faint">Nothing moves until you have seen the numbers and typed the group's name.</p>
        <ProblemBox of={problem.value} />
      </form>
      {dry.value && (
        <Confirm
          close={() => (dry.value = null)}
          of={{
            title: `Move to ${dry.value.words}?`,
            effect: [dry.value.again, dry.value.skipped, g.leased].every((n) => Number(n) === 0) ? (
              <p>Nothing would change: it is there already.</p>
            ) : (
              <ul>
                <li>
                  <b>{count(dry.value.again, "message")}</b> will be delivered again
                </li>
                <li>
                  <b>{count(dry.value.skipped, "message")}</b> will be skipped
                </li>
                <li>
                  <b>{count(g.leased, "lease")}</b> now held by consumers end
                </li>
              </ul>
            ),
            word: g.name,
            action: "Move the group",
            run: async () => {
              const r = await sendJson<{ skipped: Num; again: Num }>("POST", `${path}/seek`, dry.value?.request);
              say(`Moved: ${num(r.again)} again, ${num(r.skipped)} skipped.`);
              moved();
            },
          }}
        />
      )}
    </section>
  );
}
