import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { Reason, reasonOf } from "@example/userd";
import { backoff, pause } from "./retry.js";

// Connect keeps something of each message until its stream ends, so no stream has more.
const maxMessages = 1_000;

// follow gives all changes to handle, also those that are made while this program or the
// server is away, until the signal. A file keeps the cursor up to which they have been
// handled. handle may see a change twice, and must have it stored when it returns. Whoever is
// away for longer than the server keeps changes (--changes-retention) gets all users anew,
// and has to drop those who are not among them: they were deleted meanwhile.
export async function follow(users, file, handle, signal) {
  for (let tries = 1; !signal.aborted; tries++) {
    try {
      await watch(users, file, handle, signal, () => (tries = 0));
    } catch (error) {
      if (signal.aborted) return;
      if (reasonOf(error) === Reason.CURSOR_EXPIRED) {
        await rm(file); // Too long away: begin anew.
      } else if (isAway(error)) {
        await pause(backoff(Math.max(tries, 1)), signal);
      } else {
        throw error;
      }
    }
  }
}

// isAway tells whether the server, or the way there, is away or has too much to do for now.
function isAway(error) {
  if (!(error instanceof ConnectError)) return false;
  const reason = reasonOf(error);
  if (reason === Reason.UNSPECIFIED) { // The connection was lost, or a proxy says so.
    return [Code.Unavailable, Code.Aborted, Code.Internal, Code.Unknown, Code.Canceled].includes(error.code);
  }
  return [Reason.UNAVAILABLE, Reason.OVERLOADED, Reason.SLOW_CONSUMER].includes(reason);
}

// watch handles changes as long as one stream lasts, from the stored cursor on.
async function watch(users, file, handle, signal, handled) {
  let cursor = await readFile(file, "utf8").catch((error) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  let messages = 0;
  for await (const message of users.watchUsers({ cursor }, { signal })) {
    if (cursor === "") { // The changes from here on are certain: now all that was before.
      for await (const user of users.listUsers({ all: true }, { signal })) {
        await handle({ event: { case: "upserted", value: user } });
      }
    }
    for (const event of message.events) await handle(event);
    cursor = message.cursor;
    await writeFile(file + ".new", cursor);
    await rename(file + ".new", file); // The file is the old or the new one whatever happens.
    handled(); // Only what gets on begins to count tries anew.
    if (++messages === maxMessages) return;
  }
}
