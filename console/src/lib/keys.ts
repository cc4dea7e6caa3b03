// Keys for everything that is done often. They can be switched off in the list that `?` shows.
import { signal } from "@preact/signals";
import { go } from "./router.ts";

export const helpOpen = signal(false);
export const keysOn = signal(localStorageGet("switchboard.keys") !== "off");

export function localStorageGet(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function localStorageSet(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Kept for this page only.
  }
}

export const SHORTCUTS: [string, string][] = [
  ["g o", "Overview"],
  ["g t", "Topics"],
  ["g g", "Groups"],
  ["g j", "Jobs"],
  ["/", "Search or filter"],
  ["n", "Next page"],
  ["p", "Pause or go on (live views)"],
  ["w", "Write a message (topic)"],
  ["t", "Theme: system, light, dark"],
  ["?", "This list"],
  ["Esc", "Close"],
];

const PLACES: Record<string, string[]> = { o: [], t: ["topics"], g: ["groups"], j: ["jobs"] };

/** Presses the control that carries this mark, if the view has one. */
function press(mark: string): boolean {
  const it = document.querySelector<HTMLElement>(`[data-key="${mark}"]:not([disabled])`);
  if (!it) return false;
  if (it.matches("input,select,textarea")) it.focus();
  else it.click();
  return true;
}

export function startKeys(theme: () => void): void {
  let went = 0;
  addEventListener("keydown", (e) => {
    const at = e.target as HTMLElement;
    // A link that acts as a button answers to the space bar as well.
    if (e.key === " " && at.matches("a[role=button]")) {
      at.click();
      e.preventDefault();
      return;
    }
    if (e.ctrlKey || e.metaKey || e.altKey || at.closest("input,textarea,select,dialog")) return;
    if (e.key === "?") {
      helpOpen.value = true;
      e.preventDefault();
      return;
    }
    if (!keysOn.value) return;
    const place = PLACES[e.key];
    if (Date.now() - went < 1200 && place) {
      went = 0;
      go(place);
    } else if (e.key === "g") {
      went = Date.now();
      return;
    } else if (e.key === "t") theme();
    else if (!["/", "n", "p", "w"].includes(e.key) || !press(e.key)) return;
    e.preventDefault();
  });
}
