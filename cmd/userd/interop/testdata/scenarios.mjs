// The scenarios of ../doc.go for every client in JavaScript.
//
// A client has call(method, request, options) and stream(method, requests, options),
// with options headers, timeoutMs, signal and gzip, and failure(err), which gives the
// code and the reason of an error. Messages are those of @bufbuild/protobuf.

const nobody = "00000000-0000-4000-8000-000000000000";
const streamRows = 100_000;

// player returns a function that takes a line "SCENARIO RUN COUNT" and says the result.
export function player(client) {
  const scenarios = scenariosOf(client);
  return async (line) => {
    const [scenario, run, count] = line.split(" ");
    try {
      return await scenarios[scenario](run, Number(count));
    } catch (err) {
      return `failed: ${err}`.replaceAll("\n", " ");
    }
  };
}

const newUser = (email, displayName, roles = []) => ({ email: `${email}@interop.example`, displayName, roles });
const describe = ({ version, displayName, roles }) => `${version} ${displayName} ${roles.join(",")}`;
const got = ({ user }) => (user ? `got ${user.version}` : "gone");
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function scenariosOf(client) {
  const ids = [];
  const get = (userId = nobody, options = {}) => client.call("GetUser", { userId }, options);
  const only = async (stream) => {
    for await (const message of stream) return message;
  };
  const failure = async (promise) => {
    try {
      await promise;
      return "no failure";
    } catch (err) {
      return client.failure(err).join(" ");
    }
  };

  // watch reads a watch until enough says so, and returns the code of its end.
  async function watch(cursor, enough, options = {}) {
    const aborter = new AbortController();
    try {
      for await (const message of client.stream("WatchUsers", [{ cursor }], { signal: aborter.signal, ...options })) {
        if (enough(message)) aborter.abort();
      }
      return 0;
    } catch (err) {
      return client.failure(err)[0];
    }
  }

  async function* rows(run, first, end) {
    for (let i = first; i < end; i++) yield newUser(`${run}-${i}`, `Row ${i}`);
  }

  async function* changes(count) {
    for (let i = 0; i < count; i++) yield { userId: ids[i % ids.length], displayName: `Update ${i}` };
  }

  return {
    async unary(run) {
      const { user } = await client.call("CreateUser", newUser(`${run}-unary`, "Ada ☕", ["b", "a"]));
      const userId = user.id;
      const said = [`created ${describe(user)}`, got(await get(userId))];
      const update = { userId, displayName: "Countess", removeRoles: ["b"] };
      said.push(`updated ${describe((await client.call("UpdateUser", { update })).user)}`);
      said.push(`deleted ${(await client.call("DeleteUser", { userId })).version}`, got(await get(userId)));
      return said.join("; ");
    },
    async errors(run) {
      const twice = newUser(`${run}-errors`, "Ada");
      await client.call("CreateUser", twice);
      return [
        await failure(client.call("CreateUser", { email: "x", displayName: "X" })),
        await failure(client.call("CreateUser", twice)),
        await failure(client.call("DeleteUser", { userId: nobody })),
        await failure(only(client.stream("ListUsers", [{ pageToken: "bad" }]))),
      ].join("; ");
    },
    async timeout() {
      const said = await failure(get(nobody, { headers: { "grpc-timeout": "soon" } }));
      return `${said}; ${got(await get())}`;
    },
    async gzip(run) {
      const { user } = await client.call("CreateUser", newUser(`${run}-gzip`, "z".repeat(200)), { gzip: true });
      const again = await get(user.id, { gzip: true });
      return `created ${user.displayName.length}; got ${again.user.displayName.length}`;
    },
    async deadline() {
      const code = await watch("", () => false, { timeoutMs: 300 });
      return `${code}; ${got(await get())}`;
    },
    async cancel() {
      const code = await watch("", () => true);
      return `${code}; ${got(await get())}`;
    },
    async metadata(_, size) {
      const bytes = Uint8Array.from({ length: 1024 }, (_, i) => i);
      return got(await get(nobody, { headers: { "x-interop": "m".repeat(size), "x-interop-bin": bytes } }));
    },
    async keepalive(_, count) {
      let seen = 0;
      await watch("", () => ++seen === count);
      return `${Math.min(seen, count)} messages`; // More may have been on their way.
    },
    async together(_, count) {
      const answers = await Promise.all(Array.from({ length: count }, () => get()));
      return `${answers.filter((answer) => got(answer) === "gone").length} gone`;
    },
    async idle(_, seconds) {
      const before = got(await get());
      await sleep(seconds * 1000);
      return `${before}; ${got(await get())}`;
    },
    async list(run) {
      let seen = 0;
      for await (const { email } of client.stream("ListUsers", [{ all: true }])) {
        if (email.startsWith(`${run}-`)) seen++;
      }
      return `${seen} users`;
    },
    async watch(run, count) {
      let seen = 0;
      await watch("earliest", ({ events }) => {
        for (const { event } of events) {
          if (event.case === "upserted" && event.value.email.startsWith(`${run}-`)) seen++;
        }
        return seen >= count;
      });
      return `${seen} changes`;
    },
    async import(run, count) {
      for (let first = 0; first < count; first += streamRows) {
        const requests = rows(run, first, Math.min(first + streamRows, count));
        const { createdUserIds } = await only(client.stream("BatchCreateUsers", requests));
        for (const id of createdUserIds) ids.push(id);
      }
      return `${ids.length} stored`;
    },
    async updates(_, count) {
      let applied = 0;
      for await (const { success } of client.stream("StreamUserUpdates", changes(count))) {
        if (success) applied++;
      }
      return `${applied} applied`;
    },
  };
}
