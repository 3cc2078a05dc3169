import { fromJson, type JsonObject, type JsonValue } from "@bufbuild/protobuf";
import { timestampFromDate, TimestampSchema, type Timestamp } from "@bufbuild/protobuf/wkt";
import type { CreateUserRequest } from "@example/userd";
import { attributePrefix, creationOf, noFields } from "./users";

/** Row is one user of a file, as text by column. */
export interface Row {
  /** From 1. */
  number: number;
  cells: Record<string, string>;
  /** Why it is no row. */
  problem: string;
  /** Bytes of the file up to where this row was read. */
  read: number;
}

/** targets are the fields that a column can be. */
export const targets = ["user_id", "email", "display_name", "roles", "disabled", "external_id", "created_at", "last_login"];

/** Mapping says which field each column is; what it does not name is as targetOf says. */
export type Mapping = Record<string, string>;

const synonyms: Record<string, string> = {
  id: "user_id", mail: "email", e_mail: "email", email_address: "email", name: "display_name", full_name: "display_name",
  role: "roles", created: "created_at", last_login_at: "last_login",
};

/** targetOf guesses the field of a column by its name; "" is none. */
export function targetOf(column: string): string {
  if (column.startsWith(attributePrefix)) return column;
  const name = column.trim().replace(/([a-z])([A-Z])/g, "$1_$2").toLowerCase().replace(/[\s-]+/g, "_");
  const target = synonyms[name] ?? name;
  return targets.includes(target) ? target : "";
}

/** read reads a file, CSV with a row of names or JSON Lines, row by row. */
export async function* read(file: File): AsyncGenerator<Row> {
  yield* isJSON(file) ? readJSON(file) : readCSV(file);
}

/** isJSON reports whether a file is one of JSON Lines. */
export function isJSON(file: File): boolean {
  return /\.(jsonl|ndjson|json)$/i.test(file.name);
}

async function* readCSV(file: File): AsyncGenerator<Row> {
  let header: string[] | undefined;
  let number = 0;
  for await (const { record, read } of recordsOf(file)) {
    if (header === undefined) {
      header = record;
      continue;
    }
    const names = header;
    const problem = record.length === names.length ? unreadable(record.join()) : `has ${record.length} cells, the row of names has ${names.length}`;
    yield { number: ++number, read, problem, cells: Object.fromEntries(names.map((name, i) => [name, record[i] ?? ""])) };
  }
}

async function* readJSON(file: File): AsyncGenerator<Row> {
  let number = 0;
  for await (const { line, read } of linesOf(file)) {
    if (line.trim() === "") continue;
    const row: Row = { number: ++number, read, problem: unreadable(line), cells: {} };
    try {
      row.cells = cellsOf(JSON.parse(line) as JsonValue);
    } catch {
      row.problem = "is no JSON object";
      row.cells = { line };
    }
    yield row;
  }
}

/** unreadable says why a text cannot be taken. Decoding leaves a mark where bytes are no UTF-8. */
function unreadable(text: string): string {
  return text.includes("\uFFFD") ? "has a character that cannot be read: save the file as UTF-8" : "";
}

function cellsOf(value: JsonValue): Record<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TypeError("no object");
  const cells: Record<string, string> = {};
  for (const [name, part] of Object.entries(value)) {
    if (name === "attributes") {
      for (const [attribute, text] of Object.entries(part as JsonObject)) cells[attributePrefix + attribute] = String(text);
    } else {
      cells[name] = Array.isArray(part) ? part.join(" ") : String(part ?? "");
    }
  }
  return cells;
}

async function* chunksOf(file: File): AsyncGenerator<{ text: string; read: number }> {
  const decoder = new TextDecoder();
  const reader = file.stream().getReader();
  for (let read = 0; ;) {
    const { value, done } = await reader.read();
    read += value?.length ?? 0;
    yield { text: decoder.decode(value, { stream: !done }), read };
    if (done) return;
  }
}

async function* linesOf(file: File): AsyncGenerator<{ line: string; read: number }> {
  let rest = "";
  let last = 0;
  for await (const { text, read } of chunksOf(file)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) yield { line, read };
    last = read;
  }
  if (rest !== "") yield { line: rest, read: last };
}

/** recordsOf reads CSV as RFC 4180 has it. */
async function* recordsOf(file: File): AsyncGenerator<{ record: string[]; read: number }> {
  let record: string[] = [];
  let cell = "";
  let quoted = false; // Within quotes.
  let closing = false; // The last character was a quote within quotes.
  let last = 0;
  for await (const { text, read } of chunksOf(file)) {
    for (const char of text) {
      if (closing) {
        closing = false;
        if (char === '"') {
          cell += char;
          continue;
        }
        quoted = false;
      }
      if (quoted) {
        if (char === '"') closing = true;
        else cell += char;
      } else if (char === '"' && cell === "") quoted = true;
      else if (char === ",") {
        record.push(cell);
        cell = "";
      } else if (char === "\n") {
        record.push(cell);
        if (record.length > 1 || cell !== "") yield { record, read };
        [record, cell] = [[], ""];
      } else if (char !== "\r") cell += char;
    }
    last = read;
  }
  if (record.length > 0 || cell !== "") yield { record: [...record, cell], read: last };
}

/** requestOf makes a user of a row, without an id where the row has none, or throws why it cannot. */
export function requestOf(row: Row, mapping: Mapping): CreateUserRequest {
  if (row.problem !== "") throw new Error(row.problem);
  const fields = { ...noFields };
  let [id, created, login] = ["", "", ""];
  for (const [column, text] of Object.entries(row.cells)) {
    const target = mapping[column] ?? targetOf(column);
    if (target === "user_id") id = text.trim().toLowerCase();
    else if (target === "created_at") created = text;
    else if (target === "last_login") login = text;
    else if (target === "disabled") fields.disabled = disabledOf(text.trim().toLowerCase());
    else if (target.startsWith(attributePrefix)) {
      if (text !== "") fields[target] = text;
    } else if (target !== "") fields[target] = text;
  }
  const request = creationOf(fields, id);
  request.createdAt = timeOf("created_at", created);
  request.lastLogin = timeOf("last_login", login);
  return request;
}

function disabledOf(text: string): string {
  if (["true", "yes", "1"].includes(text)) return "yes";
  if (["", "false", "no", "0"].includes(text)) return "no";
  throw new Error("disabled must be true or false");
}

function timeOf(name: string, text: string): Timestamp | undefined {
  if (text.trim() === "") return undefined;
  try {
    return fromJson(TimestampSchema, text.trim());
  } catch {
    const date = new Date(text);
    if (Number.isNaN(date.getTime())) throw new Error(`${name} is no time`);
    return timestampFromDate(date);
  }
}

/** failureColumn says why a row has failed, in a file of such rows. */
export const failureColumn = "failure";

/** csvLine is a line of a CSV file. */
export function csvLine(cells: string[]): string {
  return cells.map((cell) => /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell).join(",") + "\n";
}

/** Writer makes a file of many pieces, which the browser may keep on disk. */
export class Writer {
  readonly #pieces: Blob[] = [];
  #text = "";

  write(text: string) {
    this.#text += text;
    if (this.#text.length > 1 << 20) this.#flush();
  }

  file(type: string): Blob {
    this.#flush();
    return new Blob(this.#pieces, { type });
  }

  #flush() {
    this.#pieces.push(new Blob([this.#text]));
    this.#text = "";
  }
}

/** download gives a file to whoever uses the page. */
export function download(file: Blob, name: string) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
