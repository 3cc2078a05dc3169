// What the page does: calls by @connectrpc/connect-web over gRPC-Web or Connect,
// or by Google's grpc-web in text mode. Its address says by which, and to where.
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { handler } from "./calls.mjs";
import { registryOf, runConnect } from "./connect.mjs";
import { runGrpcWebText } from "./grpc-web-text.mjs";

const { library, url: baseUrl } = Object.fromEntries(new URL(location).searchParams);
const registry = registryOf(await (await fetch("/descriptors")).bytes());
const run = {
  "connect-web over gRPC-Web": () => runConnect(registry, createGrpcWebTransport({ baseUrl })),
  "connect-web over Connect": () => runConnect(registry, createConnectTransport({ baseUrl, useHttpGet: true })),
  "grpc-web-text": () => runGrpcWebText(registry, baseUrl),
}[library]();
// browser.mjs gives the page report, and calls handle. A report takes a while, so
// it has all lines that came up together.
const lines = [];
window.handle = handler(run, (line) => {
  if (lines.push(line) === 1) setTimeout(() => report(lines.splice(0).join("\n")));
});
