import { useState } from "preact/hooks";
import { session, signIn } from "./client";
import { Kept } from "./draft";
import { useStore } from "./store";

export function SignIn() {
  const { why } = useStore(session);
  const [given, setGiven] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    await signIn(given);
    setBusy(false);
  };
  return (
    <form class="card narrow" onSubmit={submit}>
      <h1 tabIndex={-1}>Sign in</h1>
      <p>This server knows its callers. Give it a token: one that <code>userd token new</code> has made, or a JWT of its issuer.</p>
      {why !== "" && <p class="notice bad" role="alert">{why}</p>}
      <Kept />
      <label for="token">Token</label>
      <input id="token" type="password" autocomplete="off" required value={given} onInput={(event) => setGiven(event.currentTarget.value)} />
      <p class="hint">It is kept until this tab is closed.</p>
      <button type="submit" class="main" disabled={busy}>Sign in</button>
    </form>
  );
}
