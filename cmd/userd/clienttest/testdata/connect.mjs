// Calls by @connectrpc/connect over any of its transports, in Node.js and in a
// browser.
import { createFileRegistry, fromBinary, fromJson, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";

export function registryOf(descriptors) {
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptors));
}

// detail is one error detail as the JSON of an Any.
export function detail(registry, type, value) {
  const schema = registry.getMessage(type);
  return { "@type": `type.googleapis.com/${type}`, ...toJson(schema, fromBinary(schema, value), { registry }) };
}

export function runConnect(registry, transport) {
  const service = registry.getService("user.v1.UserService");
  const client = createClient(service, transport);

  return async (name, requests, signal, emit) => {
    const method = service.methods.find((method) => method.name === name);
    const end = { code: 0, trailer: {} };
    const options = { signal, onTrailer: (trailer) => (end.trailer = Object.fromEntries(trailer)) };
    const streamsRequests = method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
    const streamsResponses = method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
    const messages = async function* () {
      for await (const request of requests) yield fromJson(method.input, request);
    };
    try {
      const request = streamsRequests ? messages() : fromJson(method.input, await requests.only());
      const answer = client[method.localName](request, options);
      for await (const response of streamsResponses ? answer : [answer]) emit(toJson(method.output, response));
    } catch (err) {
      const { code, rawMessage, details } = ConnectError.from(err);
      end.code = code;
      end.message = rawMessage;
      end.details = details.map(({ type, value }) => detail(registry, type, value));
    }
    return end;
  };
}
