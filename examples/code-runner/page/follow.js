// The four ways of following a job. Each gives the same events; they differ in what travels.
//
//   follow("sse", id, { after, travel, onEvent, onLink, onOver })   returns a function that ends it
//
// `travel` is told about everything that is sent and received. `onOver` is called once: with nothing when the job has ended,
// with a Problem when the server will not let us follow it.

export const DONE = new Set(["succeeded", "failed", "cancelled", "expired"]);

/** The server answered, and the answer is no: what it said (RFC 9457). */
export class Problem extends Error {
  constructor(status, statusText, body) {
    const given = body && typeof body === "object" ? body : {};
    super(given.title || `${status} ${statusText}`);
    Object.assign(this, { status, detail: given.detail, fix: given.fix, code: given.code, link: given.type });
  }
}

/** The server cannot be reached, or says that it will be back. */
export class Away extends Error {}

const size = (text) => new TextEncoder().encode(text).length;

const parse = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
};

/** What an event says, in a few characters. */
const gist = (event) => {
  const what =
    { state: event.state, log: JSON.stringify(event.text ?? ""), progress: JSON.stringify(event.progress), result: event.body, error: event.error?.message }[event.type] ?? "";
  return what.length > 60 ? `${what.slice(0, 59)}…` : what;
};

/** One request and its answer. Throws Problem or Away, or AbortError when `signal` ends it. */
export const ask = async (method, path, { headers = {}, body, signal, travel } = {}) => {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  travel?.out(`${method} ${path}`, headers.Prefer && `Prefer: ${headers.Prefer}`, [...lines, ...(body ? ["", body] : [])].join("\n"), size(body ?? ""));
  let response, text;
  try {
    response = await fetch(path, { method, headers, body, signal, cache: "no-store" });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError" || error.name === "TimeoutError") throw error;
    travel?.note("no answer: the server cannot be reached");
    throw new Away("The server cannot be reached.");
  }
  const json = parse(text);
  const told = ["content-type", "location", "retry-after", "preference-applied", "etag"]
    .filter((name) => response.headers.has(name))
    .map((name) => `${name}: ${response.headers.get(name)}`);
  const news = Array.isArray(json?.events) && (json.events.map(gist).join(" ") || "no news");
  travel?.in(`${response.status} ${response.statusText}`.trim(), [...told, "", text].join("\n"), size(text), news);
  if (response.ok || response.status === 304) return { status: response.status, headers: response.headers, json, text };
  if (response.status === 429 || response.status === 502 || response.status === 503) throw new Away(json?.title ?? `It answers ${response.status}.`);
  throw new Problem(response.status, response.statusText, json);
};

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

const isLast = (event) => event.type === "state" && DONE.has(event.state);

// ---- long poll and short poll: GET /jobs/{id}/events?after=N ---------------------------------------------------------------

const poll = (headers, every) => async (at) => {
  while (!at.signal.aborted) {
    // A request that waits 20 s and says nothing for 30 s has been forgotten on the way.
    const signal = AbortSignal.any([at.signal, AbortSignal.timeout(30_000)]);
    const { json } = await ask("GET", `/jobs/${at.id}/events?after=${at.after}&limit=1000`, { headers, signal, travel: at.travel });
    at.here();
    const events = json?.events ?? [];
    for (const event of events) at.event(event);
    if (events.some(isLast)) return;
    if (every) await pause(every, at.signal);
  }
};

// ---- Server-Sent Events: GET /jobs/{id} with Accept: text/event-stream -------------------------------------------------------

const sse = (at) =>
  new Promise((resolve, reject) => {
    const path = `/jobs/${at.id}`;
    const source = new EventSource(path);
    let lastId = 0;
    const request = () =>
      at.travel.out(
        `GET ${path}`,
        lastId ? `Last-Event-ID: ${lastId}` : "Accept: text/event-stream",
        `Accept: text/event-stream${lastId ? `\nLast-Event-ID: ${lastId}` : ""}\n\n(sent by the browser's EventSource)`,
        0,
      );
    const end = (settle, value) => {
      source.close();
      settle(value);
    };
    request();
    at.signal.addEventListener("abort", () => end(resolve), { once: true });
    source.onopen = () => {
      at.travel.in("200 OK", "content-type: text/event-stream\n\n(stays open; events follow)", 0);
      at.here();
    };
    const take = (message) => {
      lastId = Number(message.lastEventId) || lastId;
      const text = `id: ${message.lastEventId}\nevent: ${message.type}\ndata: ${message.data}\n\n`;
      const event = parse(message.data);
      if (!event) return;
      const known = at.event(event);
      at.travel.in(`event: ${message.type}`, text, size(text), known ? "known already" : gist(event));
    };
    for (const type of ["state", "progress", "log", "result"]) source.addEventListener(type, take);
    source.addEventListener("end", () => {
      at.travel.in("event: end", "The job has ended. Without this the browser would connect again.", 0);
      end(resolve);
    });
    // Two things arrive under this name: an EVENT of type error, which has data, and a lost connection, which has none.
    source.addEventListener("error", (message) => {
      if (message.data !== undefined) return take(message);
      if (source.readyState === EventSource.CLOSED) return end(reject, new Away("The connection was refused."));
      at.travel.note("connection lost; the browser connects again by itself");
      at.away("connecting again");
      request();
    });
  });

// ---- WebSocket: GET /jobs/{id} with Upgrade, one text frame for each event ---------------------------------------------------

const websocket = (at) =>
  new Promise((resolve, reject) => {
    const path = `/jobs/${at.id}`;
    const url = new URL(path, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    at.travel.out(`GET ${path}`, "Upgrade: websocket", "Connection: Upgrade\nUpgrade: websocket", 0);
    const socket = new WebSocket(url);
    at.signal.addEventListener("abort", () => socket.close(1000), { once: true });
    socket.onopen = () => {
      at.travel.in("101 Switching Protocols", "upgrade: websocket\n\n(stays open; frames follow)", 0);
      at.here();
    };
    socket.onmessage = ({ data }) => {
      if (at.signal.aborted) return;
      const event = typeof data === "string" ? parse(data) : null;
      const known = event ? at.event(event) : false;
      at.travel.in(`text frame ${event?.type ?? ""}`.trim(), String(data), size(String(data)), known ? "known already" : event && gist(event));
    };
    socket.onclose = ({ code, reason }) => {
      if (at.signal.aborted) return resolve();
      // 1006 never travels: it is what the browser says when the connection ended without a close frame.
      if (code === 1006) at.travel.note("connection lost, no close frame (the browser calls this 1006)");
      else at.travel.in(`close frame ${code}`, reason, 0);
      if (code === 1000) resolve();
      else reject(new Away(code === 1006 ? "The connection was lost." : `The server closed the connection (${code}).`));
    };
  });

export const WAYS = {
  websocket: {
    name: "WebSocket",
    run: websocket,
    about:
      "One connection, upgraded once. Each event is one small frame, at the moment it happens. Both sides may send. The page connects again by itself after a loss.",
  },
  sse: {
    name: "SSE",
    run: sse,
    about:
      "One ordinary GET whose answer never ends until the job does. Text, one direction. After a loss the browser connects again and says which event it saw last.",
  },
  long: {
    name: "Long poll",
    run: poll({ Prefer: "wait=20" }, 0),
    about:
      "Each request waits up to 20 s on the server and is answered at the first news. As quick as the others, one request for each piece of news, and every proxy understands it.",
  },
  short: {
    name: "Short poll",
    run: poll({}, 1000),
    about: "The page asks each second whether there is news. Simplest of all. Most answers are empty and news is up to a second old.",
  },
};

export const follow = (way, id, { after = 0, travel, onEvent, onLink, onOver }) => {
  const control = new AbortController();
  let lost = false;
  let backUntil = 0; // "server is back" stays to be read until then, however quickly the next answer follows
  let pauseMs = 500;
  const at = {
    id: encodeURIComponent(id),
    after,
    travel,
    signal: control.signal,
    /** Gives the event on, unless it is known: a new connection starts from the beginning. Returns whether it was. */
    event(event) {
      if (control.signal.aborted || event.seq <= at.after) return true;
      at.after = event.seq;
      onEvent(event);
      return false;
    },
    here() {
      if (lost) {
        onLink("back", `server is back, went on behind event ${at.after}`);
        travel.note(`the server is back; going on behind event ${at.after}`);
        backUntil = Date.now() + 5000;
      } else if (Date.now() >= backUntil) onLink("live", `following by ${WAYS[way].name}`);
      lost = false;
      pauseMs = 500;
    },
    away(text) {
      lost = true;
      onLink("away", `server is away, ${text}`);
    },
  };

  (async () => {
    while (!control.signal.aborted) {
      try {
        await WAYS[way].run(at);
        if (!control.signal.aborted) onOver();
        return;
      } catch (error) {
        if (control.signal.aborted) return;
        if (error instanceof Problem) return onOver(error);
        if (error.name === "TimeoutError") continue;
        if (!(error instanceof Away)) throw error;
        // WebSocket and EventSource do not tell the page why they failed. A plain GET does.
        if (way === "websocket" || way === "sse") {
          const gone = await ask("GET", `/jobs/${at.id}`, { travel, signal: control.signal }).catch((e) => e);
          if (control.signal.aborted) return;
          if (gone instanceof Problem) return onOver(gone);
        }
        at.away(`trying again in ${(pauseMs / 1000).toLocaleString("en")} s`);
        await pause(pauseMs, control.signal);
        pauseMs = Math.min(pauseMs * 2, 8000);
      }
    }
  })();
  return () => control.abort();
};
