// The one way to the server: requests, problems, the login, and whether it answers at all.
import { signal } from "@preact/signals";

/** Where the API begins: one level above the console, whatever prefix both are under. */
export const root = new URL("../", document.baseURI);

/** Since when the server does not answer; null while it does. */
export const lostSince = signal<Date | null>(null);
/** What live regions read out. */
export const announcement = signal("");
/** The API key of this tab, if one was needed. */
export const apiKey = signal<string | null>(readKey());
/** Set while the server asks for a login; holds why. */
export const loginWanted = signal<Problem | null>(null);

const KEY = "switchboard.key";

function readKey(): string | null {
  try {
    return sessionStorage.getItem("switchboard.key");
  } catch {
    return null;
  }
}

export function setKey(key: string | null): void {
  apiKey.value = key;
  try {
    if (key === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, key);
  } catch {
    // Without storage the key lives as long as the page.
  }
}

export function say(text: string): void {
  announcement.value = text;
}

/** What went wrong, as the server's problem document says it. */
export class Problem extends Error {
  constructor(
    readonly title: string,
    readonly detail = "",
    readonly fix = "",
    readonly status = 0,
    readonly code = "",
    readonly trace = "",
  ) {
    super(title);
  }

  static of(e: unknown): Problem {
    return e instanceof Problem ? e : new Problem("The console failed", String(e), "Reload the page.");
  }

  static from(text: string, status: number, reason: string): Problem {
    try {
      const p = JSON.parse(text) as Record<string, unknown>;
      const s = (k: string) => (typeof p[k] === "string" ? (p[k] as string) : "");
      if (s("title") || s("detail")) return new Problem(s("title") || reason, s("detail"), s("fix"), status, s("code"), s("trace"));
    } catch {
      // Not a problem document: something between us and the server answered.
    }
    return new Problem(`${status} ${reason}`.trim(), text.slice(0, 300), "This answer did not come from Switchboard itself; look at what is in front of it.", status);
  }
}

/** Like JSON.parse, but integers too long for a double become text, unchanged. */
export function parse<T>(text: string): T {
  const safe = /\d{16}/.test(text)
    ? text.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}(?![\d.eE])/g, (t) => (t[0] === '"' ? t : `"${t}"`))
    : text;
  return JSON.parse(safe) as T;
}

export interface Ask {
  body?: BodyInit;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** For the request that watches over the connection: no answer within so many milliseconds means that it is lost. */
  heartbeat?: number;
}

export function url(path: string, query?: Record<string, string | undefined>): URL {
  const u = new URL(path.replace(/^\//, ""), root);
  for (const [k, v] of Object.entries(query ?? {})) if (v !== undefined && v !== "") u.searchParams.set(k, v);
  return u;
}

/** Sends a request; a refusal is thrown as a Problem. */
export async function ask(method: string, at: string | URL, options: Ask = {}): Promise<Response> {
  const headers: Record<string, string> = { ...options.headers };
  if (apiKey.value) headers.Authorization = `Bearer ${apiKey.value}`;
  const timeout = AbortSignal.timeout(options.heartbeat ?? 30_000);
  const stop = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  let response: Response;
  try {
    response = await fetch(typeof at === "string" ? url(at) : at, { method, headers, body: options.body, signal: stop, cache: "no-store" });
  } catch (e) {
    if (options.signal?.aborted) throw e;
    if (timeout.aborted && !options.heartbeat) throw new Problem("No answer in time", `${method} ${at} took longer than 30 seconds.`, "Try again; if it stays so, look at the load of the server.", 504);
    lostSince.value ??= new Date();
    throw new Problem("No connection to the server", `${method} ${at} was not answered.`, "Check that the server runs and can be reached from here.");
  }
  if (lostSince.value) {
    lostSince.value = null;
    say("Connected to the server again.");
  }
  if (response.ok) return response;
  const problem = Problem.from(await response.text().catch(() => ""), response.status, response.statusText);
  if (response.status === 401) loginWanted.value = problem;
  throw problem;
}

export async function getJson<T>(at: string | URL, signal?: AbortSignal, heartbeat?: number): Promise<T> {
  return parse<T>(await (await ask("GET", at, { signal, heartbeat, headers: { Accept: "application/json" } })).text());
}

export async function sendJson<T>(method: string, at: string | URL, body?: unknown): Promise<T> {
  const response = await ask(method, at, body === undefined ? {} : { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  const text = await response.text();
  return (text ? parse<T>(text) : undefined) as T;
}

/** A curl command for the same request. The key is never written out. */
export function curl(method: string, at: URL, headers: Record<string, string> = {}, body?: string, flags: string[] = []): string {
  const q = (s: string) => `'${s.replaceAll("'", `'\\''`)}'`;
  const parts = ["curl", ...flags];
  if (method !== "GET") parts.push("-X", method);
  if (apiKey.value) parts.push("-H", '"Authorization: Bearer $SWITCHBOARD_KEY"');
  for (const [k, v] of Object.entries(headers)) parts.push("-H", q(`${k}: ${v}`));
  if (body !== undefined) parts.push("--data-binary", q(body));
  parts.push(q(at.href));
  return parts.join(" ");
}
