// @connectrpc/connect over any of its transports, in Node.js and in a browser.
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient, encodeBinaryHeader } from "@connectrpc/connect";

export function registryOf(descriptors) {
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptors));
}

// connectClient is a client of scenarios.mjs. It sends compressed requests by a
// transport of their own.
export function connectClient(registry, transport, compressing) {
  const service = registry.getService("user.v1.UserService");
  const methods = Object.fromEntries(service.methods.map((method) => [method.name, method]));
  const plain = createClient(service, transport);
  const compressed = createClient(service, compressing);
  const invoke = (name, request, { gzip, headers, ...options }) =>
    (gzip ? compressed : plain)[methods[name].localName](request, { ...options, headers: encoded(headers) });
  return {
    call: (name, request, options = {}) => invoke(name, request, options),
    async *stream(name, requests, options = {}) {
      const { methodKind } = methods[name];
      if (methodKind === "server_streaming") yield* invoke(name, requests[0], options);
      else if (methodKind === "bidi_streaming") yield* invoke(name, requests, options);
      else yield await invoke(name, requests, options);
    },
    failure(err) {
      const { code, details } = ConnectError.from(err);
      const found = details.find(({ type }) => type === "google.rpc.ErrorInfo");
      return [code, found && fromBinary(registry.getMessage(found.type), found.value).reason];
    },
  };
}

const encoded = (headers = {}) =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, name.endsWith("-bin") ? encodeBinaryHeader(value) : value]),
  );
