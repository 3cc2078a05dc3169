import { setTimeout } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { Reason, reasonOf } from "@example/userd";

const mostTries = 8;
const [firstWait, mostWait] = [100, 5_000]; // Milliseconds.

// retry makes unary calls again that a server did not do: those that it says it had no room
// for, and those that only read where it was not to be reached. A write that was not answered
// may have been done; make it safe to repeat (a userId, an expectedVersion) and decide for
// yourself. A timeout or a signal of the call ends it.
export const retry = (next) => async (request) => {
  if (request.stream) return next(request);
  for (let tries = 1; ; tries++) {
    try {
      return await next(request);
    } catch (error) {
      if (tries === mostTries || !mayComeAgain(error, request.method)) throw error;
      await pause(backoff(tries), request.signal);
    }
  }
};

function mayComeAgain(error, method) {
  if (reasonOf(error) === Reason.OVERLOADED) return true; // The server did nothing of it.
  const reads = method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
  return reads && ConnectError.from(error).code === Code.Unavailable;
}

// backoff is twice as long with each try: at least the 250 ms that a server without room asks
// for. It is partly random, so that not all callers of a server that comes back come at once.
export function backoff(tries) {
  const longest = Math.min(firstWait * 2 ** tries, mostWait);
  return 250 + longest * Math.random();
}

export async function pause(milliseconds, signal) {
  await setTimeout(milliseconds, undefined, { signal }).catch(() => {}); // The caller looks at the signal.
}
