import { useEffect, useState } from "preact/hooks";
import { failureOf } from "./failure";
import { feed, lookBack, type History } from "./feed";
import { ChangeTable } from "./live";
import { useStore } from "./store";

/** RecentChanges are those of a user that have come since the page was opened, and the earlier ones that are kept. */
export function RecentChanges({ id, version }: { id: string; version: bigint | undefined }) {
  const { changes } = useStore(feed);
  const [earlier, setEarlier] = useState<History>({ found: [], looked: 0 });
  const [running, setRunning] = useState<AbortController>();
  const [said, say] = useState("");
  useEffect(() => () => running?.abort(), [running]);
  const look = async () => {
    const mine = new AbortController();
    setRunning(mine);
    say("");
    try {
      for await (const history of lookBack(id, version, mine.signal)) setEarlier(history);
    } catch (err) {
      if (!mine.signal.aborted) say(failureOf(err).text);
    }
    setRunning(undefined);
  };
  const seen = new Set<bigint>();
  const own = [...changes.filter(({ userId }) => userId === id), ...earlier.found]
    .filter(({ version }) => !seen.has(version) && seen.add(version))
    .sort((a, b) => Number(b.version - a.version));
  return (
    <section aria-label="Recent changes">
      <h2>Recent changes</h2>
      {own.length === 0 ? <p class="faint">None since this page was opened.</p> : <ChangeTable changes={own} caption="Changes of this user, the newest first" />}
      <div class="buttons">
        {running === undefined
          ? <button type="button" onClick={look}>Look for earlier ones</button>
          : <button type="button" onClick={() => running.abort()}>Stop looking</button>}
        <span role="status">{said} {earlier.looked > 0 && `${earlier.looked} changes looked at`}</span>
      </div>
    </section>
  );
}
