import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { User } from "@example/userd";
import { Waiting } from "./notice";
import { differing, fieldsOf, labelOf, type Fields } from "./users";

interface Props {
  /** As the user was when its editing began. */
  base: Fields;
  mine: Fields;
  now: User;
  isBusy: boolean;
  save: (wanted: Fields) => void;
  cancel: () => void;
}

/** Conflict lets one choose, field by field, between what one has typed and what another has stored meanwhile. */
export function Conflict({ base, mine, now, isBusy, save, cancel }: Props) {
  const theirs = fieldsOf(now);
  const changedByThem = differing(base, theirs);
  const changedByMe = differing(base, mine);
  const names = differing(mine, theirs);
  // What only they have changed stays theirs.
  const [kept, setKept] = useState(() => new Set(names.filter((name) => changedByMe.includes(name))));
  const heading = useRef<HTMLHeadingElement>(null);
  useLayoutEffect(() => heading.current?.focus(), []);
  const keep = (name: string, isMine: boolean) => {
    const next = new Set(kept);
    if (isMine) next.add(name);
    else next.delete(name);
    setKept(next);
  };
  const submit = (event: Event) => {
    event.preventDefault();
    const wanted: Fields = { ...theirs };
    for (const name of kept) {
      if (mine[name] === undefined) delete wanted[name];
      else wanted[name] = mine[name];
    }
    save(wanted);
  };
  return (
    <form class="card" aria-label="Conflict" onSubmit={submit}>
      <h2 ref={heading} tabIndex={-1}>Somebody else has changed this user</h2>
      <p>It is at version {String(now.version)} now. Choose what each field is to be.</p>
      <table class="conflict">
        <thead>
          <tr><th scope="col">Field</th><th scope="col">Yours</th><th scope="col">Version {String(now.version)}</th></tr>
        </thead>
        <tbody>
          {names.map((name) => (
            <tr key={name}>
              <th scope="row">
                {labelOf(name)}
                {changedByMe.includes(name) && changedByThem.includes(name) && <span class="second">changed by both</span>}
              </th>
              <td><Choice name={name} side="yours" value={mine[name]} chosen={kept.has(name)} choose={() => keep(name, true)} /></td>
              <td><Choice name={name} side="stored" value={theirs[name]} chosen={!kept.has(name)} choose={() => keep(name, false)} /></td>
            </tr>
          ))}
        </tbody>
      </table>
      {names.length === 0 && <p>Both versions are the same.</p>}
      <div class="buttons">
        <button type="submit" class="main">Save</button>
        <button type="button" onClick={cancel}>Discard mine</button>
        <Waiting what={isBusy ? "Saving…" : ""} />
      </div>
    </form>
  );
}

function Choice({ name, side, value, chosen, choose }: { name: string; side: string; value: string | undefined; chosen: boolean; choose: () => void }) {
  return (
    <label class="check">
      <input type="radio" name={name} aria-label={`${labelOf(name)}, ${side}: ${value || "none"}`} checked={chosen} onChange={choose} />
      <span>{value || <span class="faint">none</span>}</span>
    </label>
  );
}
