import { create, fromJsonString, toJson, toJsonString, type MessageInitShape } from "@bufbuild/protobuf";
import { TimestampSchema, type Timestamp } from "@bufbuild/protobuf/wkt";
import { onSignOut, users } from "./client";
import { failureOf } from "./failure";
import { CreateUserRequestSchema, type CreateUserRequest, type SearchUsersRequestSchema, type User } from "@example/userd";
import { retried } from "./retry";
import { csvLine, download, targets, Writer } from "./rows";
import { Store, useStore } from "./store";
import { attributePrefix } from "./users";

type Request = MessageInitShape<typeof SearchUsersRequestSchema>;

/** Run is an export, under way or done. It goes on when another page is shown. */
interface Run {
  state: "running" | "done";
  count: number;
  waiting: string;
  /** How it has ended. */
  said: string;
  stop: AbortController;
}

const current = new Store<Run | undefined>(undefined);

// Another caller does not go on with it.
onSignOut(() => {
  current.value?.stop.abort();
  current.value = undefined;
});

/** Export writes what a search finds to a file that an import takes. */
export function Export({ request, isOffered }: { request: () => Request; isOffered: boolean }) {
  const run = useStore(current);
  const isRunning = run?.state === "running";
  if (!isOffered && !isRunning) return null;
  return (
    <div class="buttons">
      <button type="button" disabled={isRunning} onClick={() => start(request(), "csv")}>Export as CSV</button>
      <button type="button" disabled={isRunning} onClick={() => start(request(), "jsonl")}>Export as JSON Lines</button>
      {isRunning && <button type="button" onClick={() => run.stop.abort()}>Stop the export</button>}
      <span role="status">{isRunning ? `${run.count} users so far${run.waiting && `. Waiting: ${run.waiting}`}` : run?.said}</span>
    </div>
  );
}

/** start exports what a search finds, and gives the file to whoever uses the page. */
async function start(request: Request, format: "csv" | "jsonl") {
  const stop = new AbortController();
  const { signal } = stop;
  current.value = { state: "running", count: 0, waiting: "", said: "", stop };
  const set = (part: Partial<Run>) => {
    if (current.value?.stop === stop) current.value = { ...current.value, ...part };
  };
  try {
    const { lines, total } = await collect(request, signal, (count) => set({ count }), (waiting) => set({ waiting }));
    const file = format === "jsonl" ? lines : await csvOf(lines);
    signal.throwIfAborted();
    download(file, `users.${format}`);
    set({ state: "done", said: total === 1 ? "1 user exported." : `${total} users exported.` });
  } catch (err) {
    set({ state: "done", said: signal.aborted ? "The export was stopped." : err instanceof NotCSV ? err.message : failureOf(err).text });
  }
}

/** NotCSV is why users cannot be written as CSV. */
class NotCSV extends Error {}

/** collect writes all that a search finds, as JSON Lines. */
async function collect(request: Request, signal: AbortSignal, progress: (count: number) => void, waiting: (why: string) => void) {
  const writer = new Writer();
  let total = 0;
  for (let pageToken = ""; ;) {
    const { users: found, nextPageToken } = await retried(
      () => users.searchUsers({ ...request, pageSize: 100, pageToken }, { signal }), signal, waiting);
    for (const user of found) writer.write(toJsonString(CreateUserRequestSchema, creationOfUser(user)) + "\n");
    total += found.length;
    progress(total);
    if (nextPageToken === "") return { lines: writer.file("application/jsonl"), total };
    pageToken = nextPageToken;
  }
}

/** creationOfUser is what makes the same user again. */
function creationOfUser(user: User): CreateUserRequest {
  const { id: userId, email, displayName, roles, externalId, attributes, disabled, createdAt, lastLogin } = user;
  return create(CreateUserRequestSchema, { userId, email, displayName, roles, externalId, attributes, disabled, createdAt, lastLogin });
}

/** csvOf writes the same as CSV. The columns are those that there are: all lines are read for them first. */
async function csvOf(lines: Blob): Promise<Blob> {
  const names = new Set<string>();
  for await (const request of requestsOf(lines)) {
    for (const name of Object.keys(request.attributes)) names.add(attributePrefix + name);
  }
  const columns = [...targets, ...[...names].sort()];
  const writer = new Writer();
  writer.write(csvLine(columns));
  for await (const request of requestsOf(lines)) {
    const cells = cellsOf(request);
    if (Object.values(request.attributes).some((value) => value === "" || value.includes("\r"))) {
      throw new NotCSV(`User ${request.userId} has an attribute that cannot stand in a CSV, since it is empty or has a carriage return: export JSON Lines.`);
    }
    writer.write(csvLine(columns.map((column) => cells[column] ?? "")));
  }
  return writer.file("text/csv");
}

async function* requestsOf(lines: Blob): AsyncGenerator<CreateUserRequest> {
  const reader = lines.stream().pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop()!;
    for (const part of parts) yield fromJsonString(CreateUserRequestSchema, part);
  }
}

function cellsOf(request: CreateUserRequest): Record<string, string> {
  const cells: Record<string, string> = {
    email: request.email,
    display_name: request.displayName,
    user_id: request.userId,
    external_id: request.externalId,
    roles: request.roles.join(" "),
    disabled: String(request.disabled),
    created_at: timeText(request.createdAt),
    last_login: timeText(request.lastLogin),
  };
  for (const [name, value] of Object.entries(request.attributes)) cells[attributePrefix + name] = value;
  return cells;
}

function timeText(time: Timestamp | undefined): string {
  return time === undefined ? "" : toJson(TimestampSchema, time);
}
