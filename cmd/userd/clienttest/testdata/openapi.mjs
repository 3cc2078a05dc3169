// Two validators, and a client that openapi-typescript makes: node openapi.mjs FOLDER URL
// The folder is for what is made; it has node_modules.
import { deepStrictEqual, ok } from "node:assert";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { Validator } from "@seriousme/openapi-schema-validator";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const [folder, url] = process.argv.slice(2);
const yaml = await (await fetch(url + "/openapi.yaml")).text();
const json = await (await fetch(url + "/openapi.json")).json();
const validator = new Validator();
ok((await validator.validate(yaml)).valid);
deepStrictEqual(validator.specification, json);

const config = await createConfig({ extends: ["recommended"] });
const problems = async (source) => (await lintFromString({ source, config })).map(({ ruleId, message }) => `${ruleId}: ${message}`);
deepStrictEqual(await problems(yaml), []);

// Both see damage.
const damaged = yaml.replace("in: query", "in: nowhere");
ok(!(await new Validator().validate(damaged)).valid);
ok((await problems(damaged)).length > 0);

writeFileSync(join(folder, "userd.d.ts"), astToString(await openapiTS(json)));
copyFileSync(new URL("openapi.ts", import.meta.url), join(folder, "openapi.ts"));
const program = ts.createProgram([join(folder, "openapi.ts")], {
  module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, strict: true, skipLibCheck: true, types: [],
});
const { diagnostics } = program.emit();
const mistakes = [...ts.getPreEmitDiagnostics(program), ...diagnostics];
deepStrictEqual(mistakes.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n")), []);

const { use } = await import(pathToFileURL(join(folder, "openapi.js")));
await use(url);
