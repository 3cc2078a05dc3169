// Follows a server whose first stream hangs behind its first message: node silence.mjs FILE
import assert from "node:assert/strict";
import { Code, ConnectError } from "@connectrpc/connect";
import { follow } from "./follow.js";

const { setTimeout } = globalThis;
globalThis.setTimeout = (run, milliseconds) => setTimeout(run, milliseconds / 1_000);

const opened = [];
const stop = new AbortController();

async function* hang(signal) {
  if (!signal.aborted) await new Promise((aborted) => signal.addEventListener("abort", aborted));
  throw new ConnectError("aborted", Code.Canceled);
}

const users = {
  async *watchUsers({ cursor }, { signal }) {
    opened.push(cursor);
    if (opened.length === 3) stop.abort();
    else yield { events: [], cursor: "one" };
    yield* hang(signal);
  },
  async *listUsers(_, { signal }) {
    if (opened.length === 1) yield* hang(signal);
  },
};
await follow(users, process.argv[2], { handle() {}, listed() {} }, stop.signal);
assert.deepEqual(opened, ["", "", "one"]); // The first list hangs, then the second watch.
