import { Code } from "@connectrpc/connect";
import type { Failure } from "./failure";
import { signOut } from "./client";

/** Problem says why something has failed. */
export function Problem({ failure }: { failure: Failure | undefined }) {
  if (failure === undefined) return null;
  return (
    <div class="notice bad" role="alert">
      <p>{sentence(failure.text)}{failure.reason !== "" && <> <code>{failure.reason}</code></>}</p>
      {failure.code === Code.PermissionDenied && (
        <button type="button" onClick={() => signOut("Sign in as somebody who may.")}>Sign in with another token</button>
      )}
    </div>
  );
}

/** Waiting says what the page waits for, where that takes longer than one notices. */
export function Waiting({ what }: { what: string }) {
  return <span role="status">{what !== "" && <span class="waiting">{what}</span>}</span>;
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
}
