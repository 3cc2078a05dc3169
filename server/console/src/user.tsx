import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { session, users } from "./client";
import { Conflict } from "./conflict";
import { hasDraft, useDraft } from "./draft";
import { failureOf, type Failure } from "./failure";
import { feed, follow, remember } from "./feed";
import { draftOf, fieldsOfDraft, mistakeOf, UserFields } from "./form";
import type { User } from "@example/userd";
import { RecentChanges } from "./history";
import { Problem, Waiting } from "./notice";
import { useOnce } from "./once";
import { addressOf, go } from "./page";
import { Roles } from "./search";
import { useStore } from "./store";
import { Time } from "./time";
import { differing, fieldsOf, updateOf, type Fields } from "./users";

/** fresh reads a user from the store, past the cache. */
async function fresh(userId: string): Promise<User | undefined> {
  return (await users.getUser({ userId }, { headers: { "Cache-Control": "no-cache" } })).user;
}

/** UserPage shows a user, and lets it be changed. */
export function UserPage({ id }: { id: string }) {
  const { rights } = useStore(session);
  const [user, setUser] = useState<User | undefined>();
  const [failure, setFailure] = useState<Failure>();
  const [missing, setMissing] = useState(false);
  const [editing, setEditing] = useState(() => hasDraft(addressOf(id)));
  const [said, say] = useState("");
  const shown = useRef(0); // Counts what is shown: an answer that was asked for before is not shown over it.
  const show = (user: User | undefined) => {
    shown.current++;
    setUser(user);
  };
  const load = async () => {
    const before = shown.current;
    try {
      const found = await fresh(id);
      if (shown.current !== before) return;
      show(found);
      if (found !== undefined) remember(id, fieldsOf(found));
      setMissing(found === undefined);
      setFailure(undefined);
    } catch (err) {
      setFailure(failureOf(err));
    }
  };
  useEffect(() => void load(), [id]);
  const { changes } = useStore(feed);
  useEffect(() => rights.list ? follow() : undefined, [rights.list]);
  useEffect(() => {
    const last = changes.find(({ userId }) => userId === id);
    if (last?.kind === "deleted") {
      show(undefined);
      setMissing(true);
    } else if (last?.user !== undefined && user !== undefined && last.version > user.version && !editing) {
      show(last.user); // What is edited stays as it was when that began.
    }
  }, [changes, editing]);
  const top = useRef<HTMLHeadingElement>(null);
  const edited = () => {
    setEditing(false);
    top.current?.focus(); // The form, where the focus was, goes away.
  };
  const saved = (changed: User) => {
    show(changed);
    setFailure(undefined);
    say(`Saved as version ${changed.version}.`);
  };
  const heading = user?.displayName ?? (missing ? "No such user" : "User");
  useEffect(() => { document.title = `${heading} – userd`; }, [heading]);
  return (
    <>
      <h1 ref={top} tabIndex={-1}><bdi>{heading}</bdi></h1>
      <p role="status" class={said === "" ? "hidden" : "notice good"}>{said}</p>
      <Problem failure={failure} />
      {user === undefined && !missing && failure === undefined && <Waiting what="Loading…" />}
      {missing && <p>There is no user with the id <code>{id}</code>. It may have been deleted.</p>}
      {user !== undefined && !editing && (
        <>
          <Facts user={user} />
          <div class="buttons">
            {rights.write && <button type="button" class="main" onClick={() => { say(""); setEditing(true); }}>Edit</button>}
            {rights.write && <Disable user={user} done={saved} fail={setFailure} />}
            {rights.remove && <Delete user={user} />}
            <button type="button" onClick={load}>Read again</button>
          </div>
        </>
      )}
      {user !== undefined && editing && <Edit user={user} saved={(changed) => { saved(changed); edited(); }} cancel={edited} />}
      {rights.list && <RecentChanges id={id} version={user?.version} />}
    </>
  );
}

function Facts({ user }: { user: User }) {
  return (
    <dl class="card facts">
      <dt>Email</dt><dd>{user.email}</dd>
      <dt>State</dt><dd>{user.disabled ? <span class="tag bad">disabled</span> : <span class="tag">active</span>}</dd>
      <dt>Roles</dt><dd><Roles of={user} /></dd>
      <dt>External id</dt><dd>{user.externalId || <span class="faint">none</span>}</dd>
      <dt>Attributes</dt><dd><Attributes user={user} /></dd>
      <dt>Created</dt><dd><Time at={user.createdAt} /></dd>
      <dt>Changed</dt><dd><Time at={user.updatedAt} /></dd>
      <dt>Last login</dt><dd><Time at={user.lastLogin} /></dd>
      <dt>Version</dt><dd>{String(user.version)}</dd>
      <dt>Id</dt><dd><code>{user.id}</code></dd>
    </dl>
  );
}

function Attributes({ user }: { user: User }) {
  const names = Object.keys(user.attributes).sort();
  if (names.length === 0) return <span class="faint">none</span>;
  return <ul class="attributes">{names.map((name) => <li key={name}><code>{name}</code> {user.attributes[name] === "" ? <span class="faint">empty</span> : <bdi class="lines">{user.attributes[name]}</bdi>}</li>)}</ul>;
}

/** Edit changes a user, if nobody else has meanwhile. */
function Edit({ user, saved, cancel }: { user: User; saved: (user: User) => void; cancel: () => void }) {
  // The base is what the draft has changed.
  const [{ draft, base }, put] = useDraft(addressOf(user.id), () => ({ draft: draftOf(fieldsOf(user)), base: user }));
  const [failure, setFailure] = useState<Failure>();
  const [conflict, setConflict] = useState<User>();
  const form = useRef<HTMLFormElement>(null);
  useLayoutEffect(() => form.current?.querySelector("input")?.focus(), []); // Before a key can be meant for another one.
  /** save makes the fields of one version of a user those that are wanted. */
  const [save, isBusy] = useOnce(async (base: User, wanted: Fields) => {
    if (differing(fieldsOf(base), wanted).length === 0) {
      saved(base);
      return;
    }
    try {
      const { user: changed } = await users.updateUser({ update: updateOf(base.id, base.version, fieldsOf(base), wanted) });
      saved(changed!);
    } catch (err) {
      const failure = failureOf(err);
      const now = failure.reason === "VERSION_MISMATCH" ? await fresh(base.id).catch(() => undefined) : undefined;
      put({ draft: draftOf(wanted), base });
      setConflict(now);
      setFailure(now === undefined ? failure : undefined);
    }
  });
  if (conflict !== undefined) {
    return <Conflict key={String(conflict.version)} base={fieldsOf(base)} mine={fieldsOfDraft(draft)} now={conflict} isBusy={isBusy} save={(wanted) => save(conflict, wanted)} cancel={() => saved(conflict)} />;
  }
  const submit = (event: Event) => {
    event.preventDefault();
    const mistake = mistakeOf(draft);
    if (mistake === undefined) void save(base, fieldsOfDraft(draft));
    else setFailure(mistake);
  };
  return (
    <form ref={form} class="card" noValidate aria-label="Edit the user" onSubmit={submit}>
      <Problem failure={failure} />
      <UserFields draft={draft} change={(draft) => put({ draft, base })} problems={failure?.fields ?? {}} />
      <div class="buttons">
        <button type="submit" class="main">Save</button>
        <button type="button" onClick={cancel}>Cancel</button>
        <Waiting what={isBusy ? "Saving…" : ""} />
      </div>
    </form>
  );
}

function Disable({ user, done, fail }: { user: User; done: (user: User) => void; fail: (failure: Failure) => void }) {
  const [toggle, isBusy] = useOnce(async () => {
    try {
      const update = { userId: user.id, disabled: !user.disabled, expectedVersion: user.version };
      done((await users.updateUser({ update })).user!);
    } catch (err) {
      fail(failureOf(err));
    }
  });
  return (
    <>
      <button type="button" onClick={toggle}>{user.disabled ? "Enable" : "Disable"}</button>
      <Waiting what={isBusy ? "Saving…" : ""} />
    </>
  );
}

/** Delete deletes a user whose email has been typed. */
function Delete({ user }: { user: User }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [typed, setTyped] = useState("");
  const [failure, setFailure] = useState<Failure>();
  const [remove, isBusy] = useOnce(async () => {
    try {
      await users.deleteUser({ userId: user.id, expectedVersion: user.version });
      dialog.current?.close();
      go("#/");
    } catch (err) {
      setFailure(failureOf(err));
    }
  });
  const submit = (event: Event) => {
    event.preventDefault();
    if (typed === user.email) void remove();
  };
  return (
    <>
      <button type="button" class="danger" onClick={() => dialog.current?.showModal()}>Delete…</button>
      <dialog ref={dialog} aria-labelledby="delete-heading" onClose={() => { setTyped(""); setFailure(undefined); }}>
        <form onSubmit={submit}>
          <h2 id="delete-heading">Delete <bdi>{user.displayName}</bdi>?</h2>
          <p>This cannot be undone. The id is never used again. Type <strong>{user.email}</strong> to confirm.</p>
          <Problem failure={failure} />
          <label for="delete-email">Email of the user</label>
          <input id="delete-email" type="text" autocomplete="off" spellcheck={false} value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
          <div class="buttons">
            <button type="submit" class="danger" disabled={typed !== user.email}>Delete</button>
            <button type="button" onClick={() => dialog.current?.close()}>Cancel</button>
            <Waiting what={isBusy ? "Deleting…" : ""} />
          </div>
        </form>
      </dialog>
    </>
  );
}
