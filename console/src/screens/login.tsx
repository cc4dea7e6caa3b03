// Asks for an API key; it stays in this tab.
import { useSignal } from "@preact/signals";
import { ask, apiKey, loginWanted, Problem, setKey } from "../lib/api.ts";
import { poke } from "../lib/status.ts";
import { ProblemBox } from "../ui/parts.tsx";

export function Login() {
  const typed = useSignal("");
  const problem = useSignal<Problem | null>(apiKey.value ? loginWanted.value : null);
  const busy = useSignal(false);
  return (
    <section class="login panel">
      <h1>Log in</h1>
      <p>This server asks who you are. Give an API key; it is kept in this tab until you close it or log out.</p>
      <form
        onSubmit={async (e) => {
          e.preventDefault();
          busy.value = true;
          problem.value = null;
          setKey(typed.value.trim());
          try {
            await ask("GET", "status");
            loginWanted.value = null;
            poke();
          } catch (x) {
            const p = Problem.of(x);
            // Being known but not allowed to see /status is a login all the same.
            if (p.status === 403) loginWanted.value = null;
            else {
              problem.value = p;
              setKey(null);
            }
          }
          busy.value = false;
        }}
      >
        <label class="field">
          <span>API key</span>
          <input type="password" class="mono wide" name="key" required autocomplete="current-password" value={typed} onInput={(e) => (typed.value = e.currentTarget.value)} autofocus />
        </label>
        <ProblemBox of={problem.value} />
        <p class="actions">
          <button type="submit" class="primary" disabled={busy.value}>
            Log in
          </button>
        </p>
      </form>
    </section>
  );
}
