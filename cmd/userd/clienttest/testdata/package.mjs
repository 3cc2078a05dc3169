// What programs do with the package @example/userd, in Node.js and in a browser.
import { createClient } from "@connectrpc/connect";
import { Reason, reasonOf, UserService } from "@example/userd";
import { StatusService } from "@example/userd/status";

export async function use(transport) {
  const users = createClient(UserService, transport);
  const ada = { email: "ada@example.com", displayName: "Ada Lovelace" };
  const { user } = await users.createUser(ada);
  const failure = await users.createUser(ada).catch((error) => error);
  if (reasonOf(failure) !== Reason.EMAIL_TAKEN) throw failure;
  if (reasonOf(new Error("other")) !== Reason.UNSPECIFIED) throw new Error("another error has a reason");
  for await (const { version } of createClient(StatusService, transport).watchStatus({})) {
    if (!version) throw new Error("the server has no version");
    break;
  }
  for await (const { events } of users.watchUsers({ cursor: "earliest" })) {
    if (events[0]?.event.value.id !== user.id) throw new Error(`the first change is ${JSON.stringify(events)}`);
    return `${user.displayName} is version ${user.version}`;
  }
}
