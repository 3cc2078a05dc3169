// @grpc/grpc-js, with the messages of @bufbuild/protobuf.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Client, Metadata, credentials } from "@grpc/grpc-js";

const keepalive = { "grpc.keepalive_time_ms": 1000, "grpc.keepalive_permit_without_calls": 1 };
const gzipAlgorithm = 2;

// grpcClient is a client of scenarios.mjs.
export function grpcClient(registry, url, ca) {
  const service = registry.getService("user.v1.UserService");
  const secrets = ca ? credentials.createSsl(ca) : credentials.createInsecure();
  const dial = (options) => new Client(new URL(url).host, secrets, { ...keepalive, ...options });
  const plain = dial({});
  const compressed = dial({ "grpc.default_compression_algorithm": gzipAlgorithm });

  function prepare(name, { gzip, headers = {}, timeoutMs }) {
    const { input, output } = service.methods.find((method) => method.name === name);
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(headers)) metadata.set(key, typeof value === "string" ? value : Buffer.from(value));
    const serialize = (request) => Buffer.from(toBinary(input, create(input, request)));
    return {
      client: gzip ? compressed : plain,
      path: [`/${service.typeName}/${name}`, serialize, (bytes) => fromBinary(output, bytes)],
      rest: [metadata, timeoutMs ? { deadline: Date.now() + timeoutMs } : {}],
    };
  }

  function call(name, request, options = {}) {
    const { client, path, rest } = prepare(name, options);
    return new Promise((resolve, reject) =>
      client.makeUnaryRequest(...path, request, ...rest, (err, response) => (err ? reject(err) : resolve(response))),
    );
  }

  async function* upload(name, requests, options) {
    const { client, path, rest } = prepare(name, options);
    yield await new Promise((resolve, reject) => {
      const answered = (err, response) => (err ? reject(err) : resolve(response));
      send(client.makeClientStreamRequest(...path, ...rest, answered), requests).catch(reject);
    });
  }

  async function* download(name, requests, options) {
    const { client, path, rest } = prepare(name, options);
    const serverStream = Array.isArray(requests);
    const stream = serverStream
      ? client.makeServerStreamRequest(...path, requests[0], ...rest)
      : client.makeBidiStreamRequest(...path, ...rest);
    options.signal?.addEventListener("abort", () => stream.cancel());
    if (!serverStream) send(stream, requests).catch((err) => stream.destroy(err));
    yield* stream;
  }

  return {
    call,
    stream: (name, requests, options = {}) =>
      name === "BatchCreateUsers" ? upload(name, requests, options) : download(name, requests, options),
    failure(err) {
      const [status] = err.metadata?.get("grpc-status-details-bin") ?? [];
      const details = status ? fromBinary(registry.getMessage("google.rpc.Status"), status).details : [];
      const found = details.find(({ typeUrl }) => typeUrl.endsWith("/google.rpc.ErrorInfo"));
      return [err.code, found && fromBinary(registry.getMessage("google.rpc.ErrorInfo"), found.value).reason];
    },
  };
}

// send writes as fast as the call takes it.
async function send(call, requests) {
  for await (const request of requests) {
    if (!call.write(request)) await new Promise((resolve) => call.once("drain", resolve));
  }
  call.end();
}
