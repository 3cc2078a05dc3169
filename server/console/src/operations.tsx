import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { session, token } from "./client";
import { curlGetOf, curlOf, operationsOf, type Description, type Failing, type Field, type Message, type Operation } from "./openapi";
import { addressOfOperation, arrive, type Page } from "./page";
import { useStore } from "./store";

/** Operations shows the RPCs, and goes to the one that the address names. */
export function Operations({ doc, chosen }: { doc: Description; chosen: Page }) {
  const all = useMemo(() => operationsOf(doc), [doc]);
  const [typed, setTyped] = useState({ at: chosen, text: "" });
  const filter = typed.at === chosen ? typed.text : ""; // Of another address: what that names is to be seen.
  const shown = all.filter(({ name }) => name.toLowerCase().includes(filter.trim().toLowerCase()));
  useEffect(() => void arrive(chosen.id), []);
  return (
    <>
      <Prose text={doc.info.description} />
      <p>For programs that make clients: <a href="/openapi.json">openapi.json</a>, <a href="/openapi.yaml">openapi.yaml</a>. RPCs that stream are in neither.</p>
      <form class="card" role="search" aria-label="Operations" onSubmit={(event) => event.preventDefault()}>
        <label for="operation">Filter by name</label>
        <input id="operation" type="text" autocomplete="off" spellcheck={false} value={filter} onInput={(event) => setTyped({ at: chosen, text: event.currentTarget.value })} />
        <p role="status" class="hint">{shown.length} of {all.length} operations</p>
        <ul class="attributes">
          {shown.map(({ name, summary }) => <li key={name}><a href={addressOfOperation(name)}>{name}</a> {summary}</li>)}
        </ul>
      </form>
      {shown.map((operation) => <OperationCard key={operation.name} operation={operation} />)}
    </>
  );
}

function OperationCard({ operation }: { operation: Operation }) {
  const { name, path, description, headers, request, response, errors } = operation;
  return (
    <section class="card operation" aria-labelledby={name}>
      <div>
        <h2 id={name} tabIndex={-1}>{name}</h2>
        <p><code>POST {path}</code></p>
        <Prose text={description} />
        <Fields title="Request" of={name} message={request} />
        <Fields title="Response" of={name} message={response} />
        <Fields title="Headers" of={name} message={{ fields: headers, rules: [], example: undefined }} />
        <Errors of={name} errors={errors} />
      </div>
      <Examples operation={operation} />
    </section>
  );
}

function Fields({ title, of, message: { fields, rules } }: { title: string; of: string; message: Message }) {
  return (
    <>
      <h3>{title}</h3>
      {rules.map((rule) => <p key={rule}>All of it: <Coded text={rule} /></p>)}
      {fields.length > 0 && (
        <table class="fields">
          <caption class="hidden">{title} of {of}</caption>
          <thead><tr><th scope="col">Name</th><th scope="col">What it is</th></tr></thead>
          <tbody>{fields.map((field) => <FieldRow key={field.name} field={field} />)}</tbody>
        </table>
      )}
    </>
  );
}

function FieldRow({ field: { name, type, isRequired, about, rules } }: { field: Field }) {
  return (
    <tr>
      <th scope="row"><code>{name}</code>{isRequired && <> <span class="tag">required</span></>}</th>
      <td>
        <span class="faint">{type}</span>
        <Prose text={about} />
        {rules.length > 0 && <ul>{rules.map((rule) => <li key={rule}><Coded text={rule} /></li>)}</ul>}
      </td>
    </tr>
  );
}

function Errors({ of, errors }: { of: string; errors: Failing[] }) {
  return (
    <>
      <h3>Errors</h3>
      <table>
        <caption class="hidden">Errors of {of}</caption>
        <thead><tr><th scope="col">HTTP status</th><th scope="col">Reason</th><th scope="col">Code</th></tr></thead>
        <tbody>
          {errors.flatMap(({ status, reasons, about }) => reasons.length === 0
            ? [<tr key={status}><th scope="row">{status === "default" ? "another" : status}</th><td colSpan={2}>{about}</td></tr>]
            : reasons.map(([reason, code]) => (
              <tr key={reason}><th scope="row">{status}</th><td><code>{reason}</code></td><td><code>{code}</code></td></tr>
            )))}
        </tbody>
      </table>
    </>
  );
}

function Examples({ operation }: { operation: Operation }) {
  const { state } = useStore(session);
  const { name, request, response, errors, gets } = operation;
  const hasCallers = state === "signedOut" || token() !== "";
  return (
    <div>
      <h3>From a shell</h3>
      <Line text={curlOf(operation, hasCallers)} label={`Copy the curl line of ${name}`} />
      {gets && (
        <>
          <p>By GET, which proxies and browsers can keep:</p>
          <Line text={curlGetOf(operation, hasCallers)} label={`Copy the curl line of ${name} by GET`} />
        </>
      )}
      <h3>Example of a request</h3>
      <Example of={request.example} />
      <h3>Example of a response</h3>
      <Example of={response.example} />
      {errors.filter(({ example }) => example !== undefined).map(({ status, example }) => (
        <details key={status}>
          <summary>Example of an error: {status}</summary>
          <Example of={example} />
        </details>
      ))}
    </div>
  );
}

function Example({ of }: { of: unknown }) {
  return <pre><code>{JSON.stringify(of, undefined, 2)}</code></pre>;
}

/** Line is a line to copy. Without TLS, browsers let only this machine's pages write to the clipboard. */
function Line({ text, label }: { text: string; label: string }) {
  const line = useRef<HTMLElement>(null);
  const [said, say] = useState("");
  const copy = async () => {
    say("");
    try {
      await navigator.clipboard.writeText(text);
      say("Copied.");
    } catch {
      getSelection()?.selectAllChildren(line.current!);
      say("The browser does not let this page copy. The line is selected.");
    }
  };
  return (
    <>
      <pre><code ref={line}>{text}</code></pre>
      <div class="buttons">
        <button type="button" aria-label={label} onClick={copy}>Copy</button>
        <span role="status">{said}</span>
      </div>
    </>
  );
}

/** Prose shows paragraphs, and then what is listed in them. */
function Prose({ text }: { text: string }) {
  const parts = text.split("\n\n").filter((part) => part !== "");
  const items = parts.filter((part) => part.startsWith("- "));
  return (
    <>
      {parts.filter((part) => !items.includes(part)).map((part) => <p key={part}><Coded text={part} /></p>)}
      {items.length > 0 && <ul>{items.map((item) => <li key={item}><Coded text={item.slice(2)} /></li>)}</ul>}
    </>
  );
}

/** Coded shows what stands between backticks as code. */
function Coded({ text }: { text: string }) {
  return <>{text.split("`").map((part, i) => i % 2 === 1 ? <code key={i}>{part}</code> : part)}</>;
}
