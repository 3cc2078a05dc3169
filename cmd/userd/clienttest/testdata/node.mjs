// @connectrpc/connect-node: node node.mjs grpc-web|connect DESCRIPTORS URL
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { handler } from "./calls.mjs";
import { registryOf, runConnect } from "./connect.mjs";

const [protocol, descriptors, baseUrl] = process.argv.slice(2);
const transport = { "grpc-web": createGrpcWebTransport, connect: createConnectTransport }[protocol];
const registry = registryOf(readFileSync(descriptors));
const run = runConnect(registry, transport({ baseUrl, httpVersion: "2" }));
createInterface({ input: process.stdin }).on("line", handler(run, console.log)).on("close", () => process.exit());
