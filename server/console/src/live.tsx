import { useEffect, useState } from "preact/hooks";
import { session } from "./client";
import { feed, fieldsChanged, follow, restart, type Change, type Feed } from "./feed";
import { addressOf } from "./page";
import { useStore } from "./store";
import { Time } from "./time";
import { fieldsOf, labelOf, shortened } from "./users";

/** The changes that are drawn. */
const maxRows = 100;

const states: Record<Feed["state"], string> = {
  off: "Stopped.",
  connecting: "Connecting…",
  live: "Live: changes show as they are made.",
  away: "The server is away. Nothing is missed: the view goes on from where it was.",
};

/** LivePage shows changes as they are made. */
export function LivePage() {
  const { rights } = useStore(session);
  const now = useStore(feed);
  const [held, setHeld] = useState<Change[]>();
  useEffect(() => rights.list ? follow() : undefined, [rights.list]);
  if (!rights.list) return <p>This token may not watch users.</p>;
  const changes = held ?? now.changes;
  return (
    <>
      <h1 tabIndex={-1}>Live</h1>
      <p role="status" class={`notice ${now.state === "live" ? "good" : ""}`}>{now.problem || states[now.state]}</p>
      {now.gap && <p class="notice bad" role="alert">The server no longer keeps all changes since this view was last connected: some are not shown.</p>}
      <div class="buttons">
        <button type="button" aria-pressed={held !== undefined} onClick={() => setHeld(held === undefined ? now.changes : undefined)}>Hold</button>
        <button type="button" onClick={() => { setHeld(undefined); restart("earliest"); }}>From the oldest kept</button>
        <button type="button" onClick={() => { setHeld(undefined); restart(""); }}>From now</button>
        {now.interruptions > 0 && <span>Interruptions: {now.interruptions}</span>}
      </div>
      {changes.length === 0 ? <p>No change yet.</p> : <ChangeTable changes={changes.slice(0, maxRows)} caption="Changes, the newest first" named />}
    </>
  );
}

/** ChangeTable shows changes; of one user the names may be left out. */
export function ChangeTable({ changes, caption, named }: { changes: Change[]; caption: string; named?: boolean }) {
  return (
    <table>
      <caption class="hidden">{caption}</caption>
      <thead>
        <tr>
          <th scope="col" class="wide">When</th>
          {named && <th scope="col">User</th>}
          <th scope="col">Change</th>
          <th scope="col" class="wide number">Version</th>
        </tr>
      </thead>
      <tbody>
        {changes.map((change) => (
          <tr key={change.number}>
            <td class="wide"><Time at={change.at} /></td>
            {named && <th scope="row"><Who change={change} /></th>}
            <td><What change={change} /></td>
            <td class="wide number">{String(change.version)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Who({ change: { user, userId } }: { change: Change }) {
  if (user === undefined) return <code>{userId}</code>;
  return <><a href={addressOf(userId)}><bdi>{user.displayName}</bdi></a><span class="second">{user.email}</span></>;
}

function What({ change }: { change: Change }) {
  const { at, kind, user, before } = change;
  const after = user && fieldsOf(user);
  return (
    <>
      <span class={kind === "deleted" ? "tag bad" : "tag"}>{kind}</span>
      <span class="second small"><Time at={at} /></span>
      {fieldsChanged(change).map((name) => (
        <span class="second" key={name}>{labelOf(name)}: <bdi>{shortened(before?.[name] || "none")}</bdi> → <bdi>{shortened(after?.[name] || "none")}</bdi></span>
      ))}
    </>
  );
}
