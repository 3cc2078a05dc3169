import { useState } from "preact/hooks";
import { users } from "./client";
import { useDraft } from "./draft";
import { failureOf, type Failure } from "./failure";
import { draftOf, fieldsOfDraft, mistakeOf, UserFields } from "./form";
import { Problem, Waiting } from "./notice";
import { useOnce } from "./once";
import { addressOf, go } from "./page";
import { creationOf, noFields } from "./users";

export function NewPage() {
  // With an id of ours the request may be sent again: it makes one user.
  const [{ draft, id }, put] = useDraft("#/new", () => ({ draft: draftOf(noFields), id: newId() }));
  const [failure, setFailure] = useState<Failure>();
  const [create, isBusy] = useOnce(async () => {
    try {
      const { user } = await users.createUser(creationOf(fieldsOfDraft(draft), id));
      go(addressOf(user!.id));
    } catch (err) {
      setFailure(failureOf(err));
    }
  });
  const submit = (event: Event) => {
    event.preventDefault();
    const mistake = mistakeOf(draft);
    if (mistake === undefined) void create();
    else setFailure(mistake);
  };
  return (
    <form class="card" noValidate onSubmit={submit}>
      <h1 tabIndex={-1}>New user</h1>
      <Problem failure={failure} />
      <UserFields draft={draft} change={(draft) => put({ draft, id })} problems={failure?.fields ?? {}} />
      <div class="buttons">
        <button type="submit" class="main">Create</button>
        <a class="button" href="#/">Cancel</a>
        <Waiting what={isBusy ? "Creating…" : ""} />
      </div>
    </form>
  );
}

/** newId is a UUID; crypto.randomUUID is there on secure pages only. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = bytes[6]! & 0x0f | 0x40;
  bytes[8] = bytes[8]! & 0x3f | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
