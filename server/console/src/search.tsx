import { useEffect, useId, useState } from "preact/hooks";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import { onSignOut, session, users } from "./client";
import { Export } from "./export";
import { failureOf, type Failure } from "./failure";
import type { SearchUsersRequestSchema, User } from "@example/userd";
import { Problem } from "./notice";
import { addressOf } from "./page";
import { Store, useStore } from "./store";
import { momentOf, textOf, Time, utc } from "./time";

/** Filters are what is looked for, as it is typed; times are moments, whatever zone is shown. */
interface Filters {
  emailPrefix: string;
  nameContains: string;
  role: string;
  disabled: "" | "yes" | "no";
  attributes: string;
  inactiveSince: string;
  createdAfter: string;
  createdBefore: string;
  newestFirst: boolean;
  pageSize: number;
}

const all: Filters = {
  emailPrefix: "", nameContains: "", role: "", disabled: "", attributes: "",
  inactiveSince: "", createdAfter: "", createdBefore: "", newestFirst: true, pageSize: 25,
};

/** Search is what is looked for, and how far it has come. It outlives the page it is shown on. */
interface Search {
  filters: Filters;
  /** Tokens of the pages up to this one. */
  tokens: string[];
  found: User[];
  next: string;
  busy: boolean;
  /** The search was given up. */
  stopped: boolean;
  /** Users have been looked through, and nobody is so: there are very many. */
  inVain: boolean;
  failure: Failure | undefined;
}

const search = new Store<Search>({ filters: all, tokens: [""], found: [], next: "", busy: false, stopped: false, inVain: false, failure: undefined });

let running: AbortController | undefined;

onSignOut(() => {
  stop();
  running = undefined;
  search.value = { ...search.value, filters: all, tokens: [""], found: [], next: "", busy: false, failure: undefined };
});

/** run fetches the page of the last token. */
async function run(filters: Filters, tokens: string[]) {
  running?.abort();
  const mine = running = new AbortController();
  search.value = { ...search.value, filters, tokens, busy: true, stopped: false, inVain: false, failure: undefined };
  const showEmpty = () => {
    if (mine === running) search.value = { ...search.value, found: [], next: "", inVain: true };
  };
  try {
    const { found, next } = await fetchPage(requestOf(filters), tokens.at(-1) ?? "", mine.signal, showEmpty);
    if (mine !== running) return;
    search.value = { ...search.value, found, next, busy: false };
  } catch (err) {
    if (mine !== running) return;
    const stopped = mine.signal.aborted;
    search.value = { ...search.value, found: [], next: "", busy: false, stopped, failure: stopped ? undefined : failureOf(err) };
  }
}

/** fetchPage goes on through empty pages, which a search of very many users may have, and has each shown. */
async function fetchPage(request: MessageInitShape<typeof SearchUsersRequestSchema>, token: string, signal: AbortSignal, showEmpty: () => void) {
  for (let pageToken = token; ;) {
    const { users: found, nextPageToken: next } = await users.searchUsers({ ...request, pageToken }, { signal });
    if (found.length > 0 || next === "") return { found, next };
    showEmpty();
    pageToken = next;
  }
}

function requestOf(filters: Filters): MessageInitShape<typeof SearchUsersRequestSchema> {
  return {
    emailPrefix: filters.emailPrefix.trim(),
    nameContains: filters.nameContains.trim(),
    role: filters.role.trim(),
    disabled: filters.disabled === "" ? undefined : filters.disabled === "yes",
    attributes: pairsOf(filters.attributes),
    inactiveSince: timestampOf(filters.inactiveSince),
    createdAfter: timestampOf(filters.createdAfter),
    createdBefore: timestampOf(filters.createdBefore),
    newestFirst: filters.newestFirst,
    pageSize: filters.pageSize,
  };
}

function timestampOf(moment: string): Timestamp | undefined {
  return moment === "" ? undefined : timestampFromDate(new Date(moment));
}

/** pairsOf reads attributes: name=value, separated by commas. */
function pairsOf(text: string): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const pair of text.split(",").filter((pair) => pair.trim() !== "")) {
    const [name = "", ...value] = pair.split("=");
    pairs[name.trim()] = value.join("=").trim();
  }
  return pairs;
}

export function SearchPage() {
  const state = useStore(search);
  const { rights } = useStore(session);
  useEffect(() => {
    if (rights.list) void run(state.filters, state.tokens); // As it is now.
  }, []);
  if (!rights.list) return <p>This token may not list users. Open one by its id.</p>;
  return (
    <>
      <h1 tabIndex={-1}>Users</h1>
      <FilterForm />
      <Problem failure={state.failure} />
      <Results />
    </>
  );
}

function FilterForm() {
  const { filters } = useStore(search);
  const inUTC = useStore(utc);
  const [draft, setDraft] = useState(filters);
  const [more, setMore] = useState(() => [filters.role, filters.attributes, filters.inactiveSince, filters.createdAfter, filters.createdBefore].some((value) => value !== ""));
  const set = (part: Partial<Filters>) => setDraft({ ...draft, ...part });
  const text = (name: keyof Filters, label: string, hint = "") => (
    <Field label={label} hint={hint} value={String(draft[name])} type="text" set={(value) => set({ [name]: value })} />
  );
  const time = (name: keyof Filters, label: string) => (
    <Field label={label} value={textOf(String(draft[name]), inUTC)} type="datetime-local" set={(value) => set({ [name]: momentOf(value, inUTC) })} />
  );
  const submit = (event: Event) => {
    event.preventDefault();
    void run(draft, [""]);
  };
  const clear = () => {
    setDraft(all);
    void run(all, [""]);
  };
  return (
    <form class="filters card" aria-label="Filters" onSubmit={submit}>
      <div class="grid">
        {text("emailPrefix", "Email begins with")}
        {text("nameContains", "Name contains")}
        <Choice label="State" value={draft.disabled} set={(value) => set({ disabled: value as Filters["disabled"] })}
          options={[["", "All"], ["no", "Active"], ["yes", "Disabled"]]} />
        <Choice label="Order" value={draft.newestFirst ? "newest" : "oldest"} set={(value) => set({ newestFirst: value === "newest" })}
          options={[["newest", "Newest first"], ["oldest", "Oldest first"]]} />
      </div>
      <details open={more} onToggle={(event) => setMore(event.currentTarget.open)}>
        <summary>More filters</summary>
        <div class="grid">
          {text("role", "Role")}
          {text("attributes", "Attributes", "name=value, separated by commas")}
          {time("inactiveSince", "No login since")}
          {time("createdAfter", "Created after")}
          {time("createdBefore", "Created before")}
          <Choice label="Users a page" value={String(draft.pageSize)} set={(value) => set({ pageSize: Number(value) })}
            options={[["10", "10"], ["25", "25"], ["50", "50"], ["100", "100"]]} />
        </div>
      </details>
      <div class="buttons">
        <button type="submit" class="main">Search</button>
        <button type="button" onClick={clear}>Clear</button>
      </div>
    </form>
  );
}

interface FieldProps {
  label: string;
  hint?: string;
  value: string;
  type: "text" | "datetime-local";
  set: (value: string) => void;
}

function Field({ label, hint = "", value, type, set }: FieldProps) {
  const id = useId();
  const onInput = (event: { currentTarget: HTMLInputElement }) => set(event.currentTarget.value);
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {type === "text"
        ? <input id={id} type="text" value={value} placeholder={hint} autocomplete="off" spellcheck={false} onInput={onInput} />
        : <input id={id} type="datetime-local" value={value} onInput={onInput} />}
    </div>
  );
}

function Choice({ label, value, options, set }: { label: string; value: string; options: [string, string][]; set: (value: string) => void }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => set(event.currentTarget.value)}>
        {options.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
      </select>
    </div>
  );
}

function Results() {
  const { filters, tokens, found, next, busy, stopped, inVain, failure } = useStore(search);
  const { rights } = useStore(session);
  const counted = found.length === 1 ? "1 user" : `${found.length} users`;
  const searching = inVain ? "Nobody so far. Still searching…" : "Searching…";
  const isEmpty = tokens.length === 1 && Object.entries(all).every(([name, value]) => value !== "" || filters[name as keyof Filters] === "");
  const ended = stopped ? "The search was stopped." : isEmpty ? "There are no users yet." : "No user is so.";
  const status = busy ? searching : found.length === 0 ? ended : `Page ${tokens.length}: ${counted}`;
  return (
    <section aria-label="Results" aria-busy={busy}>
      {found.length > 0 && <UserTable found={found} />}
      <div class="pager">
        <button type="button" disabled={busy || tokens.length < 2} onClick={() => run(filters, tokens.slice(0, -1))}>Previous page</button>
        <span role="status">{failure === undefined ? status : ""}</span>
        <button type="button" disabled={busy || next === ""} onClick={() => run(filters, [...tokens, next])}>Next page</button>
        {busy && <button type="button" onClick={stop}>Stop</button>}
      </div>
      {status === ended && isEmpty && !stopped && failure === undefined && rights.write && (
        <p><a href="#/new">Create one</a>, or <a href="#/import">take them from a file</a>.</p>
      )}
      <Export request={() => requestOf(filters)} isOffered={found.length > 0} />
    </section>
  );
}

function stop() {
  running?.abort();
}

function UserTable({ found }: { found: User[] }) {
  return (
    <table>
      <caption class="hidden">Users</caption>
      <thead>
        <tr>
          <th scope="col">User</th>
          <th scope="col">State</th>
          <th scope="col" class="wide">Roles</th>
          <th scope="col" class="wider">Created</th>
          <th scope="col" class="wider">Last login</th>
          <th scope="col" class="wider number">Version</th>
        </tr>
      </thead>
      <tbody>
        {found.map((user) => (
          <tr key={user.id}>
            <th scope="row">
              <a href={addressOf(user.id)}><bdi>{user.displayName}</bdi></a>
              <span class="second">{user.email}</span>
            </th>
            <td>{user.disabled ? <span class="tag bad">disabled</span> : <span class="tag">active</span>}</td>
            <td class="wide"><Roles of={user} most={8} /></td>
            <td class="wider"><Time at={user.createdAt} /></td>
            <td class="wider"><Time at={user.lastLogin} /></td>
            <td class="wider number">{String(user.version)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export function Roles({ of: { roles }, most = Infinity }: { of: User; most?: number }) {
  if (roles.length === 0) return <span class="faint">none</span>;
  return (
    <>
      {roles.slice(0, most).map((role) => <span class="tag" key={role}>{role}</span>)}
      {roles.length > most && <span class="faint">and {roles.length - most} more</span>}
    </>
  );
}
