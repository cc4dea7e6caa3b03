// All groups, a page at a time.
import { useRef } from "preact/hooks";
import { getJson, url } from "../lib/api.ts";
import { num } from "../lib/format.ts";
import { useLoad } from "../lib/load.ts";
import { href, param, setQuery } from "../lib/router.ts";
import type { Group } from "../lib/types.ts";
import { Empty, Pager, ProblemBox, Search, Table } from "../ui/parts.tsx";

const LIMIT = 50;

export const GROUP_HEAD: (string | [string, string])[] = [
  "Topic",
  "Group",
  "Mode",
  ["Ready", "n"],
  ["Leased", "n"],
  ["Delayed", "n"],
  ["Acked", "n"],
  ["Dead", "n"],
];

/** `topic` says whether the rows begin with the topic's name. */
export function GroupRows({ of, topic = false }: { of: Group[]; topic?: boolean }) {
  return (
    <>
      {of.map((g) => (
        <tr key={`${g.topic}/${g.name}`}>
          {topic && (
            <td>
              <a class="mono plain" href={href(["topics", g.topic])}>
                {g.topic}
              </a>
            </td>
          )}
          <th scope="row">
            <a class="mono" href={href(["groups", g.topic, g.name])}>
              {g.name}
            </a>
          </th>
          <td class="faint">{g.mode ?? "queue"}</td>
          <td class="n">{num(g.ready)}</td>
          <td class="n">{num(g.leased)}</td>
          <td class="n">{num(g.delayed)}</td>
          <td class="n">{num(g.acked)}</td>
          <td class={Number(g.dead) > 0 ? "n bad-text" : "n"}>{num(g.dead)}</td>
        </tr>
      ))}
    </>
  );
}

export function Groups() {
  const topic = param("topic");
  const after = param("after");
  const table = useRef<HTMLDivElement>(null);
  const list = useLoad(
    `${topic}\n${after}`,
    (signal) => getJson<{ groups: Group[]; next?: string | null }>(url("groups", { topic, after, limit: String(LIMIT) }), signal),
    3000,
    () => table.current?.matches(":hover") ?? false,
  );
  const groups = list.data?.groups ?? [];
  return (
    <>
      <header class="head">
        <h1>Groups</h1>
        <p class="faint">Named consumers. Readers without a group leave nothing behind and are not listed.</p>
      </header>
      <div class="bar">
        <Search label="Of the topic (whole name)" value={topic} change={(v) => setQuery({ topic: v, after: undefined })} />
      </div>
      <ProblemBox of={list.problem} />
      {list.loading && <p class="faint">Reading the list…</p>}
      {list.data && groups.length === 0 && <Empty>{topic ? `No group consumes a topic named “${topic}”.` : "There is no group yet. Make one with PUT /topics/{topic}/groups/{group}."}</Empty>}
      {groups.length > 0 && (
        <div ref={table}>
          <Table label="Groups" head={GROUP_HEAD}>
            <GroupRows of={groups} topic />
          </Table>
        </div>
      )}
      {list.data && <Pager shown={groups.length} limit={LIMIT} next={list.data.next} what={groups.length === 1 ? "group" : "groups"} />}
    </>
  );
}
