// A body and a message, byte by byte if need be.
import { useSignal } from "@preact/signals";
import { curl, url } from "../lib/api.ts";
import { pubCommand, type Writing } from "../lib/command.ts";
import { bodyBytes, bytes, fromBase64, hex, indent, num, textOf } from "../lib/format.ts";
import { param, setQuery } from "../lib/router.ts";
import type { Body, Header, Message } from "../lib/types.ts";
import { Clock, Copy, Facts } from "./parts.tsx";

const CUT = 64 * 1024;

/** Shows a body as text, indented, or as bytes. One that is not UTF-8 is shown as bytes, and says why. */
export function BodyView({ of }: { of: Body }) {
  const all = useSignal(false);
  const data = bodyBytes(of);
  const text = textOf(data);
  const cut = !all.value && data.length > CUT;
  const part = cut ? data.subarray(0, CUT) : data;
  const pretty = text !== null && !cut ? indent(text) : null;
  const view = text === null ? "hex" : param("as", "text");
  const shown = view === "hex" ? hex(part) : view === "indented" ? (pretty ?? text ?? "") : cut ? new TextDecoder().decode(part) : (text ?? "");
  const tab = (name: string, label: string) => (
    <button type="button" class="tab" aria-pressed={view === name} onClick={() => setQuery({ as: name === "text" ? undefined : name })}>
      {label}
    </button>
  );
  return (
    <div class="body">
      <div class="bar">
        <div class="tabs" role="group" aria-label="Show the body as">
          {text !== null && tab("text", "Text")}
          {pretty !== null && tab("indented", "Indented")}
          {tab("hex", "Hex")}
        </div>
        <span class="faint">
          {of.content_type ?? "no content type"} · {bytes(data.length)}
        </span>
        <span class="grow" />
        {text !== null && <Copy label="Copy" text={() => text} />}
      </div>
      {text === null && <p class="note">Not UTF-8, so there is no text to show: these are the bytes.</p>}
      {data.length === 0 ? (
        <p class="note">The body is empty.</p>
      ) : (
        <pre class={view === "hex" ? "hex" : "wrap"} tabIndex={0} aria-label="Body">
          {shown}
        </pre>
      )}
      {cut && (
        <button type="button" class="small" onClick={() => (all.value = true)}>
          Show the other {bytes(data.length - CUT)}
        </button>
      )}
    </div>
  );
}

export const place = (m: Message) => `${m.partition}-${m.offset}`;

export function keyText(m: Message): string | undefined {
  if (m.key !== undefined) return m.key;
  if (m.key_base64 === undefined) return undefined;
  const data = fromBase64(m.key_base64);
  return textOf(data) ?? `0x${Array.from(data, (b) => b.toString(16).padStart(2, "0")).join("")}`;
}

function headerText(h: Header): string {
  if (Array.isArray(h)) return h.map(headerText).join(", ");
  if (typeof h === "object") return `base64 ${h.base64}`;
  return String(h);
}

/** One line for a list: the text with its white space folded, or the number of bytes. */
export function preview(m: Message): string {
  if (m.body === undefined || m.body === "") return "(empty)";
  if (m.encoding === "base64") return `(${bytes(bodyBytes(m).length)}, not UTF-8)`;
  return m.body.slice(0, 300).replace(/\s+/g, " ");
}

/** What would publish this message once more. */
function again(m: Message): Writing {
  const headers = Object.fromEntries(Object.entries(m.headers ?? {}).map(([k, v]) => [k, headerText(v)]));
  return { address: m.address ?? m.topic, key: m.key, headers, content_type: m.content_type, body: m.body ?? "", encoding: m.encoding };
}

export function MessageDetail({ of, close }: { of: Message; close: () => void }) {
  const at = url(`topics/${encodeURIComponent(of.topic)}/messages/${place(of)}`);
  const headers = Object.entries(of.headers ?? {});
  return (
    <section class="detail panel" aria-label={`Message ${place(of)}`}>
      <header class="bar">
        <h3>
          Message <span class="mono">{place(of)}</span>
        </h3>
        <span class="grow" />
        <button type="button" class="quiet" aria-label="Close the message" onClick={close}>
          ✕
        </button>
      </header>
      <Facts
        of={[
          ["Topic", of.topic],
          ["Address", of.address],
          ["Partition", num(of.partition)],
          ["Offset", num(of.offset)],
          ["At", of.at && <Clock at={of.at} />],
          ["Key", keyText(of) !== undefined && <span class="mono">{keyText(of)}</span>],
          ["Attempt", of.attempt !== undefined ? num(of.attempt) : undefined],
        ]}
      />
      <BodyView key={place(of)} of={of} />
      <h4>Headers</h4>
      {headers.length === 0 ? (
        <p class="faint">None.</p>
      ) : (
        <dl class="pairs mono">
          {headers.map(([k, v]) => (
            <div key={k}>
              <dt>{k}</dt>
              <dd>{headerText(v)}</dd>
            </div>
          ))}
        </dl>
      )}
      {of.id && (
        <>
          <h4>Id</h4>
          <p class="mono break">{of.id}</p>
        </>
      )}
      <div class="bar">
        {of.id && <Copy label="Copy as curl" text={() => curl("GET", at, {}, undefined, ["-i"])} />}
        <Copy label="Copy as publish command" text={() => pubCommand(again(of))} />
        {of.id && <Copy label="Copy id" text={() => of.id ?? ""} />}
      </div>
    </section>
  );
}
