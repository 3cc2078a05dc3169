import { render } from "preact";
import { useLayoutEffect } from "preact/hooks";
import { APIPage } from "./api";
import { session, signIn, signOut, token } from "./client";
import { NewPage } from "./create";
import { WhatOutlived } from "./draft";
import { ImportPage } from "./import";
import { LivePage } from "./live";
import { Waiting } from "./notice";
import { OpenUser } from "./open";
import { arrive, page, type Page } from "./page";
import { SearchPage } from "./search";
import { SignIn } from "./signin";
import { StatusPage } from "./status";
import { useStore } from "./store";
import { utc, zone } from "./time";
import { UserPage } from "./user";

function App() {
  const { state, why } = useStore(session);
  const isForAll = useStore(page).name === "api";
  return (
    <>
      <a class="skip" href="#main" onClick={skip}>Skip to the content</a>
      <Header />
      <main id="main" tabIndex={-1}>
        {state === "signedIn" && <WhatOutlived />}
        {(state === "signedIn" || state === "signedOut" && isForAll) && <Content />}
        {state === "signedOut" && !isForAll && <SignIn />}
        {state === "unknown" && <Waiting what="Asking the server…" />}
        {state === "away" && (
          <div class="notice bad" role="alert">
            <p>{why}</p>
            <div class="buttons">
              <button type="button" onClick={() => signIn()}>Try again</button>
              {token() !== "" && <button type="button" onClick={() => signOut(why)}>Sign in with another token</button>}
            </div>
          </div>
        )}
      </main>
    </>
  );
}

function skip(event: Event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

function Header() {
  const { state, rights } = useStore(session);
  const inUTC = useStore(utc);
  return (
    <header>
      <a class="brand" href="#/">userd</a>
      {state === "signedIn" && (
        <nav aria-label="Pages">
          {rights.list && <Link to="#/" page="search">Users</Link>}
          {rights.write && <Link to="#/new" page="new">New user</Link>}
          {rights.list && <Link to="#/live" page="live">Live</Link>}
          {rights.write && <Link to="#/import" page="import">Import</Link>}
          {rights.admin && <Link to="#/status" page="status">Status</Link>}
          <Link to="#/api" page="api">API</Link>
        </nav>
      )}
      {state === "signedOut" && (
        <nav aria-label="Pages">
          <Link to="#/" page="search">Sign in</Link>
          <Link to="#/api" page="api">API</Link>
        </nav>
      )}
      {state === "signedIn" && (rights.read || rights.list) && <OpenUser />}
      <div class="tools">
        <button type="button" class="plain" aria-pressed={inUTC} title={`Else times are in ${zone()}`} onClick={() => { utc.value = !inUTC; }}>UTC</button>
        {state === "signedIn" && token() !== "" && <button type="button" class="plain" onClick={() => signOut()}>Sign out</button>}
      </div>
    </header>
  );
}

function Link({ to, page: name, children }: { to: string; page: Page["name"]; children: string }) {
  return <a href={to} aria-current={useStore(page).name === name ? "page" : undefined}>{children}</a>;
}

/** Content is the page that the address names. */
function Content() {
  const shown = useStore(page);
  useLayoutEffect(() => {
    const heading = document.querySelector("h1");
    document.title = `${heading?.textContent ?? "Users"} – userd`;
    // Whoever does not see the page learns of the new one by its heading.
    if (!arrive(shown.id) && shown.moved) heading?.focus();
  }, [shown]);
  switch (shown.name) {
    case "new":
      return <NewPage />;
    case "import":
      return <ImportPage />;
    case "live":
      return <LivePage />;
    case "status":
      return <StatusPage />;
    case "api":
      return <APIPage chosen={shown} />;
    case "user":
      return <UserPage key={shown.id} id={shown.id} />;
    default:
      return <SearchPage />;
  }
}

render(<App />, document.getElementById("app")!);
void signIn();
