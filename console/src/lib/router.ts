// Everything a view shows is in the part of the URL behind #, so that a link shows a colleague the same.
import { signal } from "@preact/signals";

export interface Route {
  path: string[];
  query: URLSearchParams;
}

type Query = Record<string, string | undefined>;

function read(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2) as [string?, string?];
  const decode = (s: string) => {
    try {
      return decodeURIComponent(s);
    } catch {
      return s;
    }
  };
  return { path: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

export const route = signal<Route>(read());
addEventListener("hashchange", () => {
  route.value = read();
});

export function href(path: string[], query: Query = {}): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(query)) if (v) q.set(k, v);
  const text = q.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function go(path: string[], query: Query = {}): void {
  location.hash = href(path, query);
}

/** This view with other parameters. */
export function withQuery(change: Query): string {
  const all: Query = Object.fromEntries(route.value.query);
  return href(route.value.path, { ...all, ...change });
}

/** Changes parameters of this view; `keep` leaves the old state in the history. */
export function setQuery(change: Query, keep = false): void {
  const to = withQuery(change);
  if (keep) location.hash = to;
  else {
    history.replaceState(history.state, "", to);
    route.value = read();
  }
}

export const param = (name: string, otherwise = ""): string => route.value.query.get(name) ?? otherwise;
