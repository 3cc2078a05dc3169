// The package in Node.js: node package-node.mjs URL
import { createConnectTransport } from "@connectrpc/connect-node";
import { use } from "./package.mjs";

console.log(await use(createConnectTransport({ baseUrl: process.argv[2], httpVersion: "2" })));
process.exit(); // Without waiting for idle connections.
