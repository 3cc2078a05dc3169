import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { Reason, reasonOf } from "@example/userd";
import { backoff, pause } from "./retry.js";

// Connect keeps something of each message until its stream ends, so no stream has more.
const maxMessages = 1_000;

// Milliseconds that a stream may bring nothing. A server that is there says something every ten
// seconds; one that hangs, or that nothing comes through from, does not.
const maxSilence = 30_000;

// follow gives all changes to handle, also those that are made while this program or the
// server is away, until the signal. A file keeps the cursor up to which they have been
// handled. All users come anew where this program has been away for longer than the server
// keeps changes (--changes-retention), and where the server's database was restored from a
// backup.
//
// handle may see a change twice, and after all users those that were made while they came. It
// must have a change stored when it returns. listed is called when all users there are have
// been handled since a time: whoever was not is to be dropped, they were deleted meanwhile.
export async function follow(users, file, { handle, listed }, signal) {
  for (let tries = 1; !signal.aborted; tries++) {
    try {
      await watch(users, file, { handle, listed }, signal, () => (tries = 0));
    } catch (error) {
      if (signal.aborted) return;
      if (isLost(error)) {
        await rm(file, { force: true });
      } else if (isAway(error)) {
        await pause(backoff(Math.max(tries, 1)), signal);
      } else {
        throw error;
      }
    }
  }
}

// isLost tells whether nothing can be followed from a cursor any more: the changes after it are
// not kept, or the database is another one than it is of.
function isLost(error) {
  return [Reason.CURSOR_EXPIRED, Reason.INVALID_CURSOR].includes(reasonOf(error));
}

// isAway tells whether the server, or the way there, is away or has too much to do for now.
function isAway(error) {
  if (!(error instanceof ConnectError)) return false;
  const reason = reasonOf(error);
  if (reason === Reason.UNSPECIFIED) { // The connection was lost, or a proxy says so.
    return [Code.Unavailable, Code.Aborted, Code.Internal, Code.Unknown, Code.Canceled, Code.ResourceExhausted].includes(error.code);
  }
  return [Reason.UNAVAILABLE, Reason.OVERLOADED, Reason.SLOW_CONSUMER].includes(reason);
}

// watch handles changes as long as one stream lasts, from the stored cursor on.
async function watch(users, file, { handle, listed }, signal, handled) {
  let cursor = await readFile(file, "utf8").catch((error) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  let messages = 0;
  for await (const message of receive((signal) => users.watchUsers({ cursor }, { signal }), signal)) {
    if (cursor === "") { // The changes from here on are certain: now all that was before.
      const began = new Date();
      for await (const user of receive((signal) => users.listUsers({ all: true }, { signal }), signal)) {
        await handle({ event: { case: "upserted", value: user } });
      }
      await listed(began);
    }
    for (const event of message.events) await handle(event);
    cursor = message.cursor;
    await writeFile(file + ".new", cursor);
    await rename(file + ".new", file); // The file is the old or the new one whatever happens.
    handled(); // Only what gets on begins to count tries anew.
    if (++messages === maxMessages) return;
  }
}

// receive has the messages of a stream, which ends when it is silent for too long. What is done
// with a message does not count.
async function* receive(open, signal) {
  const lost = new AbortController();
  const listen = () => setTimeout(() => lost.abort(), maxSilence);
  let silence = listen();
  try {
    for await (const message of open(AbortSignal.any([signal, lost.signal]))) {
      clearTimeout(silence);
      yield message;
      silence = listen();
    }
  } finally {
    clearTimeout(silence);
  }
}
