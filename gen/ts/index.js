// Written by hand; what is below user is generated.
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ConnectError } from "@connectrpc/connect";
import { Reason } from "./user/v1/user_service_pb.js";

export * from "./user/v1/user_service_pb.js";

export function reasonOf(error) {
  for (const detail of ConnectError.from(error).details) {
    if (detail.type !== "google.rpc.ErrorInfo") continue;
    const [, reason, domain] = texts(detail.value);
    if (domain === "user.v1") return Reason[reason] ?? Reason.UNSPECIFIED;
  }
  return Reason.UNSPECIFIED;
}

// texts are the texts of a google.rpc.ErrorInfo by their numbers: its reason and its domain.
function texts(message) {
  const found = [];
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (type === WireType.LengthDelimited && number <= 2) found[number] = reader.string();
    else reader.skip(type, number);
  }
  return found;
}
