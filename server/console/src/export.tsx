import { create, fromJsonString, toJson, toJsonString, type MessageInitShape } from "@bufbuild/protobuf";
import { TimestampSchema, type Timestamp } from "@bufbuild/protobuf/wkt";
import { useState } from "preact/hooks";
import { users } from "./client";
import { failureOf } from "./failure";
import { CreateUserRequestSchema, type CreateUserRequest, type SearchUsersRequestSchema, type User } from "@example/userd";
import { retried } from "./retry";
import { csvLine, download, targets, Writer } from "./rows";
import { attributePrefix } from "./users";

type Request = MessageInitShape<typeof SearchUsersRequestSchema>;

/** Export writes what a search finds to a file that an import takes. */
export function Export({ request }: { request: () => Request }) {
  const [count, setCount] = useState(0);
  const [waiting, setWaiting] = useState("");
  const [running, setRunning] = useState<AbortController>();
  const [said, say] = useState("");
  const run = async (format: "csv" | "jsonl") => {
    const mine = new AbortController();
    setRunning(mine);
    setCount(0);
    say("");
    try {
      const { lines, total } = await collect(request(), mine.signal, setCount, setWaiting);
      const file = format === "jsonl" ? lines : await csvOf(lines);
      download(file, `users.${format}`);
      say(total === 1 ? "1 user exported." : `${total} users exported.`);
    } catch (err) {
      say(mine.signal.aborted ? "The export was stopped." : err instanceof NotCSV ? err.message : failureOf(err).text);
    }
    setRunning(undefined);
    setWaiting("");
  };
  return (
    <div class="buttons">
      <button type="button" disabled={running !== undefined} onClick={() => run("csv")}>Export as CSV</button>
      <button type="button" disabled={running !== undefined} onClick={() => run("jsonl")}>Export as JSON Lines</button>
      {running !== undefined && <button type="button" onClick={() => running.abort()}>Stop the export</button>}
      <span role="status">{running === undefined ? said : `${count} users so far${waiting && `. Waiting: ${waiting}`}`}</span>
    </div>
  );
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
    if (Object.values(request.attributes).includes("")) throw new NotCSV(`User ${request.userId} has an empty attribute, which cannot stand in a CSV: export JSON Lines.`);
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
