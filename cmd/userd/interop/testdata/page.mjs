// What the page of browser.mjs does. Its address says where userd is.
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { connectClient, registryOf } from "./connect.mjs";
import { player } from "./scenarios.mjs";

const { library, url: baseUrl } = Object.fromEntries(new URL(location).searchParams);
const registry = registryOf(await (await fetch("/descriptors")).bytes());
const createTransport = { "grpc-web": createGrpcWebTransport, "connect": createConnectTransport }[library];
const transport = createTransport({ baseUrl });
window.play = player(connectClient(registry, transport, transport));
