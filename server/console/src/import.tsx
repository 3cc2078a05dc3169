import { Code } from "@connectrpc/connect";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { onSignOut, session, users } from "./client";
import { newId } from "./create";
import { useDraft } from "./draft";
import { failureOf } from "./failure";
import type { CreateUserRequest, User } from "@example/userd";
import { retried } from "./retry";
import { download, NoRows, read, requestOf, targetOf, targets, Writer, type Mapping, type Row } from "./rows";
import { Store, useStore } from "./store";
import { attributePrefix, differing, fieldsOf, labels, noFields, shortened, updateOf, type Fields } from "./users";

/** Taken is what a row does to a user who is there already. */
type Taken = "fail" | "skip" | "update";

/** Run is an import, under way or done. It goes on when another page is shown. */
interface Run {
  name: string;
  state: "running" | "done" | "stopped";
  size: number;
  read: number;
  started: number;
  ended: number;
  counts: Record<"created" | "updated" | "skipped" | "failed", number>;
  /** The first of the rows that failed. */
  failures: { number: number; why: string }[];
  failed: Writer;
  waiting: string;
  /** Why it ended before the file did. */
  problem: string;
  stop: AbortController;
}

/** unreadableFile is what to say of a file that has no rows, or that the browser cannot read any more. */
function unreadableFile(err: unknown): string {
  return err instanceof NoRows ? err.message : "The file cannot be read. Has it been changed or moved since it was chosen? Choose it again.";
}

const previewRows = 5;
const shownFailures = 100;
/** As many calls at a time as browsers make over HTTP/1.1, but for one. */
const concurrency = 5;

const current = new Store<Run | undefined>(undefined);

/** What to say of an import whose token has ended before it. */
const signedOut = "Its token was not known any more, and the rows that failed are gone with it. " +
  "Choose the file again, and have users who are there already stay as they are.";

// Another caller does not go on with it, and sees nothing of its rows. How far it has come is told
// where nobody meant to end it.
onSignOut((why) => {
  const run = current.value;
  if (run === undefined) return;
  run.stop.abort();
  const isLost = run.state === "running" && why !== "";
  current.value = isLost
    ? { ...run, state: "stopped", ended: Date.now(), failures: [], failed: new Writer(), waiting: "", problem: signedOut, stop: new AbortController() }
    : undefined;
});

addEventListener("beforeunload", (event) => {
  if (current.value?.state === "running") event.preventDefault(); // The browser asks first.
});

export function ImportPage() {
  const { rights } = useStore(session);
  const run = useStore(current);
  if (!rights.write) return <p>This token may not create users.</p>;
  return (
    <>
      <h1 tabIndex={-1}>Import</h1>
      {run === undefined ? <Prepare /> : <Progress run={run} />}
    </>
  );
}

/** Chosen is the file to import, and how. */
interface Chosen {
  file: File | undefined;
  mapping: Mapping;
  taken: Taken;
}

const nothingChosen: Chosen = { file: undefined, mapping: new Map(), taken: "fail" };

/** Prepare takes a file, and shows what would become of it. */
function Prepare() {
  const [draft, put] = useDraft("#/import", () => nothingChosen);
  const { file, mapping, taken } = draft;
  const [rows, setRows] = useState<Row[]>([]);
  const [problem, setProblem] = useState("");
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (file === undefined) return;
    const chosen = new DataTransfer();
    chosen.items.add(file);
    input.current!.files = chosen.files; // It names the file of a draft that is there again.
  }, []);
  useEffect(() => {
    let isChosen = true;
    if (file !== undefined) {
      firstRows(file).then((rows) => isChosen && setRows(rows), (err) => isChosen && setProblem(unreadableFile(err)));
    }
    return () => { isChosen = false; };
  }, [file]);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row.cells)))];
  return (
    <form class="card" aria-label="Import a file" onSubmit={(event) => { event.preventDefault(); void start(file!, mapping, taken); }}>
      <label for={`${id}-file`}>File</label>
      <input ref={input} id={`${id}-file`} type="file" accept=".csv,.jsonl,.ndjson,.json,text/csv" aria-describedby={`${id}-hint`}
        onChange={(event) => { setRows([]); setProblem(""); put({ ...draft, mapping: new Map(), file: event.currentTarget.files?.[0] }); }} />
      <p class="hint" id={`${id}-hint`}>CSV with a row of names, or JSON Lines (.jsonl). Exports of this page are such files.</p>
      {rows.length > 0 && (
        <>
          <Columns columns={columns} rows={rows} mapping={mapping} change={(mapping) => put({ ...draft, mapping })} />
          <Preview rows={rows} mapping={mapping} />
          <label for={`${id}-taken`}>A user who is there already</label>
          <select id={`${id}-taken`} value={taken} aria-describedby={`${id}-taken-hint`} onChange={(event) => put({ ...draft, taken: event.currentTarget.value as Taken })}>
            <option value="fail">makes the row fail</option>
            <option value="skip">stays as it is</option>
            <option value="update">gets what the row has</option>
          </select>
          <p class="hint" id={`${id}-taken-hint`}>
            {taken === "update" && "It then has the roles, the attributes and the state of the row: a file without them takes them away."}
          </p>
          <div class="buttons"><button type="submit" class="main">Import</button></div>
        </>
      )}
      {file !== undefined && rows.length === 0 && <p role="status">{problem || `No rows in ${file.name}.`}</p>}
    </form>
  );
}

async function firstRows(file: File): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of read(file)) {
    if (rows.push(row) === previewRows) break;
  }
  return rows;
}

function Columns({ columns, rows, mapping, change }: { columns: string[]; rows: Row[]; mapping: Mapping; change: (mapping: Mapping) => void }) {
  return (
    <table>
      <caption>Columns</caption>
      <thead><tr><th scope="col">Column</th><th scope="col">Becomes</th><th scope="col" class="wide">Such as</th></tr></thead>
      <tbody>
        {columns.map((column) => (
          <tr key={column}>
            <th scope="row">{column}</th>
            <td><Target column={column} value={targetOf(column, mapping)} set={(target) => change(new Map(mapping).set(column, target))} /></td>
            <td class="wide">{shortened(rows.map((row) => row.cells[column]).find((cell) => cell !== "" && cell !== undefined) ?? "")}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Target({ column, value, set }: { column: string; value: string; set: (target: string) => void }) {
  const attribute = column.startsWith(attributePrefix) ? column : attributePrefix + column.toLowerCase().replace(/[^a-z0-9_.-]+/g, "_");
  return (
    <select aria-label={`Column ${column} becomes`} value={value} onChange={(event) => set(event.currentTarget.value)}>
      <option value="">nothing</option>
      {targets.map((target) => <option key={target} value={target}>{labels[target] ?? target}</option>)}
      <option value={attribute}>Attribute {attribute.slice(attributePrefix.length)}</option>
    </select>
  );
}

function Preview({ rows, mapping }: { rows: Row[]; mapping: Mapping }) {
  return (
    <table>
      <caption>First users</caption>
      <thead><tr><th scope="col">User</th><th scope="col">Other fields</th></tr></thead>
      <tbody>
        {rows.map((row) => {
          const made = tryRequest(row, mapping);
          if (typeof made === "string") return <tr key={row.number}><th scope="row">Row {row.number}</th><td class="problem">{made}</td></tr>;
          const attributes = Object.entries(made.attributes).map(([name, value]) => `${name}: ${value}`);
          return (
            <tr key={row.number}>
              <th scope="row">{made.displayName || <span class="faint">no name</span>}<span class="second">{made.email || "no email"}</span></th>
              <td>{shortened([made.externalId, ...made.roles, ...attributes, made.disabled ? "disabled" : ""].filter((text) => text !== "").join(", "))}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function tryRequest(row: Row, mapping: Mapping): CreateUserRequest | string {
  try {
    return requestOf(row, mapping);
  } catch (err) {
    return (err as Error).message;
  }
}

/** start imports a file, several rows at a time. */
async function start(file: File, mapping: Mapping, taken: Taken) {
  const run: Run = {
    name: file.name, state: "running", size: file.size, read: 0, started: Date.now(), ended: 0,
    counts: { created: 0, updated: 0, skipped: 0, failed: 0 }, failures: [], failed: new Writer(), waiting: "", problem: "", stop: new AbortController(),
  };
  current.value = run;
  const rows = read(file);
  const drawing = setInterval(() => draw(run), 200);
  const fail = (row: Row, why: string) => {
    run.failed.write(row.failed(why, run.counts.failed++ === 0));
    if (run.failures.length < shownFailures) run.failures.push({ number: row.number, why });
  };
  const worker = async () => {
    for (;;) {
      const { value: row, done } = await rows.next();
      if (done || run.stop.signal.aborted) return;
      const request = tryRequest(row, mapping);
      if (typeof request === "string") fail(row, request);
      else {
        const outcome = await putPatiently(request, taken, run);
        if (outcome in run.counts) run.counts[outcome as keyof Run["counts"]]++;
        else if (outcome !== "") fail(row, outcome);
      }
      run.read = Math.max(run.read, row.read);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker)).catch((err) => {
    run.problem = unreadableFile(err);
    run.stop.abort();
  });
  clearInterval(drawing);
  run.state = run.stop.signal.aborted ? "stopped" : "done";
  run.ended = Date.now();
  draw(run);
}

function draw(run: Run) {
  if (current.value?.stop === run.stop) current.value = { ...run };
}

/** putPatiently stores a row and says what it did: one of the counts, "" where it was stopped, or why it failed. */
async function putPatiently(request: CreateUserRequest, taken: Taken, run: Run): Promise<string> {
  const { signal } = run.stop;
  const hasId = request.userId !== "";
  if (!hasId) request.userId = newId(); // With an id the row can be sent again.
  try {
    return await retried(() => put(request, hasId, taken, signal), signal, (why) => { run.waiting = why; });
  } catch (err) {
    if (signal.aborted) return "";
    const failure = failureOf(err);
    const fields = Object.entries(failure.fields).map(([field, text]) => `${field} ${text}`);
    return fields.length > 0 ? fields.join("; ") : failure.text;
  }
}

async function put(request: CreateUserRequest, hasId: boolean, taken: Taken, signal: AbortSignal): Promise<"created" | "updated" | "skipped"> {
  try {
    await users.createUser(request, { signal });
    return "created";
  } catch (err) {
    if (failureOf(err).code !== Code.AlreadyExists || taken === "fail") throw err;
    if (taken === "skip") return "skipped";
    const there = await existing(request, signal);
    if (there === undefined || hasId && there.id !== request.userId) throw err; // Somebody else has its email.
    return update(there, request, signal);
  }
}

/** existing is the user that a row is about. */
async function existing({ userId, externalId, email }: CreateUserRequest, signal: AbortSignal): Promise<User | undefined> {
  const byId = (await users.getUser({ userId }, { signal })).user;
  if (byId !== undefined) return byId;
  const byExternalId = externalId === "" ? undefined : (await users.getUserByExternalId({ externalId }, { signal })).user;
  return byExternalId ?? (await users.getUserByEmail({ email }, { signal })).user;
}

async function update(there: User, request: CreateUserRequest, signal: AbortSignal): Promise<"updated" | "skipped"> {
  const wanted: Fields = {
    ...noFields, email: request.email, display_name: request.displayName, external_id: request.externalId || there.externalId,
    roles: request.roles.join(" "), disabled: request.disabled ? "yes" : "no",
  };
  for (const [name, value] of Object.entries(request.attributes)) wanted[attributePrefix + name] = value;
  if (differing(fieldsOf(there), wanted).length === 0) return "skipped";
  await users.updateUser({ update: updateOf(there.id, there.version, fieldsOf(there), wanted) }, { signal });
  return "updated";
}

function Progress({ run }: { run: Run }) {
  const { created, updated, skipped, failed } = run.counts;
  const total = created + updated + skipped + failed;
  const seconds = Math.max(((run.ended || Date.now()) - run.started) / 1000, 0.001);
  const again = () => { current.value = undefined; };
  return (
    <section class="card" aria-label="Progress">
      <label for="progress">{run.name}</label>
      <progress id="progress" max={run.size || 1} value={run.state === "done" ? run.size || 1 : run.read} />
      <p role="status">
        {{ running: "Importing…", done: "Done.", stopped: "Stopped." }[run.state]} {created} created, {updated} updated, {skipped} there already, {failed} failed.
      </p>
      {run.problem !== "" && <p class="problem" role="alert">{run.problem}</p>}
      <p class="hint">{Math.round(total / seconds)} rows a second. {run.waiting !== "" && `Waiting: ${run.waiting}`}</p>
      <div class="buttons">
        {run.state === "running"
          ? <button type="button" onClick={() => run.stop.abort()}>Stop</button>
          : <button type="button" onClick={again}>Import another file</button>}
        {run.failures.length > 0 && run.state !== "running" && (
          <button type="button" onClick={() => download(run.failed.file("text/plain"), `failed-${run.name}`)}>Download the failed rows</button>
        )}
      </div>
      {run.failures.length > 0 && <Failures run={run} />}
    </section>
  );
}

function Failures({ run }: { run: Run }) {
  return (
    <table>
      <caption>Failed rows{run.counts.failed > shownFailures && `, the first ${shownFailures}`}</caption>
      <thead><tr><th scope="col" class="number">Row</th><th scope="col">Why</th></tr></thead>
      <tbody>
        {run.failures.map(({ number, why }) => <tr key={number}><td class="number">{number}</td><td>{why}</td></tr>)}
      </tbody>
    </table>
  );
}
