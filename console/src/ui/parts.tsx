// Small parts that every screen uses.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { lostSince, Problem, say } from "../lib/api.ts";
import { ago, clock } from "../lib/format.ts";
import { withQuery } from "../lib/router.ts";

/** A refusal as the server states it: what, why, and what to do. */
export function ProblemBox({ of }: { of: Problem | null }) {
  // A lost connection is said once, by the banner.
  if (!of || (of.status === 0 && lostSince.value)) return null;
  return (
    <div class="problem" role="alert">
      <strong>{of.title}</strong>
      {of.detail && of.detail !== of.title && <p>{of.detail}</p>}
      {of.fix && (
        <p class="fix">
          <span>What to do: </span>
          {of.fix}
        </p>
      )}
      {(of.code || of.trace) && (
        <p class="faint mono">
          {of.code}
          {of.trace && ` · trace ${of.trace}`}
        </p>
      )}
    </div>
  );
}

const TONES: Record<string, string> = {
  queued: "wait",
  running: "run",
  succeeded: "good",
  failed: "bad",
  cancelled: "dim",
  expired: "warn",
  live: "live",
  connecting: "wait",
  reconnecting: "warn",
  ended: "dim",
  paused: "warn",
};

const SIGNS: Record<string, string> = { good: "✓", live: "●", bad: "✕", run: "▸", wait: "…", warn: "!", dim: "–" };

/** A state: by word, sign and colour, never by colour alone. */
export function State({ of }: { of: string }) {
  const tone = TONES[of] ?? "dim";
  return (
    <span class={`state ${tone}`}>
      <span aria-hidden="true">{SIGNS[tone]}</span>
      {of}
    </span>
  );
}

export function Age({ at, now }: { at: string | undefined; now: number }) {
  return (
    <time dateTime={at} title={at}>
      {ago(at, now)}
    </time>
  );
}

export function Clock({ at }: { at: string | undefined }) {
  return (
    <time dateTime={at} title={at}>
      {clock(at)}
    </time>
  );
}

export function Copy({ text, label }: { text: () => string; label: string }) {
  const done = useSignal(false);
  return (
    <button
      type="button"
      class="small"
      onClick={async () => {
        const ok = await copy(text());
        done.value = ok;
        say(ok ? `${label}: copied.` : "The browser did not allow copying.");
        setTimeout(() => {
          done.value = false;
        }, 1500);
      }}
    >
      {done.value ? "Copied ✓" : label}
    </button>
  );
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without TLS there is no clipboard object; the old way still works.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    return ok;
  }
}

/** Where a server-paged list stands, and how to go on. */
export function Pager({ shown, limit, next, what }: { shown: number; limit: number; next: string | undefined | null; what: string }) {
  const first = new URLSearchParams(location.hash.split("?")[1]).has("after");
  return (
    <nav class="pager" aria-label="Pages">
      <span class="faint">
        {shown} {what} on this page, at most {limit}
      </span>
      <span class="grow" />
      {first && <a href={withQuery({ after: undefined })}>First page</a>}
      {next && (
        <a class="button small" data-key="n" href={withQuery({ after: next })}>
          Next page
        </a>
      )}
    </nav>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="empty">{children}</div>;
}

/** A modal dialog of the browser: it keeps the focus and closes with Esc. */
export function Dialog({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  const at = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const back = document.activeElement as HTMLElement | null;
    at.current?.showModal();
    return () => back?.focus?.();
  }, []);
  return (
    <dialog ref={at} aria-labelledby={id} onClose={close} onClick={(e) => e.target === at.current && at.current?.close()}>
      <div class="dialog">
        <header>
          <h2 id={id}>{title}</h2>
          <button type="button" class="quiet" aria-label="Close" onClick={() => at.current?.close()}>
            ✕
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

export interface Danger {
  title: string;
  /** What happens, in numbers. */
  effect: ComponentChildren;
  /** What has to be typed; nothing for acts that can be repeated. */
  word?: string;
  action: string;
  run: () => Promise<void>;
}

/** Asks before something that cannot be undone. The harmless way out has the focus. */
export function Confirm({ of, close }: { of: Danger; close: () => void }) {
  const typed = useSignal("");
  const busy = useSignal(false);
  const problem = useSignal<Problem | null>(null);
  const id = useId();
  const ready = of.word === undefined || typed.value === of.word;
  return (
    <Dialog title={of.title} close={close}>
      <form
        onSubmit={async (e) => {
          e.preventDefault();
          if (!ready || busy.value) return;
          busy.value = true;
          try {
            await of.run();
            close();
          } catch (x) {
            problem.value = Problem.of(x);
          }
          busy.value = false;
        }}
      >
        <div class="effect">{of.effect}</div>
        {of.word !== undefined && (
          <p>
            <label for={id}>
              Type <b class="mono">{of.word}</b> to go on
            </label>
            <input id={id} class="mono wide" autocomplete="off" spellcheck={false} value={typed} onInput={(e) => (typed.value = e.currentTarget.value)} />
          </p>
        )}
        <ProblemBox of={problem.value} />
        <p class="actions">
          <button type="button" autofocus onClick={close}>
            Keep as it is
          </button>
          <button type="submit" class="danger" disabled={!ready || busy.value}>
            {of.action}
          </button>
        </p>
      </form>
    </Dialog>
  );
}

/** A text field that filters a list in the server; it waits for a pause in typing. */
export function Search({ label, value, change, list }: { label: string; value: string; change: (v: string) => void; list?: string[] }) {
  const timer = useRef(0);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  // Going back in the history brings back the words of that page.
  useEffect(() => {
    const i = input.current;
    if (i && i !== document.activeElement) i.value = value;
  }, [value]);
  return (
    <label class="field inline search">
      <span>{label}</span>
      <input
        type="search"
        ref={input}
        data-key="/"
        defaultValue={value}
        list={list ? id : undefined}
        spellcheck={false}
        autocomplete="off"
        onInput={(e) => {
          const v = e.currentTarget.value.trim();
          clearTimeout(timer.current);
          timer.current = window.setTimeout(change, 250, v);
        }}
      />
      {list && (
        <datalist id={id}>
          {list.map((m) => (
            <option key={m} value={m} />
          ))}
        </datalist>
      )}
    </label>
  );
}

export function Facts({ of }: { of: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {of
        .filter(([, v]) => v !== undefined && v !== null && v !== "" && v !== false)
        .map(([k, v]) => (
          <div key={k}>
            <dt>{k}</dt>
            <dd>{v}</dd>
          </div>
        ))}
    </dl>
  );
}

/** Wide tables scroll inside their own box, never the page. */
export function Table({ label, head, children, class: name = "" }: { label: string; head: (string | [string, string])[]; children: ComponentChildren; class?: string }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table class={name}>
        <thead>
          <tr>
            {head.map((h) => (
              <th key={String(h)} scope="col" class={Array.isArray(h) ? h[1] : undefined}>
                {Array.isArray(h) ? h[0] : h}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}
