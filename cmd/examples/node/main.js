// The example is a service that knows of users: it reads one when it is asked for it, and
// follows all changes, also those that are made while it or userd is not there.
//
//   npm install && node main.js http://127.0.0.1:8080 cursor
//
// It prints each change, where yours would do something with it: send a mail, keep an index.
// GET /greeting?user=ID greets a user. A userd that knows its callers gets the token in
// USERD_TOKEN, which may do users.read and users.list. Where the authority of its certificate
// is not known to Node.js, NODE_EXTRA_CA_CERTS names it. retry.js and follow.js are to be copied.
import { createServer } from "node:http";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { UserService } from "@example/userd";
import { follow } from "./follow.js";
import { retry } from "./retry.js";

const [baseUrl = "http://127.0.0.1:8080", cursor = "cursor"] = process.argv.slice(2);
const users = createClient(UserService, createConnectTransport({
  baseUrl, httpVersion: "2", interceptors: [retry, authorize],
  pingIntervalMs: 10_000, pingTimeoutMs: 10_000, // What is silent for longer is asked whether it is still there.
}));
const stop = new AbortController();
process.once("SIGTERM", () => stop.abort()).once("SIGINT", () => stop.abort());

const web = createServer(async (request, response) => {
  const [status, text] = await greet(new URL(request.url, "http://localhost").searchParams.get("user") ?? "");
  response.writeHead(status, { "Content-Type": "text/plain; charset=utf-8" }).end(text + "\n");
});

// authorize sends a token with each call, where there is one.
function authorize(next) {
  const token = process.env.USERD_TOKEN;
  return (request) => {
    if (token) request.header.set("Authorization", `Bearer ${token}`);
    return next(request);
  };
}

async function greet(userId) {
  try {
    const { user } = await users.getUser({ userId }, { timeoutMs: 10_000 });
    return user === undefined ? [404, "nobody of that id"] : [200, `Hello, ${user.displayName}!`];
  } catch (error) {
    const { code, rawMessage } = ConnectError.from(error);
    return code === Code.InvalidArgument ? [400, rawMessage] : [502, "users are away"];
  }
}

function show({ event }) {
  if (event.case === "upserted") console.log("changed", event.value.id, String(event.value.version));
  else console.log("deleted", event.value.userId, String(event.value.version));
}

// Yours drops those that it knows and has not seen since.
function listed() {
  console.log("listed");
}

await new Promise((listening) => web.listen(0, "127.0.0.1", listening));
console.log(`listening on http://127.0.0.1:${web.address().port}`);
await follow(users, cursor, { handle: show, listed }, stop.signal);
process.exit();
