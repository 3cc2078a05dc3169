/** Description is what /openapi.json says, as far as it is shown. */
export interface Description {
  info: { description: string };
  paths: Record<string, Record<string, Call>>;
}

interface Call {
  operationId: string;
  summary: string;
  description: string;
  parameters?: Parameter[];
  requestBody?: { content: Content };
  responses: Record<string, { description: string; content?: Content }>;
}

type Content = Record<string, { schema: Schema; example?: unknown }>;

interface Parameter {
  $ref?: string;
  name: string;
  in: string;
  description?: string;
  required?: boolean;
  schema?: Schema;
  content?: Content;
}

interface Schema {
  $ref?: string;
  description?: string;
  type?: string | string[];
  format?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  propertyNames?: Schema;
  enum?: string[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  maxProperties?: number;
  uniqueItems?: boolean;
  "x-rules"?: string[];
}

/** Operation is one RPC. */
export interface Operation {
  name: string;
  path: string;
  summary: string;
  description: string;
  headers: Field[];
  request: Message;
  response: Message;
  errors: Failing[];
  /** Whether it takes a GET as well. */
  gets: boolean;
  /** What a GET has in its URL. */
  query: [string, string][];
}

/** Message is what is sent, or comes back. */
export interface Message {
  fields: Field[];
  /** What holds for all of it. */
  rules: string[];
  example: unknown;
}

/** Field is one of a message, or of one in it: its name is then a path. */
export interface Field {
  name: string;
  type: string;
  isRequired: boolean;
  about: string;
  rules: string[];
}

/** Failing is how a call can end other than well. */
export interface Failing {
  status: string;
  /** The reasons, each with its code. */
  reasons: [string, string][];
  about: string;
  example: unknown;
}

const json = "application/json";

/** operationsOf are the RPCs in the order of the service. */
export function operationsOf(doc: Description): Operation[] {
  return Object.entries(doc.paths).flatMap(([path, { post, get }]) => post === undefined ? [] : [operationOf(doc, path, post, get)]);
}

function operationOf(doc: Description, path: string, post: Call, get: Call | undefined): Operation {
  const parameters = parametersOf(doc, get ?? post);
  return {
    name: post.operationId,
    path,
    summary: post.summary,
    description: post.description,
    headers: parameters.filter((parameter) => parameter.in === "header").map((parameter) => headerOf(doc, parameter)),
    request: messageOf(doc, post.requestBody?.content),
    response: messageOf(doc, post.responses[200]?.content),
    errors: Object.entries((get ?? post).responses).filter(([status]) => status !== "200").map(failingOf),
    gets: get !== undefined,
    query: parameters.filter((parameter) => parameter.in === "query").map(pairOf),
  };
}

/** resolve follows a reference; what stands beside it wins. */
function resolve<T extends { $ref?: string }>(doc: Description, of: T): T {
  if (of.$ref === undefined) return of;
  const found = of.$ref.split("/").slice(1).reduce<unknown>((at, name) => (at as Record<string, unknown>)[name], doc) as T;
  return { ...resolve(doc, found), ...of };
}

function parametersOf(doc: Description, call: Call): Parameter[] {
  return (call.parameters ?? []).map((parameter) => resolve(doc, parameter));
}

function headerOf(doc: Description, { name, description, required, schema }: Parameter): Field {
  const { type, rules } = fieldOf(doc, name, schema ?? {});
  return { name, type, isRequired: required === true, about: description ?? "", rules };
}

/** pairOf is what a parameter is in an example. */
function pairOf({ name, schema, content }: Parameter): [string, string] {
  const value = content === undefined ? (schema as { const?: unknown }).const : JSON.stringify(content[json]?.example);
  return [name, String(value)];
}

function messageOf(doc: Description, content: Content | undefined): Message {
  const { schema = {}, example } = content?.[json] ?? {};
  const message = resolve(doc, schema);
  return { fields: fieldsOf(doc, message, "", []), rules: message["x-rules"] ?? [], example };
}

/** fieldsOf are the fields of a message, each followed by those of the message in it. */
function fieldsOf(doc: Description, message: Schema, prefix: string, above: unknown[]): Field[] {
  if (message.properties === undefined || above.includes(message.properties)) return [];
  return Object.entries(message.properties).flatMap(([key, property]) => {
    const schema = resolve(doc, property);
    const field = fieldOf(doc, prefix + key, schema);
    field.isRequired = message.required?.includes(key) === true;
    // What a reference leads to says what its values mean.
    if (schema.enum !== undefined && property.$ref !== undefined) field.about += `\n\n${resolve(doc, { $ref: property.$ref } as Schema).description}`;
    const inner = schema.items === undefined ? schema : resolve(doc, schema.items);
    return [field, ...fieldsOf(doc, inner, `${field.name}${schema.items === undefined ? "" : "[]"}.`, [...above, message.properties])];
  });
}

function fieldOf(doc: Description, name: string, schema: Schema): Field {
  return { name, type: typeOf(doc, schema), isRequired: false, about: schema.description ?? "", rules: rulesOf(doc, schema) };
}

const types: Record<string, string> = {
  boolean: "true or false", integer: "whole number", "date-time": "time", uuid: "UUID", email: "email address", int64: "64-bit number, as a string",
};

/** typeOf is a type in words. */
function typeOf(doc: Description, schema: Schema): string {
  const { type, format = "", items, additionalProperties: values } = schema;
  if (items !== undefined) return `list of ${many(typeOf(doc, resolve(doc, items)))}`;
  if (typeof values === "object") return `object of ${many(typeOf(doc, resolve(doc, values)))}`;
  if (Array.isArray(type)) return `${types[format] ?? "one"} or as a number`;
  return types[format] ?? types[type ?? ""] ?? type ?? "anything";
}

function many(word: string): string {
  return word + (word.endsWith("s") ? "es" : "s");
}

/** rulesOf are the rules of a schema in words, code between backticks. */
function rulesOf(doc: Description, schema: Schema): string[] {
  const { items, propertyNames: names, additionalProperties: values, pattern } = schema;
  const rules = [
    within(schema.minLength, schema.maxLength, " characters"),
    within(schema.minimum, schema.maximum, ""),
    within(schema.minItems, schema.maxItems, " entries"),
    within(undefined, schema.maxProperties, " names"),
    schema.uniqueItems === true ? "no entry twice" : "",
    pattern !== undefined && schema.format !== "int64" ? `looks like \`${pattern}\`` : "",
    schema.enum === undefined ? "" : `one of ${schema.enum.map((value) => `\`${value}\``).join(", ")}`,
    ...schema["x-rules"] ?? [],
    ...each("entry", items && rulesOf(doc, resolve(doc, items))),
    ...each("name", names && rulesOf(doc, names)),
    ...each("value", typeof values === "object" ? rulesOf(doc, resolve(doc, values)) : undefined),
  ];
  return rules.filter((rule) => rule !== "");
}

function each(what: string, rules: string[] = []): string[] {
  return rules.map((rule) => `each ${what}: ${rule}`);
}

function within(least: number | undefined, most: number | undefined, unit: string): string {
  if (most === undefined) return least === undefined ? "" : `at least ${least}${unit}`;
  return least === undefined ? `at most ${most}${unit}` : `${least} to ${most}${unit}`;
}

function failingOf([status, { description, content }]: [string, Call["responses"][string]]): Failing {
  const reasons = [...description.matchAll(/`(\w+)` \((\w+)\)/g)].map(([, reason, code]): [string, string] => [reason!, code!]);
  return { status, reasons, about: description, example: content?.[json]?.example };
}

/** curlOf is a line for a shell that makes the call of the example. */
export function curlOf({ path, request }: Operation, hasCallers: boolean): string {
  return `${start(path, hasCallers)} -H 'Content-Type: application/json' -d ${quote(JSON.stringify(request.example))}`;
}

/** curlGetOf makes it with a GET. */
export function curlGetOf({ path, query }: Operation, hasCallers: boolean): string {
  return `${start(path, hasCallers)} -G ${query.map(([name, value]) => `--data-urlencode ${quote(`${name}=${value}`)}`).join(" ")}`;
}

function start(path: string, hasCallers: boolean): string {
  return `curl ${location.origin}${path}${hasCallers ? ' -H "Authorization: Bearer $TOKEN"' : ""}`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
