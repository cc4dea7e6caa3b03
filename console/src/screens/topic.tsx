// One topic: its messages as they come, its groups, its policy.
import { useSignal } from "@preact/signals";
import { getJson, say, sendJson, url } from "../lib/api.ts";
import { bytes, clock, count, num } from "../lib/format.ts";
import { useLoad } from "../lib/load.ts";
import { go, param, withQuery } from "../lib/router.ts";
import type { Group, Topic } from "../lib/types.ts";
import { Confirm, Empty, Facts, ProblemBox, Table } from "../ui/parts.tsx";
import { GroupRows, GROUP_HEAD } from "./groups.tsx";
import { Publish } from "./publish.tsx";
import { Tail } from "./tail.tsx";

export function TopicPage({ name }: { name: string }) {
  const path = `topics/${encodeURIComponent(name)}`;
  const info = useLoad(name, (signal) => getJson<Topic>(`${path}/info`, signal), 3000);
  const tab = param("tab", "messages");
  const t = info.data;
  const link = (id: string, label: string) => (
    <a class="tab" href={withQuery({ tab: id === "messages" ? undefined : id, write: undefined })} aria-current={tab === id ? "page" : undefined}>
      {label}
    </a>
  );
  return (
    <>
      <header class="head">
        <p class="crumb">
          <a href="#/topics">Topics</a>
        </p>
        <h1 class="mono">{name}</h1>
        {t && (
          <p class="faint">
            {count(t.messages, "message")} · {bytes((t.partition ?? []).reduce((s, p) => s + Number(p.bytes), 0))} kept · {count(t.partitions ?? 1, "partition")} · {count(t.groups, "group")}
            {t.memory && " · in memory only"}
          </p>
        )}
      </header>
      <nav class="tabs main-tabs" aria-label="Parts of this topic">
        {link("messages", "Messages")}
        {link("groups", "Groups")}
        {link("policy", "Policy and partitions")}
        <span class="grow" />
        <a class="button" data-key="w" role="button" aria-expanded={param("write") === "1"} href={withQuery({ tab: undefined, write: param("write") === "1" ? undefined : "1" })}>
          Write a message
        </a>
      </nav>
      <ProblemBox of={info.problem?.status === 404 ? null : info.problem} />
      {info.problem?.status === 404 && <div class="note">This topic does not exist yet. The first message makes it; the tail below waits for it.</div>}
      {tab === "messages" && (
        <>
          {param("write") === "1" && <Publish topic={name} published={info.reload} />}
          <Tail topic={name} partitions={t?.partition ?? []} />
        </>
      )}
      {tab === "groups" && <TopicGroups topic={name} />}
      {tab === "policy" && t && <PolicyView of={t} path={path} />}
    </>
  );
}

function TopicGroups({ topic }: { topic: string }) {
  const limit = 100;
  const list = useLoad(topic, (signal) => getJson<{ groups: Group[]; next?: string | null }>(url("groups", { topic, limit: String(limit) }), signal), 2000);
  const groups = list.data?.groups ?? [];
  return (
    <section aria-label="Groups of this topic">
      <ProblemBox of={list.problem} />
      {list.loading && <p class="faint">Reading the list…</p>}
      {list.data && groups.length === 0 && <Empty>No group consumes this topic. Readers need none: they leave nothing behind.</Empty>}
      {groups.length > 0 && (
        <Table label="Groups" head={GROUP_HEAD.slice(1)}>
          <GroupRows of={groups} />
        </Table>
      )}
      {list.data?.next && (
        <p class="faint">
          The first {limit}. <a href={`#/groups?topic=${encodeURIComponent(topic)}`}>All of them</a>
        </p>
      )}
    </section>
  );
}

function PolicyView({ of: t, path }: { of: Topic; path: string }) {
  const asking = useSignal(false);
  const kept = (t.partition ?? []).reduce((s, p) => s + Number(p.bytes), 0);
  const unlimited = !t.keep_age && !t.keep_bytes && !t.keep_until_consumed;
  return (
    <>
      <section class="panel">
        <h2>Policy</h2>
        <Facts
          of={[
            ["Keeps", unlimited ? "everything" : [t.keep_age, t.keep_bytes && bytes(t.keep_bytes), t.keep_until_consumed && "until consumed"].filter(Boolean).join(", ")],
            ["Largest message", t.max_message ? bytes(t.max_message) : undefined],
            ["Stored", t.memory ? "in memory only" : "on disk"],
            ["Claims", t.claims?.length ? <span class="mono">{t.claims.join("  ")}</span> : "its own name only"],
            ["Created", t.created && clock(t.created)],
          ]}
        />
      </section>
      <section class="panel">
        <h2>Partitions</h2>
        <Table label="Partitions" head={["Partition", ["First kept offset", "n"], ["Next offset", "n"], ["Kept", "n"]]} class="dense">
          {(t.partition ?? []).map((p) => (
            <tr key={p.partition}>
              <td>{num(p.partition)}</td>
              <td class="n">{num(p.start)}</td>
              <td class="n">{num(p.end)}</td>
              <td class="n">{bytes(p.bytes)}</td>
            </tr>
          ))}
        </Table>
      </section>
      <section class="panel">
        <h2>Delete</h2>
        <p class="faint">Deletes the topic with its messages and its groups.</p>
        <button type="button" class="danger" onClick={() => (asking.value = true)}>
          Delete this topic…
        </button>
      </section>
      {asking.value && (
        <Confirm
          close={() => (asking.value = false)}
          of={{
            title: "Delete this topic?",
            effect: (
              <p>
                Deletes <b>{count(t.messages, "message")}</b> ({bytes(kept)}) in {count(t.partitions ?? 1, "partition")} and <b>{count(t.groups, "group")}</b>. This cannot be undone.
              </p>
            ),
            word: t.name,
            action: "Delete the topic",
            run: async () => {
              await sendJson("DELETE", path);
              say(`Topic ${t.name} deleted.`);
              go(["topics"]);
            },
          }}
        />
      )}
    </>
  );
}
