import { Code } from "@connectrpc/connect";
import { useId, useLayoutEffect, useRef } from "preact/hooks";
import type { Failure } from "./failure";
import { attributePrefix, labels, noFields, type Fields } from "./users";

/** Draft is what a form holds: fields, and attributes as they are typed. */
export interface Draft {
  fields: Fields;
  attributes: { name: string; value: string; hasLines: boolean }[];
}

export function draftOf(fields: Fields): Draft {
  const draft: Draft = { fields: { ...noFields }, attributes: [] };
  for (const [name, value] of Object.entries(fields)) {
    if (name.startsWith(attributePrefix)) draft.attributes.push({ name: name.slice(attributePrefix.length), value, hasLines: value.includes("\n") });
    else draft.fields[name] = value;
  }
  return draft;
}

export function fieldsOfDraft(draft: Draft): Fields {
  const fields: Fields = { ...draft.fields, email: (draft.fields.email ?? "").trim() }; // Blanks come with what is pasted.
  for (const { name, value } of draft.attributes) {
    if (name.trim() !== "") fields[attributePrefix + name.trim()] = value;
  }
  return fields;
}

/** mistakeOf is what is wrong with the attributes of a draft where fields would lack one of them. */
export function mistakeOf({ attributes }: Draft): Failure | undefined {
  const names = attributes.map(({ name }) => name.trim());
  const nameless = attributes.find(({ value }, i) => names[i] === "" && value !== "");
  const twice = names.find((name, i) => name !== "" && names.indexOf(name) < i);
  if (nameless === undefined && twice === undefined) return undefined;
  const text = twice === undefined ? `The attribute with the value ${nameless!.value} needs a name` : `The attribute ${twice} is there twice`;
  return { code: Code.InvalidArgument, reason: "", text, fields: { attributes: text }, retryAfter: undefined };
}

interface Props {
  draft: Draft;
  change: (draft: Draft) => void;
  problems: Record<string, string>;
}

const hints: Record<string, string> = {
  external_id: "The user's id elsewhere, such as at an issuer of tokens",
  roles: "Separated by spaces; lower case, such as admin or team:billing",
};

/** UserFields are the fields of a user, to be changed. */
export function UserFields({ draft, change, problems }: Props) {
  const set = (name: string, value: string) => change({ ...draft, fields: { ...draft.fields, [name]: value } });
  const text = (name: string, required = false) => (
    <TextField name={name} required={required} value={draft.fields[name] ?? ""} problem={problems[name]} set={(value) => set(name, value)} />
  );
  return (
    <>
      {text("email", true)}
      {text("display_name", true)}
      {text("external_id")}
      {text("roles")}
      <AttributeFields draft={draft} change={change} problem={problems.attributes} />
      <label class="check">
        <input type="checkbox" checked={draft.fields.disabled === "yes"} onChange={(event) => set("disabled", event.currentTarget.checked ? "yes" : "no")} />
        Disabled: the user exists, but may not be used
      </label>
    </>
  );
}

interface TextProps {
  name: string;
  required: boolean;
  value: string;
  problem: string | undefined;
  set: (value: string) => void;
}

function TextField({ name, required, value, problem, set }: TextProps) {
  const id = useId();
  const hint = hints[name];
  return (
    <div class="field">
      <label for={id}>{labels[name]}</label>
      <input
        id={id} name={name} type="text" inputMode={name === "email" ? "email" : undefined} required={required} value={value} autocomplete="off" spellcheck={false}
        aria-invalid={problem !== undefined} aria-describedby={`${id}-hint ${id}-problem`}
        onInput={(event) => set(event.currentTarget.value)}
      />
      {hint !== undefined && <span class="hint" id={`${id}-hint`}>{hint}</span>}
      <FieldProblem id={`${id}-problem`} text={problem} />
    </div>
  );
}

function FieldProblem({ id, text }: { id: string; text: string | undefined }) {
  return text === undefined ? null : <span class="problem" id={id}>{text}</span>;
}

function AttributeFields({ draft, change, problem }: { draft: Draft; change: (draft: Draft) => void; problem: string | undefined }) {
  const id = useId();
  const { attributes } = draft;
  const box = useRef<HTMLFieldSetElement>(null);
  const before = useRef(attributes.length);
  useLayoutEffect(() => { // Before a key can be meant for another one.
    const added = attributes.length > before.current;
    before.current = attributes.length;
    if (added) [...box.current!.querySelectorAll<HTMLInputElement>(".pair input:first-child")].at(-1)!.focus();
    else if (document.activeElement === document.body) box.current!.querySelector<HTMLButtonElement>(":scope > button")!.focus(); // Its button is gone.
  }, [attributes.length]);
  const put = (attributes: Draft["attributes"]) => change({ ...draft, attributes });
  const set = (index: number, part: { name?: string; value?: string }) =>
    put(attributes.map((attribute, i) => i === index ? { ...attribute, ...part } : attribute));
  return (
    <fieldset ref={box} aria-describedby={`${id}-problem`}>
      <legend>Attributes</legend>
      {attributes.map(({ name, value, hasLines }, index) => (
        <div class="pair" key={index}>
          <input type="text" aria-label={`Name of attribute ${index + 1}`} placeholder="name" value={name} autocomplete="off" spellcheck={false}
            onInput={(event) => set(index, { name: event.currentTarget.value })} />
          {hasLines
            ? <textarea aria-label={`Value of attribute ${index + 1}`} value={value} rows={3} spellcheck={false}
                onInput={(event) => set(index, { value: event.currentTarget.value })} />
            : <input type="text" aria-label={`Value of attribute ${index + 1}`} placeholder="value" value={value} autocomplete="off" spellcheck={false}
                onInput={(event) => set(index, { value: event.currentTarget.value })} />}
          <button type="button" aria-label={`Remove attribute ${name || index + 1}`} onClick={() => put(attributes.filter((_, i) => i !== index))}>Remove</button>
        </div>
      ))}
      <button type="button" onClick={() => put([...attributes, { name: "", value: "", hasLines: false }])}>Add an attribute</button>
      <FieldProblem id={`${id}-problem`} text={problem} />
    </fieldset>
  );
}
