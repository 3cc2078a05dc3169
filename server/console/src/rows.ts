import { fromJson, type JsonObject, type JsonValue } from "@bufbuild/protobuf";
import { timestampFromDate, TimestampSchema, type Timestamp } from "@bufbuild/protobuf/wkt";
import type { CreateUserRequest } from "@example/userd";
import { attributePrefix, creationOf, labels, noFields } from "./users";

/** Row is one user of a file, as text by column. */
export interface Row {
  /** From 1. */
  number: number;
  cells: Record<string, string>;
  /** Why it is no row. */
  problem: string;
  /** Bytes of the file up to where this row was read. */
  read: number;
  /** Whether an empty cell is an empty text; in a CSV it is nothing. */
  hasEmptyTexts: boolean;
  /** The row in a file of rows that failed: as it came, with why, the first behind the names of its columns. */
  failed: (why: string, isFirst: boolean) => string;
}

/** NoRows is why a file has no rows that could be read. */
export class NoRows extends Error {}

/** What is longer, in characters, is no row. */
const maxRow = 1 << 20;

/** targets are the fields that a column can be. */
export const targets = ["user_id", "email", "display_name", "roles", "disabled", "external_id", "created_at", "last_login"];

/** Mapping says which field each column is; what it does not name is guessed. */
export type Mapping = ReadonlyMap<string, string>;

const synonyms = new Map(Object.entries({
  id: "user_id", mail: "email", e_mail: "email", email_address: "email", name: "display_name", full_name: "display_name",
  role: "roles", created: "created_at", last_login_at: "last_login",
}));

/** targetOf is the field that a column becomes; "" is none. */
export function targetOf(column: string, mapping: Mapping): string {
  return mapping.get(column) ?? guess(column);
}

function guess(column: string): string {
  if (column.startsWith(attributePrefix)) return column;
  const name = column.trim().replace(/([a-z])([A-Z])/g, "$1_$2").toLowerCase().replace(/[\s-]+/g, "_");
  const target = synonyms.get(name) ?? name;
  return targets.includes(target) ? target : "";
}

/** read reads a file, CSV with a row of names or JSON Lines, row by row. */
export async function* read(file: File): AsyncGenerator<Row> {
  yield* isJSON(file) ? readJSON(file) : readCSV(file);
}

/** isJSON reports whether a file is one of JSON Lines. */
function isJSON(file: File): boolean {
  return /\.(jsonl|ndjson|json)$/i.test(file.name);
}

/** failureColumn says why a row has failed, in a file of such rows. */
const failureColumn = "failure";

async function* readCSV(file: File): AsyncGenerator<Row> {
  let names: string[] | undefined;
  let number = 0;
  for await (const { record, read, isOpen } of recordsOf(file)) {
    if (names === undefined) names = record;
    else yield { number: ++number, read, ...rowOf(names, record, isOpen) };
  }
}

/** rowOf is a row of a CSV. In a file of rows that failed it keeps all its cells, however many they are, behind the reason. */
function rowOf(names: string[], record: string[], isOpen: boolean): Omit<Row, "number" | "read"> {
  const earlier = names.indexOf(failureColumn);
  const others = (cells: string[]) => cells.filter((_, i) => i !== earlier);
  return {
    cells: Object.fromEntries(names.map((name, i) => [name, record[i] ?? ""])),
    problem: problemOfNames(names) || problemOfRecord(others(names), others(record), isOpen),
    hasEmptyTexts: false,
    failed: (why, isFirst) => (isFirst ? csvLine([failureColumn, ...others(names)]) : "") + csvLine([why, ...others(record)]),
  };
}

function problemOfNames(names: string[]): string {
  const [first = ""] = names;
  const separator = names.length === 1 && (first.includes(";") ? "semicolons" : first.includes("\t") ? "tabs" : "");
  if (separator) return `the columns are separated by ${separator}: save the file with commas`;
  const twice = names.find((name, i) => names.indexOf(name) < i);
  return twice === undefined ? unreadable(names.join()) : `the column "${twice}" is there twice`;
}

function problemOfRecord(names: string[], record: string[], isOpen: boolean): string {
  if (isOpen) return "a quote is opened, and not closed before the file ends";
  return record.length === names.length ? unreadable(record.join()) : `has ${record.length} cells, the row of names has ${names.length}`;
}

async function* readJSON(file: File): AsyncGenerator<Row> {
  let number = 0;
  for await (const { line, read } of linesOf(file)) {
    if (line.trim() !== "") yield { number: ++number, read, ...rowOfJSON(line.trim()) };
  }
}

function rowOfJSON(line: string): Omit<Row, "number" | "read"> {
  const row = { cells: {} as Record<string, string>, problem: unreadable(line), hasEmptyTexts: true };
  const object = objectOf(line);
  if (object === undefined) {
    return { ...row, cells: { line }, problem: "is no JSON object", failed: (why) => JSON.stringify({ line, [failureColumn]: why }) + "\n" };
  }
  const put = (name: string, value: JsonValue) => {
    if (value === null) return;
    const text = textOf(value);
    if (text !== undefined) row.cells[name] = text;
    else row.problem ||= name + notText(value);
  };
  for (const [name, value] of Object.entries(object)) {
    if (name !== "attributes" || !isObject(value)) put(name, value);
    else for (const [attribute, part] of Object.entries(value)) put(attributePrefix + attribute, part);
  }
  return { ...row, failed: (why) => withFailure(line, why) };
}

/** unreadable says why a text cannot be taken. Decoding leaves a mark where bytes are no UTF-8. */
function unreadable(text: string): string {
  return text.includes("\uFFFD") ? "has a character that cannot be read: save the file as UTF-8" : "";
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function objectOf(line: string): JsonObject | undefined {
  try {
    const value = JSON.parse(line) as JsonValue;
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** textOf is a value of JSON as text, if nothing of it is lost. */
function textOf(value: JsonValue): string | undefined {
  if (Array.isArray(value)) return value.every((part) => typeof part === "string" && !/[\s,]/.test(part)) ? value.join(" ") : undefined;
  if (typeof value === "object" || typeof value === "number" && !Number.isSafeInteger(value)) return undefined;
  return String(value);
}

/** notText says why a value of JSON cannot be taken. */
function notText(value: JsonValue): string {
  if (typeof value === "number") return " is a number that cannot be read exactly: put it in quotes";
  return Array.isArray(value) ? " must be a list of words without blanks" : " must be text";
}

/** An earlier reason, as withFailure puts it. */
const earlierFailure = /,?"failure":"(?:[^"\\]|\\.)*"\}$/;

/** withFailure puts a reason at the end of a JSON object, which stays as it is written. */
function withFailure(line: string, why: string): string {
  const object = line.replace(earlierFailure, "}").slice(0, -1).trimEnd();
  return `${object}${object === "{" ? "" : ","}${JSON.stringify(failureColumn)}:${JSON.stringify(why)}}\n`;
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
    if (rest.length > maxRow) throw new NoRows("A line has more than a million characters: this is no JSON Lines.");
    last = read;
  }
  if (rest !== "") yield { line: rest, read: last };
}

/** recordsOf reads CSV as RFC 4180 has it. The last record may be open: a quote is not closed. */
async function* recordsOf(file: File): AsyncGenerator<{ record: string[]; read: number; isOpen: boolean }> {
  let record: string[] = [];
  let cell = "";
  let size = 0; // Of the record.
  let quoted = false; // Within quotes.
  let closing = false; // The last character was a quote within quotes.
  let last = 0;
  for await (const { text, read } of chunksOf(file)) {
    for (const char of text) {
      if (++size > maxRow) throw new NoRows("A row has more than a million characters: this is no CSV, or a quote is not closed.");
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
        if (record.length > 1 || cell !== "") yield { record, read, isOpen: false };
        [record, cell, size] = [[], "", 0];
      } else if (char !== "\r") cell += char;
    }
    last = read;
  }
  if (record.length > 0 || cell !== "") yield { record: [...record, cell], read: last, isOpen: quoted && !closing };
}

/** requestOf makes a user of a row, without an id where the row has none, or throws why it cannot. */
export function requestOf(row: Row, mapping: Mapping): CreateUserRequest {
  if (row.problem !== "") throw new Error(row.problem);
  const fields = { ...noFields };
  const columns = new Map<string, string>(); // By what they become.
  let [id, created, login] = ["", "", ""];
  for (const [column, text] of Object.entries(row.cells)) {
    const target = targetOf(column, mapping);
    const other = columns.get(target);
    if (other !== undefined && target !== "") throw new Error(`${other} and ${column} would both become ${labels[target] ?? target}`);
    columns.set(target, column);
    if (target === "user_id") id = text.trim().toLowerCase();
    else if (target === "created_at") created = text;
    else if (target === "last_login") login = text;
    else if (target === "disabled") fields.disabled = disabledOf(text.trim().toLowerCase());
    else if (target.startsWith(attributePrefix)) {
      if (text !== "" || row.hasEmptyTexts) fields[target] = text;
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
