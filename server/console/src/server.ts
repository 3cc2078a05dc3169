import { timestampMs } from "@bufbuild/protobuf/wkt";
import { onSignOut, server } from "./client";
import type { WatchStatusResponse } from "@example/userd/status";
import { resume } from "./resume";
import { Store } from "./store";

/** Moment is what the server was like. */
export interface Moment {
  /** When it came, by the clock here, in seconds of Unix time. */
  at: number;
  /** Absent where nothing is known: the server was away, or nobody looked. */
  status: WatchStatusResponse | undefined;
}

/** Watched is what has come of WatchStatus. */
export interface Watched {
  state: "off" | "connecting" | "live" | "away";
  /** The oldest first. */
  moments: Moment[];
  /** How often the server was another one than before: restarted, or one beside it. */
  changes: number;
  /** Why it stopped for good. */
  problem: string;
}

/** How many moments are kept: the memory of the page stays the same, however long it is open. */
const maxMoments = 900;

/** The server says something every second. */
const maxSilence = 10_000;

const nothing: Watched = { state: "off", moments: [], changes: 0, problem: "" };

export const watched = new Store<Watched>(nothing);

onSignOut(() => { watched.value = nothing; });

/** follow follows the status until what it returns is called. */
export function follow(): () => void {
  const mine = new AbortController();
  const set = (part: Partial<Watched>) => { watched.value = { ...watched.value, ...part }; };
  set({ state: "connecting", problem: "" });
  void resume(mine.signal, {
    open: (signal) => server.watchStatus({}, { signal }),
    silence: maxSilence,
    take: (status) => set({ state: "live", ...withMoment(watched.value, status) }),
    ended(failure) {
      if (failure?.reason === "PERMISSION_DENIED" || failure?.reason === "UNAUTHENTICATED") {
        set({ state: "off", problem: failure.text });
        return "stop";
      }
      set({ state: "away" });
      return "resume";
    },
  });
  return () => {
    mine.abort();
    set({ state: "off" });
  };
}

/** withMoment adds a message; the first of a stream has no rates, and makes a gap. */
function withMoment({ moments, changes }: Watched, status: WatchStatusResponse): Partial<Watched> {
  const before = moments.findLast((moment) => moment.status !== undefined)?.status?.startedAt;
  const isOther = before !== undefined && timestampMs(before) !== timestampMs(status.startedAt!);
  const last = moments.at(-1)?.at ?? 0;
  const at = Math.max(Date.now() / 1000, last + 0.002);
  const gap = status.since === undefined && last > 0 ? [{ at: at - 0.001, status: undefined }] : [];
  return { moments: [...moments, ...gap, { at, status }].slice(-maxMoments), changes: changes + (isOther ? 1 : 0) };
}
