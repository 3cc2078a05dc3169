import type { Reason } from "./user/v1/user_service_pb.js";

export * from "./user/v1/user_service_pb.js";

/**
 * reasonOf is why a call has failed, of what it has thrown. It is Reason.UNSPECIFIED where
 * there is none: the error came from elsewhere, such as a proxy or the network, or it has a
 * reason that this version of the schema does not know.
 */
export declare function reasonOf(error: unknown): Reason;
