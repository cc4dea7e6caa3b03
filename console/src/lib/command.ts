// The same acts on the command line.
import { root } from "./api.ts";
import { quote } from "./format.ts";

const DEFAULT = "http://127.0.0.1:7070/";

function line(...words: (string | undefined | false)[]): string {
  const server = root.href === DEFAULT ? [] : ["--server", quote(root.href.replace(/\/$/, ""))];
  return ["switchboard", ...words.filter(Boolean), ...server].join(" ");
}

export interface Writing {
  address: string;
  key?: string;
  headers?: Record<string, string>;
  content_type?: string;
  body: string;
  encoding?: string;
}

export function pubCommand(m: Writing): string {
  // What begins with @ or - means a file or the input to the command; bytes cannot be typed at all: both go in by pipe.
  const piped = m.encoding === "base64" || /^[@-]/.test(m.body);
  const command = line(
    "pub",
    quote(m.address),
    piped ? "-" : quote(m.body),
    m.key !== undefined && `--key ${quote(m.key)}`,
    m.content_type && `--content-type ${quote(m.content_type)}`,
    ...Object.entries(m.headers ?? {}).map(([k, v]) => `--header ${quote(`${k}=${v}`)}`),
  );
  if (!piped) return command;
  return `printf %s ${quote(m.body)} | ${m.encoding === "base64" ? "base64 -d | " : ""}${command}`;
}

export function subCommand(topic: string, start: Record<string, string | undefined>): string {
  return line("sub", quote(topic), start.last && `--last ${start.last}`, start.from && start.from !== "end" && `--from ${quote(start.from)}`);
}

export const jobCommand = (verb: string, id: string) => line("job", verb, quote(id));
