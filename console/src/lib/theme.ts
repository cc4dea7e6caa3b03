// Light or dark: the system decides until the switch does.
import { signal } from "@preact/signals";
import { localStorageGet, localStorageSet } from "./keys.ts";

const THEMES = ["system", "light", "dark"];
const KEY = "switchboard.theme";

export const theme = signal(THEMES.includes(localStorageGet(KEY) ?? "") ? (localStorageGet(KEY) as string) : "system");

export function nextTheme(): void {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] as string;
  localStorageSet(KEY, theme.value);
}

export function startTheme(): void {
  theme.subscribe((t) => {
    if (t === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = t;
  });
}
