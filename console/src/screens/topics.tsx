// All topics, a page at a time; the server filters by prefix.
import { useRef } from "preact/hooks";
import { getJson, url } from "../lib/api.ts";
import { bytes, num } from "../lib/format.ts";
import { useLoad, useNow } from "../lib/load.ts";
import { href, param, setQuery } from "../lib/router.ts";
import type { Topic } from "../lib/types.ts";
import { Age, Copy, Empty, Pager, ProblemBox, Search, Table } from "../ui/parts.tsx";
import { curl, root } from "../lib/api.ts";

const LIMIT = 50;

export function Topics() {
  const prefix = param("prefix");
  const after = param("after");
  const now = useNow(5000);
  const table = useRef<HTMLDivElement>(null);
  const list = useLoad(
    `${prefix}\n${after}`,
    (signal) => getJson<{ topics: Topic[]; next?: string | null }>(url("topics", { prefix, after, limit: String(LIMIT) }), signal),
    5000,
    () => table.current?.matches(":hover") ?? false,
  );
  const topics = list.data?.topics ?? [];
  return (
    <>
      <header class="head">
        <h1>Topics</h1>
      </header>
      <div class="bar">
        <Search label="Name begins with" value={prefix} change={(v) => setQuery({ prefix: v, after: undefined })} />
      </div>
      <ProblemBox of={list.problem} />
      {list.loading && <p class="faint">Reading the list…</p>}
      {list.data && topics.length === 0 && (
        <Empty>
          {prefix || after ? (
            <p>No topic begins with “{prefix}”{after && " on this page"}.</p>
          ) : (
            <>
              <p>There is no topic yet. The first message makes one:</p>
              <pre class="wrap">{curl("POST", new URL("topics/hello", root), {}, "hi")}</pre>
              <Copy label="Copy as curl" text={() => curl("POST", new URL("topics/hello", root), {}, "hi")} />
            </>
          )}
        </Empty>
      )}
      {topics.length > 0 && (
        <div ref={table}>
          <Table label="Topics" head={["Name", ["Messages", "n"], ["Kept", "n"], ["Partitions", "n"], ["Groups", "n"], "Created"]}>
            {topics.map((t) => (
              <tr key={t.name}>
                <th scope="row">
                  <a class="mono" href={href(["topics", t.name])}>
                    {t.name}
                  </a>
                  {t.memory && <span class="tag">memory</span>}
                </th>
                <td class="n">{num(t.messages)}</td>
                <td class="n">{t.partition ? bytes(t.partition.reduce((s, p) => s + Number(p.bytes), 0)) : "–"}</td>
                <td class="n">{num(t.partitions ?? t.partition?.length)}</td>
                <td class="n">{num(t.groups)}</td>
                <td class="faint">
                  <Age at={t.created} now={now} />
                </td>
              </tr>
            ))}
          </Table>
        </div>
      )}
      {list.data && <Pager shown={topics.length} limit={LIMIT} next={list.data.next} what={topics.length === 1 ? "topic" : "topics"} />}
    </>
  );
}
