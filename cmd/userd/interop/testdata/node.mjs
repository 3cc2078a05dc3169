// Clients for Node.js: node node.mjs grpc-js|grpc|grpc-web|connect URL CA|- DESCRIPTORS
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { compressionGzip, createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { connectClient, registryOf } from "./connect.mjs";
import { grpcClient } from "./grpc.mjs";
import { player } from "./scenarios.mjs";

const [library, url, caFile, descriptors] = process.argv.slice(2);
const ca = caFile === "-" ? undefined : readFileSync(caFile);
const registry = registryOf(readFileSync(descriptors));

function connect(createTransport) {
  const options = { baseUrl: url, httpVersion: "2", nodeOptions: { ca }, pingIntervalMs: 1000, pingIdleConnection: true };
  const compressing = createTransport({ ...options, sendCompression: compressionGzip });
  return connectClient(registry, createTransport(options), compressing);
}

const client = {
  "grpc-js": () => grpcClient(registry, url, ca),
  "grpc": () => connect(createGrpcTransport),
  "grpc-web": () => connect(createGrpcWebTransport),
  "connect": () => connect(createConnectTransport),
}[library]();
const play = player(client);
for await (const line of createInterface({ input: process.stdin })) console.log(await play(line));
process.exit();
