import { failureOf, type Failure } from "./failure";
import { pause, waits } from "./retry";

/** Connect keeps something of each message until its stream ends, so no stream has more. */
const maxMessages = 1_000;

interface Stream<T> {
  open: (signal: AbortSignal) => AsyncIterable<T>;
  take: (message: T) => void;
  /** How long the server may say nothing until the stream is taken to be lost, in milliseconds. */
  silence: number;
  /** What to do when it has ended, with a failure or without one. */
  ended: (failure: Failure | undefined) => "stop" | "resume" | "resume at once";
}

/** resume reads a stream, and opens it again whenever it ends, until the signal says stop. */
export async function resume<T>(signal: AbortSignal, { open, take, silence, ended }: Stream<T>) {
  for (let wait = waits.first; !signal.aborted; wait = Math.min(2 * wait, waits.most)) {
    const lost = new AbortController();
    let silent = setTimeout(() => lost.abort(), silence);
    let failure: Failure | undefined;
    let messages = 0;
    try {
      for await (const message of open(AbortSignal.any([signal, lost.signal]))) {
        if (signal.aborted) break;
        clearTimeout(silent);
        silent = setTimeout(() => lost.abort(), silence);
        wait = waits.first;
        take(message);
        if (++messages === maxMessages) break;
      }
    } catch (err) {
      failure = failureOf(err);
    }
    clearTimeout(silent);
    if (signal.aborted) return;
    if (messages === maxMessages) continue;
    const next = ended(failure);
    if (next === "stop") return;
    if (next === "resume") await pause(wait, signal);
  }
}
