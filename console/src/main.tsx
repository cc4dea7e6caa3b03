// The frame around every screen: navigation, banners, theme, keys.
import { useSignal } from "@preact/signals";
import { type JSX, render } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "./app.css";
import { announcement, apiKey, loginWanted, lostSince, setKey } from "./lib/api.ts";
import { clock } from "./lib/format.ts";
import { helpOpen, keysOn, localStorageSet, SHORTCUTS, startKeys } from "./lib/keys.ts";
import { route } from "./lib/router.ts";
import { startStatus, status } from "./lib/status.ts";
import { nextTheme, startTheme, theme } from "./lib/theme.ts";
import { Dialog, Empty } from "./ui/parts.tsx";
import { GroupPage } from "./screens/group.tsx";
import { Groups } from "./screens/groups.tsx";
import { JobPage } from "./screens/job.tsx";
import { Jobs } from "./screens/jobs.tsx";
import { Login } from "./screens/login.tsx";
import { Overview } from "./screens/overview.tsx";
import { TopicPage } from "./screens/topic.tsx";
import { Topics } from "./screens/topics.tsx";

const PLACES: [string, string][] = [
  ["", "Overview"],
  ["topics", "Topics"],
  ["groups", "Groups"],
  ["jobs", "Jobs"],
  ["services", "Services"],
];

const MARKS: Record<string, string> = { system: "◐", light: "○", dark: "●" };

function Screen() {
  const [where = "", a, b] = route.value.path;
  if (where === "") return <Overview />;
  if (where === "topics") return a ? <TopicPage key={a} name={a} /> : <Topics />;
  if (where === "groups") return a && b ? <GroupPage key={`${a}/${b}`} topic={a} name={b} /> : <Groups />;
  if (where === "jobs") return a ? <JobPage key={a} id={a} /> : <Jobs />;
  if (where === "services") return <Later key={a} of={(m) => (a ? <m.ServicePage name={a} /> : <m.Services />)} />;
  return (
    <Empty>
      <p>The console has no such page.</p>
      <a href="#/">Overview</a>
    </Empty>
  );
}

type Part = typeof import("./screens/services.tsx");

/** A screen that is fetched when it is first opened, so that the first load stays small. */
function Later({ of }: { of: (part: Part) => JSX.Element }) {
  const part = useSignal<Part | null>(null);
  useEffect(() => void import("./screens/services.tsx").then((loaded) => (part.value = loaded)), []);
  return part.value ? of(part.value) : <p class="faint">Loading…</p>;
}

function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" />
      <path d="M9 9c0 9 14 5 14 14" />
      <circle cx="9" cy="9" r="3.4" />
      <circle cx="23" cy="23" r="3.4" />
      <circle class="free" cx="23" cy="9" r="3.2" />
      <circle class="free" cx="9" cy="23" r="3.2" />
    </svg>
  );
}

function App() {
  const where = route.value.path[0] ?? "";
  const main = useRef<HTMLElement>(null);
  const page = route.value.path.join("/");
  const first = useRef(true);
  useLayoutEffect(() => {
    document.title = [...[...route.value.path].reverse(), "Switchboard"].join(" · ");
    scrollTo(0, 0);
    // A new page is read from its top; the first one leaves the focus where the browser put it.
    if (!first.current) main.current?.focus({ preventScroll: true });
    first.current = false;
  }, [page]);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(e) => {
          e.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to the content
      </a>
      <div class="shell">
        <header class="side">
          <a class="brand" href="#/">
            <Mark />
            <span>Switchboard</span>
          </a>
          <nav aria-label="Main">
            {PLACES.map(([path, label]) => (
              <a key={path} href={`#/${path}`} aria-current={path === where ? "page" : undefined}>
                {label}
              </a>
            ))}
          </nav>
          <div class="foot">
            {apiKey.value && (
              <button type="button" class="quiet" onClick={() => setKey(null)}>
                Log out
              </button>
            )}
            <button type="button" class="quiet" onClick={nextTheme} title="Theme" aria-label={`Theme: ${theme.value}`}>
              <span aria-hidden="true">{MARKS[theme.value]}</span> <span class="word">{theme.value}</span>
            </button>
            <button type="button" class="quiet" onClick={() => (helpOpen.value = true)} aria-label="Keyboard shortcuts">
              <kbd>?</kbd> <span class="word">keys</span>
            </button>
            <span class="version faint">{status.value?.version}</span>
          </div>
        </header>
        <div class="page">
          {lostSince.value && (
            <div class="lost" role="alert">
              <b>No connection to the server since {clock(lostSince.value.toISOString())}.</b> What you see may be old. Trying again every 2 seconds.
            </div>
          )}
          <main id="main" ref={main} tabIndex={-1}>
            {loginWanted.value ? <Login /> : <Screen />}
          </main>
        </div>
      </div>
      <Announcer />
      {helpOpen.value && <Help />}
    </>
  );
}

/** Reads out summaries. The text is cleared so that the same sentence can be said twice. */
function Announcer() {
  const shown = useSignal("");
  useEffect(
    () =>
      announcement.subscribe((text) => {
        if (!text) return;
        shown.value = text;
        announcement.value = "";
      }),
    [],
  );
  return (
    <div class="unseen" role="status" aria-live="polite">
      {shown.value}
    </div>
  );
}

function Help() {
  return (
    <Dialog title="Keys" close={() => (helpOpen.value = false)}>
      <dl class="keys">
        {SHORTCUTS.map(([key, what]) => (
          <div key={key}>
            <dt>
              {key.split(" ").map((k) => (
                <kbd key={k}>{k}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input
          type="checkbox"
          checked={keysOn.value}
          onChange={(e) => {
            keysOn.value = e.currentTarget.checked;
            localStorageSet("switchboard.keys", keysOn.value ? "on" : "off");
          }}
        />{" "}
        Single keys are shortcuts
      </label>
      <p>
        <a href="licenses.txt">Licences of what the console contains</a>
      </p>
    </Dialog>
  );
}

startTheme();
startKeys(nextTheme);
startStatus();
render(<App />, document.getElementById("app") as HTMLElement);
