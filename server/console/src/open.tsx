import { useRef, useState } from "preact/hooks";
import { session, users } from "./client";
import { failureOf } from "./failure";
import type { User } from "@example/userd";
import { addressOf, go, page } from "./page";

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** OpenUser opens a user by id, email or external id. */
export function OpenUser() {
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const latest = useRef(0); // Of what was typed or asked for.
  const submit = async (event: Event) => {
    event.preventDefault();
    setProblem("");
    const [mine, from] = [++latest.current, page.value];
    const isWanted = () => mine === latest.current && from === page.value;
    try {
      const user = await find(text.trim());
      if (!isWanted()) return;
      if (user === undefined) {
        setProblem("There is no such user.");
        return;
      }
      setText("");
      go(addressOf(user.id));
    } catch (err) {
      if (isWanted()) setProblem(failureOf(err).text);
    }
  };
  return (
    <form class="open" role="search" aria-label="Open a user" onSubmit={submit}>
      <input
        type="text" aria-label="Id, email or external id" placeholder="Id, email or external id" required autocomplete="off" spellcheck={false}
        aria-invalid={problem !== ""} aria-describedby="open-problem" value={text}
        onInput={(event) => { latest.current++; setText(event.currentTarget.value); setProblem(""); }}
      />
      <button type="submit">Open</button>
      <span id="open-problem" role="status">{problem}</span>
    </form>
  );
}

/** find looks for what a text looks like, and then for an external id, which may look like anything. */
async function find(text: string): Promise<User | undefined> {
  const { rights } = session.value;
  let user: User | undefined;
  if (uuid.test(text) && rights.read) {
    user = (await users.getUser({ userId: text.toLowerCase() })).user;
  } else if (text.includes("@") && rights.list) {
    user = await byEmail(text);
  }
  if (user === undefined && rights.list) {
    user = (await users.getUserByExternalId({ externalId: text })).user;
  }
  return user;
}

async function byEmail(email: string): Promise<User | undefined> {
  try {
    return (await users.getUserByEmail({ email })).user;
  } catch (err) {
    if (failureOf(err).reason === "INVALID_FIELD") return undefined; // It only has an @.
    throw err;
  }
}
