// Numbers, sizes, times and bytes as people read them.
import type { Body, Num } from "./types.ts";

/** Thousands in groups of three. Works on the digits, so no 64-bit number is rounded. */
export function num(n: Num | null | undefined): string {
  if (n === null || n === undefined) return "–";
  const text = String(n);
  return /^-?\d+$/.test(text) ? text.replace(/\B(?=(\d{3})+$)/g, "\u202f") : text;
}

/** "1 message", "12 messages". */
export function count(n: Num, one: string, many = `${one}s`): string {
  return `${num(n)} ${String(n) === "1" ? one : many}`;
}

export function bytes(n: Num | null | undefined): string {
  if (n === null || n === undefined) return "–";
  let v = Number(n);
  if (!Number.isFinite(v)) return String(n);
  if (Math.abs(v) < 1024) return `${v} B`;
  const units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = -1;
  do {
    v /= 1024;
    i++;
  } while (Math.abs(v) >= 1024 && i < units.length - 1);
  return `${v >= 100 ? v.toFixed(0) : v.toFixed(1)} ${units[i]}`;
}

/** A rate: whole numbers above ten, one decimal below. */
export function rate(n: number | null | undefined): string {
  if (n === null || n === undefined) return "–";
  return n >= 9.95 || n === 0 ? num(Math.round(n)) : n.toFixed(1);
}

export function duration(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 0) ms = 0;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(1) : Math.floor(s)} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m} min ${Math.floor(s % 60)} s`;
  const h = Math.floor(m / 60);
  if (h < 48) return `${h} h ${m % 60} min`;
  return `${Math.floor(h / 24)} d ${h % 24} h`;
}

/** The server's uptime: seconds, or text that it has formatted itself. */
export function uptime(n: Num): string {
  const s = Number(n);
  return Number.isFinite(s) ? duration(s * 1000) : String(n);
}

/** How long ago, in one unit. */
export function ago(iso: string | undefined, now: number): string {
  if (!iso) return "–";
  const s = Math.floor((now - Date.parse(iso)) / 1000);
  if (!Number.isFinite(s)) return iso;
  if (s < 2) return "just now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} d ago`;
}

const two = (n: number) => String(n).padStart(2, "0");

/** Local time of day with milliseconds; the date too when it is not today. */
export function clock(iso: string | undefined): string {
  if (!iso) return "–";
  const d = new Date(iso);
  if (Number.isNaN(d.getTime())) return iso;
  const time = `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
  return d.toDateString() === new Date().toDateString() ? time : `${day(d)} ${time}`;
}

export const day = (d: Date) => `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;

const strict = new TextDecoder("utf-8", { fatal: true });

/** The text of these bytes, or null when they are not UTF-8. */
export function textOf(data: Uint8Array): string | null {
  try {
    return strict.decode(data);
  } catch {
    return null;
  }
}

export function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

/** The bytes of a body as JSON carries it. */
export function bodyBytes(b: Body): Uint8Array {
  if (b.body === undefined) return new Uint8Array();
  return b.encoding === "base64" ? fromBase64(b.body) : new TextEncoder().encode(b.body);
}

/** Offset, sixteen bytes, and their printable characters, a line. */
export function hex(data: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < data.length; at += 16) {
    const row = data.subarray(at, at + 16);
    let digits = "";
    let chars = "";
    row.forEach((b, i) => {
      digits += `${i === 8 ? " " : ""}${b.toString(16).padStart(2, "0")} `;
      chars += b > 31 && b < 127 ? String.fromCharCode(b) : "·";
    });
    lines.push(`${at.toString(16).padStart(6, "0")}  ${digits.padEnd(49)} ${chars}`);
  }
  return lines.join("\n");
}

/** Indents JSON by its tokens alone: numbers, escapes and duplicate members stay as they were sent. Null when it is not JSON. */
export function indent(text: string): string | null {
  const start = text.trimStart()[0];
  if (start !== "{" && start !== "[") return null;
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  tokens.forEach((t, i) => {
    if (t === "{" || t === "[") {
      const empty = tokens[i + 1] === "}" || tokens[i + 1] === "]";
      depth++;
      out += empty ? t : t + line();
    } else if (t === "}" || t === "]") {
      const empty = tokens[i - 1] === "{" || tokens[i - 1] === "[";
      depth--;
      out += empty ? t : line() + t;
    } else if (t === ",") out += t + line();
    else if (t === ":") out += ": ";
    else out += t;
  });
  return out;
}

/** One word of a POSIX shell command, quoted only where it must be. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
