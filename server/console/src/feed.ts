import { timestampDate } from "@bufbuild/protobuf/wkt";
import { onSignOut, users } from "./client";
import type { Failure } from "./failure";
import type { User, UserEvent } from "@example/userd";
import { resume } from "./resume";
import { Store } from "./store";
import { differing, fieldsOf, type Fields } from "./users";

/** Change is one change of a user, as it was told. */
export interface Change {
  /** Counts the changes that have come. */
  number: number;
  /** When it was made; of a deletion, when it came. */
  at: Date;
  kind: "created" | "changed" | "deleted";
  userId: string;
  version: bigint;
  /** Absent where the user was deleted. */
  user: User | undefined;
  /** The fields as they were before, if that is known. */
  before: Fields | undefined;
}

/** Feed is what has come of WatchUsers. */
export interface Feed {
  state: "off" | "connecting" | "live" | "away";
  /** The newest first. */
  changes: Change[];
  /** How often the server, or the way there, was away. */
  interruptions: number;
  /** Changes that nobody keeps any more were missed. */
  gap: boolean;
  /** Why it stopped for good. */
  problem: string;
}

/** The changes that are kept: the memory of the page stays the same, however long it is open. */
const maxChanges = 500;

/** How often the page is drawn, at most. */
const drawEvery = 200;

/** The server says something every ten seconds at least. */
const maxSilence = 30_000;

export const feed = new Store<Feed>({ state: "off", changes: [], interruptions: 0, gap: false, problem: "" });

onSignOut(() => {
  stop();
  [cursor, pending] = ["", []];
  known.clear();
  feed.value = { state: "off", changes: [], interruptions: 0, gap: false, problem: "" };
});

// Over HTTP/1.1 a browser has six connections to a server, for all tabs: one that is not seen takes
// none, and goes on where it was when it is.
document.addEventListener("visibilitychange", () => {
  if (followers === 0) return;
  if (document.hidden) stop();
  else if (running === undefined) void run();
});

let followers = 0;
let running: AbortController | undefined;
let cursor = "";
let count = 0;
let pending: Change[] = [];
let drawing: ReturnType<typeof setTimeout> | undefined;
const known = new Map<string, Fields>();

/** follow follows the changes until what it returns is called; all who do share one stream. */
export function follow(): () => void {
  if (followers++ === 0 && !document.hidden) void run();
  return () => {
    if (--followers === 0) stop();
  };
}

/** restart follows from the oldest change that is kept, or from now on. */
export function restart(from: "earliest" | "") {
  stop();
  cursor = from;
  pending = [];
  known.clear();
  feed.value = { ...feed.value, changes: [], gap: false };
  void run();
}

function stop() {
  running?.abort();
  running = undefined;
  feed.value = { ...feed.value, state: "off" };
}

/** run watches until it is stopped, from the last cursor on whenever the stream ends. */
async function run() {
  const mine = running = new AbortController();
  feed.value = { ...feed.value, state: "connecting", problem: "" };
  await resume(mine.signal, {
    open: (signal) => users.watchUsers({ cursor }, { signal }),
    silence: maxSilence,
    take(message) {
      if (feed.value.state !== "live") feed.value = { ...feed.value, state: "live" };
      cursor = message.cursor;
      take(message.events);
    },
    ended,
  });
}

function ended(failure: Failure | undefined) {
  const { reason, text } = failure ?? {};
  if (reason === "CURSOR_EXPIRED" || reason === "INVALID_CURSOR") {
    cursor = "";
    feed.value = { ...feed.value, gap: true };
    return "resume at once";
  }
  if (reason === "PERMISSION_DENIED" || reason === "UNAUTHENTICATED") {
    feed.value = { ...feed.value, state: "off", problem: text! };
    return "stop";
  }
  if (feed.value.state === "live") feed.value = { ...feed.value, interruptions: feed.value.interruptions + 1 };
  feed.value = { ...feed.value, state: "away" };
  return "resume";
}

function take(events: UserEvent[]) {
  for (const event of events) {
    const change = changeOf(event, known);
    if (change === undefined) continue;
    pending.push(change);
    if (pending.length > maxChanges) pending.shift();
    drawing ??= setTimeout(draw, drawEvery);
    if (change.user === undefined) known.delete(change.userId);
    else remember(change.userId, fieldsOf(change.user));
  }
}

function changeOf({ event }: UserEvent, before: Map<string, Fields>): Change | undefined {
  if (event.case === "upserted") {
    const user = event.value;
    const at = user.updatedAt === undefined ? new Date() : timestampDate(user.updatedAt);
    return { number: ++count, at, kind: user.version === 1n ? "created" : "changed", userId: user.id, version: user.version, user, before: before.get(user.id) };
  }
  if (event.case === "deleted") {
    const { userId, version } = event.value;
    return { number: ++count, at: new Date(), kind: "deleted", userId, version, user: undefined, before: before.get(userId) };
  }
  return undefined;
}

/** History is what looking through all changes that are kept has found of one user. */
export interface History {
  /** The newest first. */
  found: Change[];
  /** How many changes were looked at. */
  looked: number;
}

/**
 * For how long the server is silent only when there is nothing more: it says something every 10
 * seconds then. While it passes over changes that are not told it says sooner that it goes on.
 */
const atEnd = 8_000;

/**
 * lookBack looks through the changes that are kept for those of a user, up to a version, or of one
 * who is deleted, up to that. What one of them did not outlive is not there any more; it shows the
 * user as it became later.
 */
export async function* lookBack(userId: string, upTo: bigint | undefined, signal: AbortSignal): AsyncGenerator<History> {
  const history: History = { found: [], looked: 0 };
  const before = new Map<string, Fields>();
  let last = Date.now();
  for await (const { events } of users.watchUsers({ cursor: "earliest" }, { signal })) {
    for (const event of events) {
      const change = changeOf(event, before);
      if (change?.userId !== userId) continue;
      if (change.user !== undefined) before.set(userId, fieldsOf(change.user));
      history.found = [change, ...history.found];
    }
    history.looked += events.length;
    yield { ...history };
    const silent = Date.now() - last;
    last += silent;
    const [newest] = history.found;
    const isLast = newest?.kind === "deleted" || newest !== undefined && upTo !== undefined && newest.version >= upTo;
    if (isLast || events.length === 0 && silent > atEnd) return;
  }
}

/** remember keeps how a user was, so that its next change can be told. */
export function remember(id: string, fields: Fields) {
  known.delete(id);
  known.set(id, fields);
  if (known.size > maxChanges) known.delete(known.keys().next().value!);
}

function draw() {
  drawing = undefined;
  feed.value = { ...feed.value, changes: [...pending.reverse(), ...feed.value.changes].slice(0, maxChanges) };
  pending = [];
}

/** fieldsChanged are the fields that a change has changed, as far as that is known. */
export function fieldsChanged({ before, user }: Change): string[] {
  return before === undefined || user === undefined ? [] : differing(before, fieldsOf(user));
}
