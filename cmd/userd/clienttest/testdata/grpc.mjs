// @grpc/grpc-js: node grpc.mjs DESCRIPTORS URL
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { credentials, loadPackageDefinition } from "@grpc/grpc-js";
import { loadFileDescriptorSetFromBuffer } from "@grpc/proto-loader";
import { handler } from "./calls.mjs";

const [descriptors, url] = process.argv.slice(2);
const definition = loadFileDescriptorSetFromBuffer(readFileSync(descriptors), { longs: String, enums: String });
const service = definition["user.v1.UserService"];
const { UserService } = loadPackageDefinition(definition).user.v1;
const client = new UserService(new URL(url).host, credentials.createInsecure());

// This client has no JSON of protobuf: fields have the names of the schema, and
// timestamps are messages.
const timestamps = ["created_at", "updated_at", "last_login"];
const fromTimestamp = ({ seconds = 0, nanos = 0 }) =>
  new Date(seconds * 1000).toISOString().replace(".000Z", `.${String(nanos).padStart(9, "0")}Z`);
const toTimestamp = (text) => {
  const [, date, fraction = ""] = /^(.*?)(?:\.(\d+))?Z$/.exec(text);
  return { seconds: Date.parse(`${date}Z`) / 1000, nanos: Number(fraction.padEnd(9, "0")) };
};
const camelCase = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const snakeCase = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

// rename returns JSON with other names of fields.
function rename(value, to) {
  if (Array.isArray(value)) return value.map((item) => rename(item, to));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [to(name), rename(field, to)]));
}

const toJson = (message) =>
  rename(
    JSON.parse(JSON.stringify(message, (name, value) => (timestamps.includes(name) ? fromTimestamp(value) : value))),
    camelCase,
  );
function fromJson(json) {
  const message = rename(json, snakeCase);
  return message.at ? { ...message, at: toTimestamp(message.at) } : message;
}

function endOf({ code, details: message, metadata }) {
  const [status] = metadata.get("grpc-status-details-bin");
  return {
    code,
    message,
    details: status ? definition["google.rpc.Status"].deserialize(status).details.map(detail) : [],
    trailer: Object.fromEntries(Object.keys(metadata.getMap()).map((key) => [key, String(metadata.get(key)[0])])),
  };
}

function detail({ type_url: type, value }) {
  return { "@type": type, ...toJson(definition[type.split("/").pop()].deserialize(value)) };
}

async function run(name, requests, signal, emit) {
  const { requestStream, responseStream } = service[name];
  const answered = (err, response) => response && emit(toJson(response));
  const arguments_ = requestStream ? [] : [fromJson(await requests.only())];
  const call = client[name](...arguments_, ...(responseStream ? [] : [answered]));
  signal.addEventListener("abort", () => call.cancel());

  const ends = [new Promise((resolve) => call.on("status", resolve))];
  if (responseStream) {
    call.on("data", (response) => emit(toJson(response)));
    call.on("error", () => {}); // The status says the same.
    ends.push(new Promise((resolve) => call.on("end", resolve)));
  }
  if (requestStream) {
    for await (const request of requests) call.write(fromJson(request));
    call.end();
  }
  const [status] = await Promise.all(ends);
  return endOf(status);
}

createInterface({ input: process.stdin }).on("line", handler(run, console.log)).on("close", () => process.exit());
