// Calls by Google's grpc-web in its default mode, text.
import { fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { GrpcWebClientBase, MethodDescriptor } from "grpc-web";
import { detail } from "./connect.mjs";

export function runGrpcWebText(registry, baseUrl) {
  const service = registry.getService("user.v1.UserService");
  const client = new GrpcWebClientBase({ format: "text" });

  return async (name, requests, signal, emit) => {
    const { input, output, methodKind } = service.methods.find((method) => method.name === name);
    const path = `${baseUrl}/${service.typeName}/${name}`;
    const descriptor = new MethodDescriptor(
      path,
      methodKind,
      Object,
      Object,
      (message) => toBinary(input, message),
      (bytes) => fromBinary(output, bytes),
    );
    const request = fromJson(input, await requests.only());
    const answered = (response) => emit(toJson(output, response));

    const end = { code: 0, trailer: {} };
    const failed = ({ code, message, metadata }) => Object.assign(end, endOf(registry, code, message, metadata));
    await new Promise((resolve) => {
      if (methodKind === "unary") {
        client.rpcCall(path, request, {}, descriptor, (err, response) => {
          if (err) failed(err);
          else answered(response);
          resolve();
        });
        return;
      }
      const stream = client.serverStreaming(path, request, {}, descriptor);
      signal.addEventListener("abort", () => {
        stream.cancel();
        resolve();
      });
      stream.on("data", answered);
      stream.on("status", ({ metadata }) => (end.trailer = metadata));
      stream.on("error", (err) => {
        failed(err);
        resolve();
      });
      stream.on("end", resolve);
    });
    return end;
  };
}

function endOf(registry, code, message, metadata) {
  const status = metadata["grpc-status-details-bin"];
  const details = status ? fromBinary(registry.getMessage("google.rpc.Status"), base64Decode(status)).details : [];
  return {
    code,
    message,
    details: details.map(({ typeUrl, value }) => detail(registry, typeUrl.split("/").pop(), value)),
  };
}
