import { Code, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { failureOf } from "./failure";
import { UserService } from "@example/userd";
import { StatusService } from "@example/userd/status";
import { Store } from "./store";

/** Rights are what a caller may do. */
export interface Rights {
  read: boolean;
  list: boolean;
  write: boolean;
  remove: boolean;
  admin: boolean;
}

/** Session is who uses the page. */
export interface Session {
  state: "unknown" | "away" | "signedOut" | "signedIn";
  rights: Rights;
  /** Tells callers apart, "" where nobody is asked who calls. */
  caller: string;
  /** Why nobody is signed in. */
  why: string;
}

const nothing: Rights = { read: false, list: false, write: false, remove: false, admin: false };

export const session = new Store<Session>({ state: "unknown", rights: nothing, caller: "", why: "" });

/** onSignOut has what one caller has seen forgotten: it is nothing for the next. It is told why nobody is signed in, "" where that was meant. */
export function onSignOut(forget: (why: string) => void) {
  session.follow(() => {
    if (session.value.state === "signedOut") forget(session.value.why);
  });
}

// The token is kept for as long as the tab is open, and in no other tab.
const tokenKey = "userd.token";

export function token(): string {
  return sessionStorage.getItem(tokenKey) ?? "";
}

const authorize: Interceptor = (next) => async (request) => {
  const used = token();
  if (used !== "") request.header.set("Authorization", `Bearer ${used}`);
  try {
    return await next(request);
  } catch (err) {
    const failure = failureOf(err);
    if (failure.code === Code.Unauthenticated && session.value.state === "signedIn" && used === token()) {
      signOut("The server does not know this token, or not any more.");
    }
    throw err;
  }
};

const grpcWeb = createGrpcWebTransport({ baseUrl: location.origin, interceptors: [authorize] });

/** How long a call may take, in milliseconds: a server that is frozen says nothing. Who reads a stream looks at that. */
const patience = 30_000;

const transport: Transport = {
  unary: (method, signal, timeout, ...rest) => grpcWeb.unary(method, signal, timeout ?? patience, ...rest),
  stream: grpcWeb.stream,
};

export const users = createClient(UserService, transport);
export const server = createClient(StatusService, transport);

export function signOut(why = "") {
  sessionStorage.removeItem(tokenKey);
  session.value = { state: "signedOut", rights: nothing, caller: "", why };
}

/** signIn takes a token, or none, and looks what it is good for. */
export async function signIn(given?: string) {
  if (given !== undefined && /[^!-~]/.test(given.trim())) { // No header can have it.
    signOut("No token has such a character: copy it again, and nothing beside it.");
    return;
  }
  if (given !== undefined) sessionStorage.setItem(tokenKey, given.trim());
  try {
    session.value = { state: "signedIn", rights: await findRights(), caller: callerOf(token()), why: "" };
  } catch (err) {
    const failure = failureOf(err);
    if (failure.code === Code.Unauthenticated) {
      signOut(token() === "" ? "" : "The server does not know this token.");
    } else {
      session.value = { state: "away", rights: nothing, caller: "", why: failure.text };
    }
  }
}

/** callerOf is who has a token that the server knows: of a JWT its subject, so that another one is the same caller's. */
function callerOf(token: string): string {
  try {
    const claims = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    const { iss, sub } = JSON.parse(atob(claims));
    return typeof sub === "string" ? JSON.stringify([iss, sub]) : token;
  } catch {
    return token;
  }
}

/**
 * findRights asks for what cannot be: the permission is looked at first, so the error says
 * whether it is there, and nothing happens.
 */
async function findRights(): Promise<Rights> {
  const read = await may(users.getUser({})); // Alone: a token that is unknown is to count once.
  const [list, write, remove, admin] = await Promise.all([
    may(users.getUserByEmail({})),
    may(users.updateUser({})),
    may(users.deleteUser({})),
    may(end(server.watchStatus({ interval: { seconds: -1n } }))),
  ]);
  return { read, list, write, remove, admin };
}

async function end(stream: AsyncIterable<unknown>) {
  for await (const _ of stream);
}

async function may(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
  } catch (err) {
    const { code } = failureOf(err);
    if (code === Code.PermissionDenied || code === Code.Unimplemented) return false; // By a server of before.
    if (code !== Code.InvalidArgument) throw err;
  }
  return true;
}
