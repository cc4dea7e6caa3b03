// Services that can be called here: what they offer, how they fare, and a form to try them. Loaded when it is first opened.
import { useSignal } from "@preact/signals";
import { ask, curl, Problem, root, say, sendJson, url } from "../lib/api.ts";
import { num } from "../lib/format.ts";
import { useLoad } from "../lib/load.ts";
import { href } from "../lib/router.ts";
import { Copy, Empty, Facts, ProblemBox, Table } from "../ui/parts.tsx";

/** switchboard.v1.ServiceMethod as ProtoJSON. */
interface Method {
  name: string;
  path: string;
  input: string;
  output: string;
  clientStreaming?: boolean;
  serverStreaming?: boolean;
  noSideEffects?: boolean;
  deprecated?: boolean;
  comment?: string;
  bindings?: { httpMethod: string; path: string }[];
  counts?: { running?: string; succeeded?: string; failed?: { code: string; count: string }[]; p50?: string; p99?: string };
}

/** switchboard.v1.Service as ProtoJSON. */
interface Service {
  name: string;
  target?: string;
  healthy?: boolean;
  healthDetail?: string;
  timeout?: string;
  protocols?: string[];
  comment?: string;
  file?: string;
  methods?: Method[];
}

const failed = (m: Method) => (m.counts?.failed ?? []).reduce((sum, f) => sum + Number(f.count), 0);
const succeeded = (m: Method) => Number(m.counts?.succeeded ?? 0);

function Health({ of }: { of: Service }) {
  return of.healthy ? <span class="tag">well</span> : <span class="tag bad">{of.healthDetail || "not well"}</span>;
}

export function Services() {
  const list = useLoad("services", () => sendJson<{ services?: Service[] }>("POST", url("switchboard.v1.Services/List"), {}), 5000);
  const services = list.data?.services ?? [];
  return (
    <>
      <header class="head">
        <h1>Services</h1>
      </header>
      <ProblemBox of={list.problem} />
      {list.loading && <p class="faint">Reading the list…</p>}
      {list.data && services.length === 0 && (
        <Empty>
          <p>No service can be called by you. Put one in front of this server's users:</p>
          <pre class="wrap">switchboard expose localhost:50051</pre>
        </Empty>
      )}
      {services.length > 0 && (
        <Table label="Services" head={["Name", "Calls go to", "State", ["Methods", "n"], ["Succeeded", "n"], ["Failed", "n"]]}>
          {services.map((s) => (
            <tr key={s.name}>
              <th scope="row">
                <a class="mono" href={href(["services", s.name])}>
                  {s.name}
                </a>
              </th>
              <td class="mono">{s.target || "–"}</td>
              <td>
                <Health of={s} />
              </td>
              <td class="n">{num(s.methods?.length ?? 0)}</td>
              <td class="n">{num((s.methods ?? []).reduce((n, m) => n + succeeded(m), 0))}</td>
              <td class="n">{num((s.methods ?? []).reduce((n, m) => n + failed(m), 0))}</td>
            </tr>
          ))}
        </Table>
      )}
    </>
  );
}

export function ServicePage({ name }: { name: string }) {
  const load = useLoad(`service\n${name}`, () => sendJson<Service>("POST", url("switchboard.v1.Services/Get"), { name }), 5000);
  const service = load.data;
  return (
    <>
      <header class="head">
        <h1 class="mono">{name}</h1>
      </header>
      <ProblemBox of={load.problem} />
      {load.loading && <p class="faint">Reading…</p>}
      {service && (
        <>
          {service.comment && <p>{service.comment}</p>}
          <Facts
            of={[
              ["Calls go to", <span class="mono">{service.target || "–"}</span>],
              ["State", <Health of={service} />],
              ["Reachable over", service.protocols?.length ? service.protocols.join(", ") : "every protocol"],
              ["Timeout", service.timeout ?? "the caller's"],
              ["Described in", <span class="mono">{service.file || "–"}</span>],
            ]}
          />
          {(service.methods ?? []).map((m) => (
            <MethodBox key={m.path} of={m} />
          ))}
        </>
      )}
    </>
  );
}

function MethodBox({ of: m }: { of: Method }) {
  const stream = (on?: boolean) => (on ? "stream " : "");
  const codes = (m.counts?.failed ?? []).map((f) => `${f.code} ${num(f.count)}`).join(", ");
  return (
    <section aria-label={m.name}>
      <h2 class="mono">{m.name}</h2>
      <p class="mono wrap">
        ({stream(m.clientStreaming)}
        {m.input}) → {stream(m.serverStreaming)}
        {m.output}
        {m.deprecated && <span class="tag">deprecated</span>}
        {m.noSideEffects && <span class="tag">reads only</span>}
      </p>
      {m.comment && <p>{m.comment}</p>}
      <Facts
        of={[
          ["Over REST", <span class="mono wrap">{[`POST /${m.path}`, ...(m.bindings ?? []).map((b) => `${b.httpMethod} ${b.path}`)].join("   ")}</span>],
          ["Calls", `${num(m.counts?.succeeded ?? 0)} succeeded, ${num(failed(m))} failed${codes && ` (${codes})`}, ${num(m.counts?.running ?? 0)} running`],
          ["Took", m.counts?.p50 ? `half within ${m.counts.p50}, 99 % within ${m.counts.p99}` : "–"],
        ]}
      />
      {m.clientStreaming ? <p class="faint">It takes a stream of messages: open a WebSocket at its path, or use gRPC or Connect.</p> : <TryIt of={m} />}
    </section>
  );
}

/** Sends a request and shows what comes back, line by line when it is a stream. */
function TryIt({ of: m }: { of: Method }) {
  const body = useSignal("{}");
  const answer = useSignal<string | null>(null);
  const problem = useSignal<Problem | null>(null);
  const busy = useSignal<AbortController | null>(null);
  const send = async () => {
    const stop = new AbortController();
    busy.value = stop;
    answer.value = null;
    problem.value = null;
    try {
      const response = await ask("POST", url(m.path), { body: body.value, headers: { "Content-Type": "application/json" }, signal: stop.signal });
      const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
      answer.value = "";
      for (let piece = await reader?.read(); piece && !piece.done; piece = await reader?.read()) {
        // What is shown of an endless stream is bounded.
        answer.value = (answer.value + piece.value).slice(-64 * 1024);
      }
      say("The answer is complete.");
    } catch (e) {
      if (!stop.signal.aborted) problem.value = Problem.of(e);
    }
    busy.value = null;
  };
  const command = () => curl("POST", new URL(m.path, root), { "Content-Type": "application/json" }, body.value);
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        void send();
      }}
    >
      <label>
        Request, as JSON
        <textarea class="mono" rows={4} value={body.value} onInput={(e) => (body.value = e.currentTarget.value)} spellcheck={false} />
      </label>
      <div class="bar">
        {busy.value ? (
          <button type="button" onClick={() => busy.value?.abort()}>
            Stop
          </button>
        ) : (
          <button type="submit">Call</button>
        )}
        <Copy label="Copy as curl" text={command} />
      </div>
      <ProblemBox of={problem.value} />
      {answer.value !== null && <pre class="wrap answer">{answer.value}</pre>}
    </form>
  );
}
