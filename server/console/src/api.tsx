import { useEffect, useState } from "preact/hooks";
import type { Description } from "./openapi";
import type { Page } from "./page";

/** Loaded comes when the page is asked for: few do. */
interface Loaded {
  doc: Description;
  view: typeof import("./operations");
}

async function load(): Promise<Description> {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`/openapi.json: ${response.status}`);
  return response.json() as Promise<Description>;
}

/** APIPage is the documentation of the API. */
export function APIPage({ chosen }: { chosen: Page }) {
  const [loaded, setLoaded] = useState<Loaded>();
  const [failed, setFailed] = useState(false);
  const fetchAll = async () => {
    setFailed(false);
    try {
      const [doc, view] = await Promise.all([load(), import("./operations")]);
      setLoaded({ doc, view });
    } catch {
      setFailed(true);
    }
  };
  useEffect(() => void fetchAll(), []);
  return (
    <>
      <h1 tabIndex={-1}>API</h1>
      {failed && (
        <div class="notice bad" role="alert">
          <p>The description of the API cannot be loaded.</p>
          <button type="button" onClick={() => fetchAll()}>Try again</button>
        </div>
      )}
      {loaded !== undefined && <loaded.view.Operations doc={loaded.doc} chosen={chosen} />}
    </>
  );
}
