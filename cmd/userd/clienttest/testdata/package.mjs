// What programs do with the package @example/userd, in Node.js and in a browser.
import { createClient } from "@connectrpc/connect";
import { Reason, reasonOf, UserService } from "@example/userd";

export async function use(transport) {
  const users = createClient(UserService, transport);
  const ada = { email: "ada@example.com", displayName: "Ada Lovelace" };
  const { user } = await users.createUser(ada);
  const failure = await users.createUser(ada).catch((error) => error);
  if (reasonOf(failure) !== Reason.EMAIL_TAKEN) throw failure;
  if (reasonOf(new Error("other")) !== Reason.UNSPECIFIED) throw new Error("another error has a reason");
  for await (const { events } of users.watchUsers({ cursor: "earliest" })) {
    if (events[0]?.event.value.id !== user.id) throw new Error(`the first change is ${JSON.stringify(events)}`);
    return `${user.displayName} is version ${user.version}`;
  }
}
