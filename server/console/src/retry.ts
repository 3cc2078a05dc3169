import { Code } from "@connectrpc/connect";
import { failureOf } from "./failure";

/** How long to wait before something is tried again: the first time, and at most. */
export const waits = { first: 250, most: 5_000 };
const passing = [Code.Unavailable, Code.ResourceExhausted, Code.Aborted, Code.DeadlineExceeded];

/**
 * retried makes a call again for as long as it fails for what passes, when the server says, until
 * the signal says stop. It tells why it waits, and "" when it does not any more.
 */
export async function retried<T>(call: () => Promise<T>, signal: AbortSignal, waiting: (why: string) => void): Promise<T> {
  for (let wait = waits.first; ; wait = Math.min(2 * wait, waits.most)) {
    try {
      return await call();
    } catch (err) {
      const failure = failureOf(err);
      if (signal.aborted || !passing.includes(failure.code)) throw err;
      waiting(failure.text);
      await pause(failure.retryAfter ?? wait, signal);
      waiting("");
    }
  }
}

/** pause ends after so many milliseconds, or when the signal says stop. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
  });
}
