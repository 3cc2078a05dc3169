import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";

/** Failure is why a call failed. */
export interface Failure {
  code: Code;
  /** Of google.rpc.ErrorInfo, such as EMAIL_TAKEN. */
  reason: string;
  text: string;
  /** What is wrong with fields, by their names in the schema. */
  fields: Record<string, string>;
  /** Milliseconds after which the call may come again, where the server says so. */
  retryAfter: number | undefined;
}

/** failureOf tells of an error that a call has thrown. */
export function failureOf(err: unknown): Failure {
  const error = ConnectError.from(err);
  const failure: Failure = { code: error.code, reason: "", text: error.rawMessage, fields: {}, retryAfter: undefined };
  for (const detail of error.details) {
    if (!("type" in detail) || !(detail.value instanceof Uint8Array)) continue;
    readDetail(failure, detail.type, detail.value);
  }
  if (error.code === Code.Unknown || error.code === Code.Unavailable && failure.reason === "") {
    failure.code = Code.Unavailable;
    failure.text = "The server cannot be reached.";
  } else if (error.code === Code.DeadlineExceeded && failure.reason === "") {
    failure.text = "The server does not answer.";
  }
  return failure;
}

function readDetail(failure: Failure, type: string, value: Uint8Array) {
  const parts = partsOf(value);
  if (type.endsWith("google.rpc.ErrorInfo")) {
    failure.reason = text(parts[1]?.[0]);
  } else if (type.endsWith("google.rpc.RetryInfo") && parts[1]?.[0]) {
    failure.retryAfter = millisecondsOf(parts[1][0]);
  } else if (type.endsWith("google.rpc.BadRequest")) {
    for (const violation of parts[1] ?? []) {
      const of = partsOf(violation);
      failure.fields[fieldOf(text(of[1]?.[0]))] ??= text(of[2]?.[0]);
    }
  }
}

/** partsOf are the texts and messages in a message, by field number. */
function partsOf(message: Uint8Array): Record<number, Uint8Array[]> {
  const parts: Record<number, Uint8Array[]> = {};
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (type === WireType.LengthDelimited) (parts[number] ??= []).push(reader.bytes());
    else reader.skip(type, number);
  }
  return parts;
}

function text(bytes: Uint8Array | undefined): string {
  return new TextDecoder().decode(bytes);
}

/** millisecondsOf reads a google.protobuf.Duration. */
function millisecondsOf(duration: Uint8Array): number {
  const reader = new BinaryReader(duration);
  let milliseconds = 0;
  while (reader.pos < reader.len) {
    const [number] = reader.tag();
    milliseconds += number === 1 ? Number(reader.int64()) * 1000 : reader.int32() / 1e6;
  }
  return milliseconds;
}

/** fieldOf is the field of a form that a path in a request is of. */
function fieldOf(path: string): string {
  const field = path.replace(/^update\./, "").split(/[.[]/)[0] ?? "";
  return field.replace(/^(add|remove)_roles$/, "roles").replace(/^(set|remove)_attributes$/, "attributes");
}
