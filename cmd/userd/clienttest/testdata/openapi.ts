// What programs do with the client, checked by the compiler.
import createClient from "openapi-fetch";
import type { paths } from "./userd.d.ts";

function want(what: string, got: unknown, wanted: unknown) {
  if (got !== wanted) throw new Error(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`);
}

export async function use(baseUrl: string) {
  const users = createClient<paths>({ baseUrl });
  const ada = { email: "ada@example.com", displayName: "Ada Lovelace" };

  const created = await users.POST("/user.v1.UserService/CreateUser", { body: ada });
  const id = created.data?.user?.id ?? "";
  want("the new user's version", created.data?.user?.version, "1");

  const again = await users.POST("/user.v1.UserService/CreateUser", { body: ada });
  want("the status of a second one", again.response.status, 409);
  want("its code", again.error?.code, "already_exists");
  const reasons = again.error?.details?.map(({ debug }) => debug && "reason" in debug && debug.reason);
  want("its reason", reasons?.[0], "EMAIL_TAKEN");

  // @ts-expect-error An update needs a user_id.
  const refused = await users.POST("/user.v1.UserService/UpdateUser", { body: { update: {} } });
  want("the code of a request that breaks rules", refused.error?.code, "invalid_argument");

  // The request of a GET is JSON in the query.
  const read = await users.GET("/user.v1.UserService/GetUser", {
    params: { query: { connect: "v1", encoding: "json", message: JSON.stringify({ userId: id }) } },
  });
  want("the user who is read", read.data?.user?.displayName, "Ada Lovelace");

  const deleted = await users.POST("/user.v1.UserService/DeleteUser", { body: { userId: id, expectedVersion: "1" } });
  want("the version of the deletion", deleted.data?.version, "2");
}
