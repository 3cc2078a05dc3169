// A person at the console: node console.mjs CHROMIUM '{"url": …, "token": …, "width": …, "scheme": …}'
// "pictures" names a folder for screenshots. With "journey": "mistakes" it does what people do
// wrong, or too fast, instead of everything that the page is for.
// When it writes "restart", the server is to be restarted, and then a line to come back.
// Looks that the page stays usable by everybody: nothing on the browser's console, no request to another host, nothing that axe finds serious.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [executablePath, settings] = process.argv.slice(2);
const { url, token, reader, jwts, width, scheme, pictures, journey = "everything" } = JSON.parse(settings);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});
const context = await browser.newContext({
  viewport: { width, height: 800 }, colorScheme: scheme, ignoreHTTPSErrors: true, reducedMotion: "reduce",
  timezoneId: "Asia/Tokyo", locale: "en-US",
});
context.setDefaultTimeout(60_000);
await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: url });
const page = await context.newPage();
// Matches nothing. Playwright loses a route that is added while the last one goes, and so this one stays.
await page.route(/^none:/, () => {});

const faults = [];
let away = false; // The server is.
page.on("console", (message) => {
  if (!away || !message.text().includes("net::ERR_")) faults.push(`console: ${message.text()}`);
});
page.on("pageerror", (err) => faults.push(`error: ${err.stack}`));
page.on("request", (request) => {
  if (!request.url().startsWith(`${url}/`) && !request.url().startsWith("blob:")) faults.push(`request to ${request.url()}`);
});

/** call calls the service past the page. */
async function call(method, message) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await context.request.post(`${url}/user.v1.UserService/${method}`, { data: message, headers });
  assert.ok(response.ok(), `${method}: ${await response.text()}`);
  return response.json();
}

/** usable checks that a page is usable by everybody, whatever their screen, in light and dark. */
async function usable(name) {
  for (const across of [320, 2560, width]) {
    await page.setViewportSize({ width: across, height: 800 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) faults.push(`${name}: wider than a window of ${across} pixels by ${wide}`);
  }
  await page.evaluate(axe);
  for (const colorScheme of [scheme === "dark" ? "light" : "dark", scheme]) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await page.evaluate(() => axe.run());
    for (const { impact, id, nodes } of violations) {
      if (impact === "serious" || impact === "critical") faults.push(`${name}, ${colorScheme}: axe: ${id}: ${nodes.map((node) => node.html).join(" ")}`);
    }
  }
  if (pictures) await page.screenshot({ path: `${pictures}/${name}-${width}-${scheme}.png`, fullPage: true });
}

/** restarted has the server restarted while something is done. */
async function restarted() {
  away = true;
  console.log("restart");
  await new Promise((resolve) => process.stdin.once("data", resolve));
}

/** importRows creates users through one stream, past the page. */
async function importRows(rows) {
  const frames = rows.map((row) => {
    const message = Buffer.from(JSON.stringify(row));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    return Buffer.concat([head, message]);
  });
  const headers = { "content-type": "application/connect+json", ...token && { authorization: `Bearer ${token}` } };
  const response = await context.request.post(`${url}/user.v1.UserService/BatchCreateUsers`, { data: Buffer.concat(frames), headers });
  assert.ok((await response.text()).includes(`"successCount":${rows.length}`), await response.text());
}

const button = (name) => page.getByRole("button", { name, exact: true });
const field = (label) => page.getByLabel(label, { exact: true });
const heading = (name) => page.getByRole("heading", { name, exact: true });
const status = (text) => page.getByRole("status").filter({ hasText: text });
const seen = (locator) => locator.first().waitFor();
const gone = (locator) => locator.waitFor({ state: "detached" });

async function signIn() {
  await page.goto(`${url}/`);
  assert.equal(page.url(), `${url}/console/`);
  if (!token) {
    return;
  }
  await seen(heading("Sign in"));
  await usable("sign in");
  await page.getByRole("link", { name: "API", exact: true }).click(); // It tells nothing of users.
  await seen(heading("GetUser"));
  await page.getByRole("link", { name: "Sign in" }).click();
  await field("Token").fill("nobody");
  await button("Sign in").click();
  await seen(page.getByText("The server does not know this token."));
  await field("Token").fill(reader);
  await button("Sign in").click();
  await seen(page.getByText("This token may not list users."));
  for (const name of ["New user", "Status"]) {
    assert.equal(await page.getByRole("link", { name }).count(), 0, `what a token may not is offered: ${name}`);
  }
  await page.goto(`${url}/console/#/status`);
  await seen(page.getByText("This token may not see the status of the server."));
  await page.goto(`${url}/console/#/`);
  await button("Sign out").click();
  await field("Token").fill(token);
  await page.keyboard.press("Enter");
  await button("Sign out").waitFor();
  assert.equal(await page.evaluate(() => localStorage.length), 0, "the token outlives the tab");
}

/** run runs a line for a shell that the page shows. */
function run(line) {
  return execFileSync("sh", ["-c", line.replace(/^curl /, "curl --silent --insecure ")], { env: { ...process.env, TOKEN: token }, encoding: "utf8" });
}

/** readAPI reads the documentation, by keyboard. */
async function readAPI() {
  await page.getByRole("link", { name: "API", exact: true }).press("Enter");
  await seen(heading("GetUser"));
  const { paths } = await (await context.request.get(`${url}/openapi.json`)).json();
  const names = Object.keys(paths).map((path) => path.split("/").at(-1));
  assert.deepEqual(await page.locator("h2").allTextContents(), names);
  await usable("api");
  const create = page.getByRole("region", { name: "CreateUser", exact: true });
  await seen(create.getByRole("table", { name: "Request of CreateUser" }).getByRole("row", { name: /^email required email address .* at most 254 characters/ }));
  await seen(create.getByRole("table", { name: "Response of CreateUser" }).getByRole("row", { name: /^user\.attributes object of strings/ }));
  await seen(create.getByRole("table", { name: "Errors of CreateUser" }).getByRole("row", { name: "409 EMAIL_TAKEN already_exists" }));

  await page.goto(`${url}/console/#/api/SearchUsers`);
  await page.reload();
  await page.waitForFunction(() => document.activeElement.id === "SearchUsers" && document.activeElement.getBoundingClientRect().top < innerHeight / 2);
  await field("Filter by name").fill("getuser ");
  await seen(status("4 of 9 operations"));
  assert.deepEqual(await page.locator("h2").allTextContents(), names.filter((name) => name.includes("GetUser")));
  await page.getByRole("link", { name: "GetUser", exact: true }).press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "GetUser");

  const get = page.getByRole("region", { name: "GetUser", exact: true });
  for (const name of ["Copy the curl line of GetUser", "Copy the curl line of GetUser by GET"]) {
    await button(name).press("Enter");
    await seen(get.getByRole("status").filter({ hasText: "Copied." }));
    const line = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(line.startsWith(`curl ${url}/user.v1.UserService/GetUser `), line);
    assert.equal(await get.getByText(line, { exact: true }).count(), 1);
    assert.equal(run(line), "{}\n", line); // There is no such user.
  }
  await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined })); // As without TLS on another machine.
  await button("Copy the curl line of GetUser").press("Enter");
  await seen(get.getByRole("status").filter({ hasText: "The line is selected." }));
  assert.equal(await page.evaluate(() => getSelection().toString()), await get.locator("pre").first().textContent());
  await page.goto(`${url}/console/#/`);
}

/** createUser uses the keyboard alone. */
async function createUser() {
  await seen(status("There are no users yet."));
  await seen(page.getByRole("link", { name: "Create one" }));
  await usable("no users");
  await page.getByRole("link", { name: "New user" }).press("Enter");
  await seen(heading("New user"));
  await field("Email").focus();
  await page.keyboard.type("ada");
  await page.keyboard.press("Tab");
  await page.keyboard.type("Ada Lovelace");
  await page.keyboard.press("Tab");
  await page.keyboard.type("urn:ada");
  await page.keyboard.press("Tab");
  await page.keyboard.type("admin team:engine");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter"); // Add an attribute
  await field("Name of attribute 1").fill("tenant");
  await field("Value of attribute 1").fill("acme");
  await field("Email").press("Enter");
  await seen(page.locator(".problem")); // The address is none.
  await usable("new user");
  await field("Email").fill("ada@example.com");
  await page.keyboard.press("Enter");
  await seen(heading("Ada Lovelace"));
  await seen(page.getByText("team:engine"));
  await usable("user");
}

async function openUser() {
  const id = page.url().split("/").at(-1);
  for (const key of [id, "ADA@example.com", "urn:ada"]) {
    await page.goto(`${url}/console/#/new`);
    await field("Id, email or external id").fill(key);
    await page.keyboard.press("Enter");
    await seen(heading("Ada Lovelace"));
    assert.ok(page.url().endsWith(id));
  }
  await field("Id, email or external id").fill("nobody@example.com");
  await page.keyboard.press("Enter");
  await seen(status("There is no such user."));
}

async function changeUser() {
  await button("Edit").click();
  await usable("edit");
  await field("Display name").fill("Ada King");
  await field("Roles").fill("team:engine auditor");
  await field("Value of attribute 1").fill("initech");
  await button("Add an attribute").click();
  await field("Name of attribute 2").fill("locale");
  await field("Value of attribute 2").fill("en");
  await button("Save").click();
  await seen(status("Saved as version 2."));
  await seen(page.getByText("auditor"));
  const { user } = await call("GetUserByEmail", { email: "ada@example.com" });
  assert.equal(user.displayName, "Ada King");
  assert.deepEqual(user.roles, ["auditor", "team:engine"]);
  assert.deepEqual(user.attributes, { tenant: "initech", locale: "en" });
}

/** meetConflict keeps one field of its own and takes another's in two. */
async function meetConflict() {
  await button("Edit").click();
  const { user } = await call("GetUserByEmail", { email: "ada@example.com" });
  await call("UpdateUser", { update: { userId: user.id, displayName: "Countess", externalId: "urn:countess", setAttributes: { locale: "fr" } } });
  await field("Display name").fill("Lady Lovelace");
  await field("Value of attribute 1").fill("de"); // locale
  await button("Save").click();
  await seen(heading("Somebody else has changed this user"));
  await usable("conflict");
  assert.ok(await page.getByRole("radio", { name: "Display name, yours: Lady Lovelace" }).isChecked());
  assert.ok(await page.getByRole("radio", { name: "External id, stored: urn:countess" }).isChecked());
  await page.getByRole("radio", { name: "Attribute locale, stored: fr" }).check();
  await button("Save").click();
  await seen(status("Saved as version 4."));
  const { user: now } = await call("GetUserByEmail", { email: "ada@example.com" });
  assert.equal(now.displayName, "Lady Lovelace");
  assert.equal(now.externalId, "urn:countess");
  assert.equal(now.attributes.locale, "fr");
}

async function disableUser() {
  await button("Disable").click();
  await seen(page.getByText("disabled", { exact: true }));
  await button("Enable").click();
  await seen(status("Saved as version 6."));
  await button("Disable").click();
  await button("Enable").waitFor();
}

async function showTimes() {
  const time = page.locator("time").first();
  const at = new Date(await time.getAttribute("datetime"));
  const inZone = (timeZone) => at.toLocaleString("en-US", { dateStyle: "medium", timeStyle: "medium", timeZone });
  assert.equal(await time.textContent(), inZone("Asia/Tokyo"));
  await button("UTC").click();
  assert.equal(await time.textContent(), `${inZone("UTC")} UTC`);
  await button("UTC").click();
}

const found = () => page.locator("tbody th a");

async function search(fill, expected) {
  await button("Clear").click();
  await fill();
  await button("Search").click();
  await page.waitForFunction((expected) => document.querySelector("[aria-label=Results]")?.ariaBusy === "false" &&
    document.querySelectorAll("tbody tr").length === expected, expected).catch(async () => {
    throw new Error(`not ${expected} users by ${fill}: ${await page.locator("main").innerText()}`);
  });
}

async function searchUsers() {
  for (let i = 0; i < 30; i++) {
    await call("CreateUser", {
      email: `user${i}@example.com`, displayName: `Number ${i}`, roles: i % 3 === 0 ? ["third"] : [],
      attributes: { parity: i % 2 === 0 ? "even" : "odd" }, createdAt: new Date(Date.UTC(2020, 0, 1 + i)).toISOString(),
    });
  }
  await page.getByRole("link", { name: "Users" }).click();
  await seen(heading("Users"));
  await search(() => field("Email begins with").fill("USER1"), 11);
  await search(() => field("Name contains").fill("lovelace"), 1);
  await search(() => field("State").selectOption("Disabled"), 1);
  await page.getByText("More filters").click();
  await search(() => field("Role").fill("third"), 10);
  await search(() => field("Attributes").fill("parity=even"), 15);
  await search(() => field("Created before").fill("2020-01-05T09:00"), 4); // Of Tokyo: midnight of UTC.
  await search(async () => {
    await field("Created after").fill("2020-01-05T09:00");
    await field("Users a page").selectOption("100");
  }, 27);
  await search(() => field("No login since").fill("2020-01-03T09:00"), 2);
  await usable("search");
  await search(async () => {
    await field("Order").selectOption("Oldest first");
    await field("Users a page").selectOption("10");
  }, 10);
  assert.equal(await found().first().textContent(), "Number 0");
  for (const [turn, first] of [["Next page", "Number 10"], ["Next page", "Number 20"], ["Previous page", "Number 10"]]) {
    await button(turn).click();
    await seen(found().filter({ hasText: first }));
  }
  await found().first().click();
  await seen(heading("Number 10"));
  await page.goBack();
  await seen(found().filter({ hasText: "Number 10" })); // The page that it was.
}

async function deleteUser() {
  await search(() => field("Name contains").fill("lovelace"), 1);
  await found().first().click();
  await button("Delete…").click();
  await usable("delete");
  await field("Email of the user").fill("ada");
  assert.ok(await button("Delete").isDisabled());
  await field("Email of the user").fill("ada@example.com");
  await page.keyboard.press("Enter");
  await seen(heading("Users"));
  assert.deepEqual(await call("GetUserByEmail", { email: "ada@example.com" }), {});
}

const row = (text) => page.locator("tbody tr").filter({ hasText: text });

async function followUser() {
  const { user } = await call("CreateUser", { email: "live@example.com", displayName: "First" });
  await page.goto(`${url}/console/#/user/${user.id}`);
  await seen(heading("First"));
  await call("UpdateUser", { update: { userId: user.id, displayName: "Second", addRoles: ["admin"] } });
  await seen(heading("Second"));
  await seen(row("Display name: First → Second"));
  await seen(row("Roles: none → admin"));
  await page.reload(); // The token is still there.
  await seen(page.getByText("None since this page was opened."));
  await passOver(user.id);
  await button("Look for earlier ones").click();
  await seen(status("1 changes looked at"));
  await button("Look for earlier ones").click();
  await seen(status("changes looked at"));
  await seen(row("changed"));
  await usable("changes of a user");
}

/** passOver has the next watcher hear that there was nothing to tell, and then that a user was changed, or deleted. */
async function passOver(id, what = "changed") {
  const text = (number, bytes) => Buffer.concat([Buffer.from([number << 3 | 2, bytes.length]), Buffer.from(bytes)]);
  const frame = (kind, bytes) => Buffer.concat([Buffer.from([kind, 0, 0, 0, bytes.length]), bytes]);
  const event = what === "deleted"
    ? text(2, Buffer.concat([text(1, id), Buffer.from([2 << 3, 2])]))
    : text(1, Buffer.concat([text(1, id), Buffer.from([7 << 3, 2])]));
  const body = Buffer.concat([
    frame(0, text(2, "cursor")), frame(0, text(1, event)), frame(0x80, Buffer.from("grpc-status: 0\r\n")),
  ]);
  await page.route("**/WatchUsers", (route) => route.fulfill({ contentType: "application/grpc-web+proto", body }), { times: 1 });
}

/** followAll also follows while the server is restarted, and then misses nothing. */
async function followAll() {
  await page.getByRole("link", { name: "Live" }).click();
  await seen(status("Live:"));
  const { user } = await call("CreateUser", { email: "followed@example.com", displayName: "Followed" });
  await seen(row("Followed").filter({ hasText: "created" }));
  await usable("live");
  await restarted();
  await call("UpdateUser", { update: { userId: user.id, displayName: "Found again" } });
  await seen(row("Display name: Followed → Found again"));
  await seen(page.getByText("Interruptions: 1"));
  away = false;
  await button("Hold").click();
  await call("DeleteUser", { userId: user.id });
  await button("Hold").click();
  await seen(row("deleted"));
  await button("From the oldest kept").click();
  await seen(row("Second"));
}

/** heapAfter is how much memory the page holds, in bytes, after so many changes more. */
async function heapAfter(changes, first) {
  await importRows(Array.from({ length: changes }, (_, i) => ({ email: `bulk${first + i}@example.com`, displayName: `Bulk ${first + i}` })));
  await seen(row(`Bulk ${first + changes - 1}`));
  const session = await context.newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return usedSize;
}

/** followMany has more changes come than the page keeps. */
async function followMany() {
  await button("From now").click();
  await seen(status("Live:"));
  const before = await heapAfter(3_000, 0);
  const grown = await heapAfter(6_000, 3_000) - before;
  assert.ok(grown < 2 << 20, `6,000 changes more take ${grown} bytes more`);
  assert.equal(await page.locator("tbody tr").count(), 100);
}

/** renewStream has one stream bring more messages than the page takes of one: it opens another. */
async function renewStream() {
  const message = "\0\0\0\0\x0a\x12\x08earliest"; // Field 2, the cursor.
  let opened = 0;
  await page.route("**/WatchUsers", (route) => opened++ > 0 ? route.continue() : route.fulfill({
    contentType: "application/grpc-web+proto", body: message.repeat(10_000), // It does not end as streams do.
  }));
  await call("CreateUser", { email: "renewed@example.com", displayName: "Renewed" });
  await button("From now").click();
  await seen(row("Renewed").or(page.getByText("Interruptions: 2")));
  assert.equal(await page.getByText("Interruptions: 1").count(), 1);
  await page.unroute("**/WatchUsers");
}

const chart = (title) => page.getByRole("figure", { name: title, exact: true });

/** drawnIn waits until a picture has the colour of its first line. */
async function drawnIn(title) {
  const [canvas, sample] = await Promise.all([chart(title).locator("canvas").elementHandle(), chart(title).locator(".line0").elementHandle()]);
  await page.waitForFunction(([canvas, sample]) => {
    const want = getComputedStyle(sample).color.match(/\d+/g).map(Number);
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < data.length; i += 4) {
      if (want.every((part, j) => data[i + j] === part) && data[i + 3] === 255) return true;
    }
    return false;
  }, [canvas, sample]);
}

/** watchStatus looks at the pictures, by keyboard, and while the server is restarted. */
async function watchStatus() {
  await page.getByRole("link", { name: "Status" }).press("Enter");
  await seen(status("Live:"));
  const { user } = await call("CreateUser", { email: "status@example.com", displayName: "Status" });
  const reading = setInterval(() => Promise.all([call("GetUser", { userId: user.id }), context.request.post(`${url}/user.v1.UserService/DeleteUser`, {
    data: { userId: "00000000-0000-4000-8000-000000000000" }, headers: token ? { authorization: `Bearer ${token}` } : {},
  })]).catch(() => undefined), 50); // While the server is away they fail.
  await seen(chart("Calls a second").getByRole("row", { name: /^GetUser \d/ }));
  await seen(chart("Errors a second").getByRole("row", { name: /^NOT_FOUND \d/ }));
  await seen(chart("Latency of unary calls").getByRole("row", { name: /\(p50\) [\d.]+ [µm]s/ }));
  await seen(chart("Users read a second, from where").getByRole("row", { name: /^this process \d/ }));
  await seen(chart("Staleness").getByRole("row", { name: /^how old cached reads can be \d/ }));
  await seen(chart(/^Connections to the database/).getByRole("row", { name: /^in use \d/ }));
  await seen(chart("Memory").getByRole("row", { name: /^the process .* MiB/ }));
  await seen(chart("Callers").getByRole("row", { name: /^streams \d/ }));
  await seen(page.getByRole("region", { name: "RPCs" }).getByRole("row", { name: /^userd.admin.v1.StatusService\/WatchStatus/ }));
  for (const colorScheme of [scheme === "dark" ? "light" : "dark", scheme]) {
    await page.emulateMedia({ colorScheme });
    await drawnIn("Memory");
  }
  await usable("status");
  const changes = page.getByText(/^Restarts, or other servers: \d$/);
  assert.equal(await changes.count(), 0);
  await restarted();
  await seen(changes);
  await seen(status("Live:"));
  away = false;
  await button("Hold").press("Enter");
  await field("The last").selectOption("5 minutes");
  const held = await chart("Memory").innerText();
  await seen(status("Live:"));
  assert.equal(await chart("Memory").innerText(), held);
  await button("Hold").press("Enter");
  clearInterval(reading);
}

async function textOf(click) {
  const [file] = await Promise.all([page.waitForEvent("download"), click()]);
  return readFileSync(await file.path(), "utf8");
}

/** chooseFile has the page show what it would make of a file. */
async function chooseFile(name, text) {
  await page.getByRole("link", { name: "Import" }).click();
  const again = button("Import another file");
  await field("File").or(again).waitFor();
  if (await again.isVisible()) await again.click();
  await field("File").setInputFiles({ name, mimeType: "text/plain", buffer: Buffer.from(text) });
}

async function importFile(name, text, taken, done) {
  await chooseFile(name, text);
  await seen(page.getByText("First users"));
  const tenant = field("Column firm becomes");
  if (await tenant.count()) await tenant.selectOption("Attribute firm");
  await usable("import");
  await field("A user who is there already").selectOption(taken);
  await button("Import").click();
  await seen(status(done));
}

async function importFiles() {
  const lines = ["mail,Full Name,roles,firm,note", 'one@imported.example,"One, the ""first""",a b,acme,x', "two,Two,,,", "three@imported.example,Three,,initech,"];
  await importFile("users.csv", lines.join("\r\n"), "fail", "Done. 2 created, 0 updated, 0 there already, 1 failed.");
  await usable("imported");
  assert.equal(await textOf(() => button("Download the failed rows").click()), "failure,mail,Full Name,roles,firm,note\nemail must be a valid email address,two,Two,,,\n");
  const { user } = await call("GetUserByEmail", { email: "one@imported.example" });
  assert.deepEqual([user.displayName, user.roles, user.attributes], ['One, the "first"', ["a", "b"], { firm: "acme" }]);
  lines[3] = "three@imported.example,Drei,,initech,";
  await importFile("users.csv", lines.join("\n"), "gets what the row has", "Done. 0 created, 1 updated, 1 there already, 1 failed.");
}

/** importOddFiles imports what must not be taken for what it looks like. */
async function importOddFiles() {
  const rows = ["user_id,email,display_name", "7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d,one@imported.example,Somebody else", ",four@imported.example,Zo\xeb"];
  await importFile("users.csv", Buffer.from(rows.join("\n"), "latin1"), "gets what the row has", "Done. 0 created, 0 updated, 0 there already, 2 failed.");
  await seen(page.getByText("has a character that cannot be read: save the file as UTF-8"));
  const { user } = await call("GetUserByEmail", { email: "one@imported.example" });
  assert.equal(user.displayName, 'One, the "first"');

  const folder = mkdtempSync(join(tmpdir(), "console-"));
  const file = join(folder, "users.csv");
  writeFileSync(file, "email,display_name\nfive@imported.example,Five\n");
  await button("Import another file").click();
  await field("File").setInputFiles(file);
  await seen(page.getByText("First users"));
  appendFileSync(file, "six@imported.example,Six\n");
  await button("Import").click();
  await seen(status("Stopped."));
  await seen(page.getByRole("alert").filter({ hasText: "The file cannot be read." }));
  rmSync(folder, { recursive: true });
}

/** unreachable has the next call of a method find nobody. */
async function unreachable(method) {
  away = true;
  await page.route(`**/${method}`, (route) => route.abort("connectionrefused"), { times: 1 });
}

/** exportFiles exports what a search finds, and imports it again. */
async function exportFiles() {
  await page.getByRole("link", { name: "Users" }).click();
  await search(() => field("Name contains").fill("drei"), 1);
  const csv = await textOf(() => button("Export as CSV").click());
  const { user } = await call("GetUserByEmail", { email: "three@imported.example" });
  assert.equal(csv, "user_id,email,display_name,roles,disabled,external_id,created_at,last_login,attributes.firm\n" +
    `${user.id},three@imported.example,Drei,,false,,${user.createdAt},,initech\n`);
  await unreachable("SearchUsers");
  const json = await textOf(() => button("Export as JSON Lines").click());
  away = false;
  assert.deepEqual(JSON.parse(json), {
    userId: user.id, email: user.email, displayName: "Drei", attributes: { firm: "initech" }, createdAt: user.createdAt,
  });
  await call("DeleteUser", { userId: user.id });
  await importFile("users.csv", csv.replace(user.id, ""), "fail", "Done. 1 created, 0 updated, 0 there already, 0 failed.");
  await importFile("users.jsonl", json.replace(user.id, ""), "stays as it is", "Done. 0 created, 0 updated, 1 there already, 0 failed.");
  const { user: again } = await call("GetUserByEmail", { email: "three@imported.example" });
  assert.deepEqual({ ...again, id: "", version: "", updatedAt: "" }, { ...user, id: "", version: "", updatedAt: "" });
}

/** hold keeps the answer to the next call of a method until release is called, or the call itself: of what
 * has been written a page can learn from the feed of changes before it has the answer. */
async function hold(method, what = "answer") {
  let release, tell;
  const held = new Promise((resolve) => { tell = resolve; });
  const released = new Promise((resolve) => { release = resolve; });
  await page.route(`**/${method}`, async (route) => {
    const early = what === "answer" ? await route.fetch() : undefined;
    tell();
    await released;
    await route.fulfill({ response: early ?? await route.fetch() }).catch(() => {}); // Nobody may want it any more.
  }, { times: 1 });
  return { held, release };
}

/** signOut leaves nothing behind for the next to sign in. */
async function signOut() {
  if (!token) return;
  const next = async () => {
    await field("Token").fill(token);
    await page.keyboard.press("Enter");
  };
  await page.getByRole("link", { name: "Live" }).click();
  await seen(page.locator("tbody tr"));
  await button("Sign out").click();
  await next();
  await seen(page.getByText("No change yet."));

  await page.getByRole("link", { name: "Users" }).click();
  await seen(page.locator("tbody tr"));
  const late = await hold("SearchUsers");
  await button("Search").click();
  await late.held;
  await button("Sign out").click();
  late.release();
  const own = await hold("SearchUsers");
  await next();
  await own.held;
  assert.equal(await page.locator("tbody tr").count(), 0, "what the one before has found is shown");
  own.release();
  await seen(page.locator("tbody tr"));
}

async function lookForMissing() {
  await page.goto(`${url}/console/#/user/7d0f6a52-6b1c-4c11-9d5f-3a8f1c2b4e5d`);
  await seen(heading("No such user"));
}

/** importWhole imports a file, and returns the rows that have failed, as they are downloaded. */
async function importWhole(name, text, done) {
  await chooseFile(name, text);
  await button("Import").click();
  await seen(status(done));
  return done.includes(" 0 failed") ? "" : textOf(() => button("Download the failed rows").click());
}

/** mendRows mends rows that have failed in the file of them, which has all that they had, and imports that. */
async function mendRows() {
  const csv = await importWhole("users.csv", '\ufeffemail,display_name\r\none@mended.example,One,more,"and, more"\r\ntwo@mended.example,Two\r\n', "Done. 1 created, 0 updated, 0 there already, 1 failed.");
  assert.equal(csv, 'failure,email,display_name\n"has 4 cells, the row of names has 2",one@mended.example,One,more,"and, more"\n');
  assert.equal(await importWhole("failed-users.csv", csv, "Done. 0 created, 0 updated, 0 there already, 1 failed."), csv);
  await importWhole("failed-users.csv", csv.replace(',more,"and, more"', ""), "Done. 1 created, 0 updated, 0 there already, 0 failed.");

  const line = '{ "email":"three@mended.example", "displayName":"Three", "externalId":12345678901234567890, "attributes":{"empty":"","count":7,"none":null} }';
  const why = "externalId is a number that cannot be read exactly: put it in quotes";
  const lines = await importWhole("users.jsonl", line, "Done. 0 created, 0 updated, 0 there already, 1 failed.");
  assert.equal(lines, `${line.slice(0, -2)},"failure":"${why}"}\n`);
  assert.equal(await importWhole("failed-users.jsonl", lines, "Done. 0 created, 0 updated, 0 there already, 1 failed."), lines);
  await importWhole("failed-users.jsonl", lines.replace(/\d{20}/, '"$&"'), "Done. 1 created, 0 updated, 0 there already, 0 failed.");
  const { user } = await call("GetUserByEmail", { email: "three@mended.example" });
  assert.deepEqual([user.externalId, user.attributes], ["12345678901234567890", { empty: "", count: "7" }]);
}

/** outliveToken has the token end while a file is imported: how far that has come is still told, and none of its rows. */
async function outliveToken() {
  await chooseFile("users.csv", "email,display_name\none@outlived.example,One\nnobody,Two\nlast@outlived.example,Last");
  await page.route("**/CreateUser", async (route) => {
    if (!route.request().postDataBuffer().includes("last@")) return route.continue();
    await seen(status("1 created, 0 updated, 0 there already, 1 failed."));
    return route.fulfill({ contentType: "application/grpc-web+proto", headers: { "grpc-status": "16", "grpc-message": "unknown" } });
  });
  await button("Import").click();
  await seen(page.getByText("The server does not know this token, or not any more."));
  await page.unroute("**/CreateUser");
  await field("Token").fill(token);
  await page.keyboard.press("Enter");
  await seen(status("Stopped. 1 created, 0 updated, 0 there already, 1 failed."));
  await seen(page.getByRole("alert").filter({ hasText: "Its token was not known any more" }));
  assert.equal(await page.getByText("valid email").count(), 0, "rows of another caller are shown");
  assert.equal(await button("Download the failed rows").count(), 0);
}

/** endToken has the next call of a method find that its token is not known any more. */
async function endToken(method) {
  await page.route(`**/${method}`, (route) => route.fulfill({
    contentType: "application/grpc-web+proto", headers: { "grpc-status": "16", "grpc-message": "unknown" },
  }), { times: 1 });
}

async function signInWith(given) {
  await field("Token").fill(given);
  await page.keyboard.press("Enter");
  await button("Sign out").waitFor();
}

/** keepDrafts has tokens end while something is typed: it is there again for the same caller, and for nobody else. */
async function keepDrafts() {
  const [mine, renewed, others] = jwts;
  const promised = page.getByText("What you had typed is kept for you");
  const kept = status("What you had typed is there, and not saved yet.");
  const isGone = status("What was typed here with another token, and not saved, is gone.");
  await button("Sign out").click();
  assert.equal(await promised.count(), 0);
  await signInWith(mine);

  const typeUser = async () => {
    await page.goto(`${url}/console/#/new`);
    await field("Email").fill("kept@example.com");
    await field("Display name").fill("Kept");
    await button("Add an attribute").click();
    await field("Value of attribute 1").fill("half");
  };
  await typeUser();
  await field("Name of attribute 1").fill("a");
  await endToken("CreateUser");
  await button("Create").click();
  await seen(promised);
  assert.equal(await field("Email").count(), 0, "what was typed is shown to anybody");
  await field("Token").fill("nobody");
  await button("Sign in").click();
  await seen(page.getByText("The server does not know this token."));
  await page.getByRole("link", { name: "API", exact: true }).click();
  await seen(heading("GetUser"));
  await page.getByRole("link", { name: "Sign in" }).click();
  await signInWith(renewed);
  await seen(kept);
  await usable("kept");
  await kept.getByRole("link", { name: "New user" }).click();
  await seen(heading("New user"));
  assert.equal(await kept.getByRole("link").count(), 0);
  assert.equal(await field("Email").inputValue(), "kept@example.com");
  assert.equal(await field("Value of attribute 1").inputValue(), "half");
  await button("Create").click();
  await seen(heading("Kept"));
  await gone(kept);
  const { user } = await call("GetUserByEmail", { email: "kept@example.com" });

  await button("Edit").click();
  await field("Display name").fill("Kept again");
  await call("UpdateUser", { update: { userId: user.id, externalId: "urn:theirs" } });
  await endToken("UpdateUser");
  await button("Save").click();
  await seen(promised);
  await signInWith(mine);
  await seen(kept);
  assert.equal(await field("Display name").inputValue(), "Kept again");
  await button("Save").click();
  await seen(page.getByText("It is at version 2 now."));
  await button("Save").click();
  await seen(status("Saved as version 3."));
  await gone(kept);
  const { user: now } = await call("GetUserByEmail", { email: user.email });
  assert.deepEqual([now.displayName, now.externalId, now.attributes], ["Kept again", "urn:theirs", { a: "half" }]);

  await chooseFile("chosen.csv", "email,who\nchosen@example.com,Chosen");
  await field("Column who becomes").selectOption("Display name");
  await field("A user who is there already").selectOption("stays as it is");
  await endToken("GetUserByEmail");
  await field("Id, email or external id").fill("nobody@example.com");
  await page.keyboard.press("Enter");
  await seen(promised);
  await signInWith(renewed);
  await seen(kept);
  assert.equal(await field("File").evaluate((input) => input.files[0].name), "chosen.csv");
  assert.equal(await field("Column who becomes").inputValue(), "display_name");
  assert.equal(await field("A user who is there already").inputValue(), "skip");
  await button("Import").click();
  await seen(status("Done. 1 created, 0 updated, 0 there already, 0 failed."));
  await gone(kept);

  const notShown = async (why) => {
    await seen(heading("New user"));
    assert.equal(await field("Email").inputValue(), "", why);
    assert.equal(await field("Value of attribute 1").count(), 0, why);
    assert.equal(await kept.count(), 0, why);
  };
  await typeUser();
  await endToken("CreateUser");
  await field("Name of attribute 1").fill("a");
  await button("Create").click();
  await seen(promised);
  await signInWith(others);
  await seen(isGone);
  await notShown("what somebody else has typed is shown");
  await button("Sign out").click();
  await signInWith(mine);
  await notShown("what was dropped is there again");
  await typeUser();
  await button("Sign out").click();
  assert.equal(await promised.count(), 0);
  await signInWith(mine);
  await notShown("what was given up is there again");
  assert.equal(await isGone.count(), 0);
  await button("Sign out").click();
  await signInWith(token);
}

/** takeAway chooses to change users who are there, and learns what they lose. */
async function takeAway() {
  await chooseFile("users.csv", "email,display_name\ntaken@example.com,Taken");
  const hint = page.getByText("a file without them takes them away");
  await field("A user who is there already").selectOption("stays as it is");
  assert.equal(await hint.count(), 0);
  await field("A user who is there already").selectOption("gets what the row has");
  await seen(hint);
}

/** refuseRows shows of files that are no good why, before anything is imported. */
async function refuseRows() {
  const name = '"email":"x@refused.example","displayName"';
  for (const [file, text, why] of [
    ["users.jsonl", `{${name}:{"first":"Ada"}}`, "displayName must be text"],
    ["users.jsonl", `{${name}:"X","roles":["team lead"]}`, "roles must be a list of words without blanks"],
    ["users.json", JSON.stringify([{ email: "x@refused.example", displayName: "X".repeat(2 << 20) }]), "A line has more than a million characters: this is no JSON Lines."],
    ["users.csv", "mail,display_name,email\nx@refused.example,X,", "mail and email would both become Email"],
    ["users.csv", "email,display_name,display_name\nx@refused.example,X,Y", 'the column "display_name" is there twice'],
    ["users.csv", "email;display_name\nx@refused.example;X", "the columns are separated by semicolons: save the file with commas"],
    ["users.csv", 'email,display_name\nx@refused.example,"X', "a quote is opened, and not closed before the file ends"],
    ["users.csv", `email,display_name\nx@refused.example,"${"X\n".repeat(1 << 20)}`, "A row has more than a million characters: this is no CSV, or a quote is not closed."],
  ]) {
    await chooseFile(file, text);
    await seen(page.getByText(why, { exact: true }));
  }
}

/** chooseAgain chooses a file before the rows of another one have come. */
async function chooseAgain() {
  await page.evaluate(() => {
    const { stream } = Blob.prototype;
    const release = Promise.withResolvers();
    window.read = new Promise((resolve) => {
      Blob.prototype.stream = function () {
        const late = new TransformStream({ transform: (chunk, to) => release.promise.then(() => to.enqueue(chunk)), flush: resolve });
        return this.name === "late.csv" ? stream.call(this).pipeThrough(late) : stream.call(this);
      };
    });
    window.release = release.resolve;
  });
  await chooseFile("late.csv", "email,late\nx@again.example,X");
  await chooseFile("other.csv", "email,other\nx@again.example,X");
  await seen(row("other"));
  await page.evaluate(async () => {
    window.release();
    await window.read;
    await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
  });
  assert.equal(await row("late").count(), 0, "the rows of a file that was not chosen are shown");
}

/** drawnAfter waits until the page has taken the answer to a call that was held, and is drawn. */
async function drawnAfter(method, release) {
  const answered = page.waitForEvent("requestfinished", (request) => request.url().endsWith(method));
  release();
  await answered;
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
}

async function openPage(user) {
  await page.goto(`${url}/console/#/user/${user.id}`);
  await seen(heading(user.displayName));
}

/** signInBadly gives tokens that no request can have, and one where no server answers. */
async function signInBadly() {
  await page.goto(`${url}/console/`);
  await field("Token").fill("userd_\u200babc");
  await button("Sign in").click();
  await seen(page.getByText("No token has such a character: copy it again, and nothing beside it."));
  away = true;
  await page.route("**/GetUser", (route) => route.abort("connectionrefused"));
  await field("Token").fill(token);
  await button("Sign in").click();
  await seen(page.getByText("The server cannot be reached."));
  await page.unroute("**/GetUser");
  away = false;
  await button("Sign in with another token").click();
  await field("Token").fill(token);
  await page.keyboard.press("Enter");
  await seen(heading("Users"));
}

/** meetTwoConflicts has somebody change a user again before a conflict is settled. */
async function meetTwoConflicts() {
  const { user } = await call("CreateUser", { email: "twice@example.com", displayName: "Begun", externalId: "urn:0" });
  const change = (externalId) => call("UpdateUser", { update: { userId: user.id, externalId } });
  await openPage(user);
  await button("Edit").press("Enter");
  await page.waitForFunction(() => document.activeElement.name === "email");
  await field("Display name").fill("Mine");
  await change("urn:1");
  await button("Save").click();
  await seen(page.getByText("It is at version 2 now."));
  await change("urn:2");
  await button("Save").click();
  await seen(page.getByText("It is at version 3 now."));
  assert.ok(await page.getByRole("radio", { name: "Display name, yours: Mine" }).isChecked());
  assert.ok(await page.getByRole("radio", { name: "External id, stored: urn:2" }).isChecked(), "what was theirs is taken for mine");
  await button("Save").press("Enter");
  await seen(status("Saved as version 4."));
  await page.waitForFunction(() => document.activeElement.tagName === "H1");
  const { user: now } = await call("GetUserByEmail", { email: user.email });
  assert.deepEqual([now.displayName, now.externalId], ["Mine", "urn:2"]);
}

/** nameAttributes leaves an attribute without a name, and gives two the same, by keyboard. */
async function nameAttributes() {
  const { user } = await call("CreateUser", { email: "attributes@example.com", displayName: "Attributes" });
  await openPage(user);
  const focused = (label) => page.waitForFunction((label) => (document.activeElement.ariaLabel ?? document.activeElement.textContent) === label, label);
  await button("Edit").click();
  for (const value of ["1", "2", "3"]) {
    await button("Add an attribute").press("Enter");
    await focused(`Name of attribute ${value}`);
    await page.keyboard.type("a");
    await field(`Value of attribute ${value}`).fill(value);
  }
  await page.getByRole("button", { name: "Remove attribute a" }).last().press("Enter");
  await focused("Add an attribute");
  await button("Save").click();
  await seen(page.getByRole("alert").filter({ hasText: "The attribute a is there twice." }));
  await field("Name of attribute 2").fill("");
  await button("Save").click();
  await seen(page.getByRole("alert").filter({ hasText: "The attribute with the value 2 needs a name." }));
  await field("Name of attribute 2").fill("b");
  await button("Save").click();
  await seen(status("Saved as version 2."));
  const { user: now } = await call("GetUserByEmail", { email: user.email });
  assert.deepEqual(now.attributes, { a: "1", b: "2" });
}

/** keepLines changes an attribute of several lines. */
async function keepLines() {
  const { user } = await call("CreateUser", { email: "lines@example.com", displayName: "Lines", attributes: { lines: "one\ntwo" } });
  await openPage(user);
  assert.match(await page.locator(".attributes li").innerText(), /one\ntwo/);
  await button("Edit").click();
  await field("Value of attribute 1").press("Control+End");
  await page.keyboard.type(" more");
  await button("Save").click();
  await seen(status("Saved as version 2."));
  const { user: now } = await call("GetUserByEmail", { email: user.email });
  assert.deepEqual(now.attributes, { lines: "one\ntwo more" });
}

/** fitLong shows a user who is long in each respect: what is short beside it stays as it is. */
async function fitLong() {
  const email = `${"l".repeat(60)}@long.example`;
  const { user } = await call("CreateUser", { email, displayName: "L".repeat(200), roles: Array.from({ length: 32 }, (_, i) => `role${i}`) });
  await page.getByRole("link", { name: "Users" }).click();
  await seen(heading("Users"));
  await search(() => field("Email begins with").fill("llll"), 1);
  await seen(row("and 24 more"));
  const isOneLine = (text) => row("LLLL").locator(".tag").filter({ hasText: text }).first().evaluate((tag) => tag.getBoundingClientRect().height < 1.5 * parseFloat(getComputedStyle(tag).lineHeight));
  await page.setViewportSize({ width: 320, height: 800 });
  assert.ok(await isOneLine("active"), "a state is broken into two lines");
  await usable("long");

  await page.getByRole("link", { name: "Live" }).click();
  await seen(heading("Live"));
  await call("UpdateUser", { update: { userId: user.id, setAttributes: { note: "word ".repeat(200) } } });
  await seen(row("LLLL"));
  await page.setViewportSize({ width: 320, height: 800 });
  assert.ok(await isOneLine("changed"), "a change is broken into two lines");
  await usable("long changes");
  await openPage(user);
  await call("UpdateUser", { update: { userId: user.id, setAttributes: { note: "another ".repeat(120) } } });
  await seen(row("Attribute note"));
  const told = await row("Attribute note").first().innerText();
  assert.ok(told.length < 600, `a change is told in ${told.length} characters`);
}

/** waitForServer uses one that is slow: the page says what it waits for. */
async function waitForServer() {
  const { user } = await call("CreateUser", { email: "slow@example.com", displayName: "Slow" });
  await openPage(user);
  const asked = await hold("GetUser");
  await page.reload();
  await seen(status("Asking the server…"));
  const read = await hold("GetUser");
  asked.release();
  await seen(status("Loading…"));
  read.release();
  await seen(heading("Slow"));
  const removed = await hold("DeleteUser", "call");
  await button("Delete…").click();
  await field("Email of the user").fill(user.email);
  await button("Delete").click();
  await seen(status("Deleting…"));
  removed.release();
  await seen(heading("Users"));
  const created = await hold("CreateUser");
  await page.goto(`${url}/console/#/new`);
  await field("Email").fill("slower@example.com");
  await field("Display name").fill("Slower");
  await button("Create").click();
  await seen(status("Creating…"));
  created.release();
  await seen(heading("Slower"));
}

/** typeBlanks creates a user with an email as it is pasted. */
async function typeBlanks() {
  await page.goto(`${url}/console/#/new`);
  await field("Email").fill(" blanks@example.com ");
  await field("Display name").fill("Blanks");
  await button("Create").click();
  await seen(heading("Blanks"));
  const { user } = await call("GetUserByEmail", { email: "blanks@example.com" });
  assert.equal(user.displayName, "Blanks");
}

/** clickTooOften clicks again before there is an answer, and after a failure. */
async function clickTooOften() {
  const { user } = await call("CreateUser", { email: "clicks@example.com", displayName: "Clicks" });
  await openPage(user);
  let calls = 0;
  const counted = (request) => { if (request.url().endsWith("/UpdateUser")) calls++; };
  page.on("request", counted);
  const late = await hold("UpdateUser", "call");
  await button("Disable").click();
  await late.held;
  await seen(status("Saving…"));
  await button("Disable").click();
  await drawnAfter("UpdateUser", late.release);
  await seen(status("Saved as version 2."));
  assert.equal(calls, 1, "two clicks make two calls");
  page.off("request", counted);

  await unreachable("UpdateUser");
  await button("Enable").click();
  await seen(page.getByRole("alert").filter({ hasText: "The server cannot be reached." }));
  away = false;
  await button("Enable").click();
  await seen(status("Saved as version 3."));
  assert.equal(await page.getByRole("alert").count(), 0, "what has failed before is shown");

  const old = await hold("GetUser");
  await button("Read again").click();
  await old.held;
  await button("Disable").click();
  await seen(status("Saved as version 4."));
  await drawnAfter("GetUser", old.release);
  await seen(button("Enable"));
}

/** openTwo opens a user while another one is still looked for. */
async function openTwo() {
  const [first, second] = await Promise.all(["First", "Second"].map((displayName) => call("CreateUser", { email: `${displayName}@opened.example`, displayName })));
  const late = await hold("GetUserByEmail");
  const open = async (key) => {
    await field("Id, email or external id").fill(key);
    await page.keyboard.press("Enter");
  };
  await open(first.user.email);
  await late.held;
  await open(second.user.id);
  await seen(heading("Second"));
  await drawnAfter("GetUserByEmail", late.release);
  assert.ok(page.url().endsWith(second.user.id), "the one who was looked for before is opened");
}

/** lookAfterDeletion looks for changes of a user who is not there any more. */
async function lookAfterDeletion() {
  const { user } = await call("CreateUser", { email: "deleted@example.com", displayName: "Deleted" });
  await call("DeleteUser", { userId: user.id });
  await page.goto(`${url}/console/#/user/${user.id}`);
  await page.reload();
  await seen(heading("No such user"));
  await seen(page.getByText("None since this page was opened."));
  await passOver(user.id, "deleted");
  await button("Look for earlier ones").click();
  await seen(row("deleted"));
}

/** writeFromTheRight has names that are written from the right to the left: a change still goes from the left to the right. */
async function writeFromTheRight() {
  const { user } = await call("CreateUser", { email: "right@example.com", displayName: "אבג" });
  await openPage(user);
  await call("UpdateUser", { update: { userId: user.id, displayName: "דהו" } });
  await seen(row("Display name: אבג → דהו"));
  const [before, after] = await row("Display name").evaluate((row) => ["אבג", "דהו"].map((name) => {
    const texts = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
    while (!texts.nextNode().data.includes(name));
    const range = document.createRange();
    const at = texts.currentNode.data.indexOf(name);
    range.setStart(texts.currentNode, at);
    range.setEnd(texts.currentNode, at + name.length);
    return range.getBoundingClientRect().left;
  }));
  assert.ok(before < after, "the name before stands where the one after is to stand");
}

/** lookElsewhere shows another tab for a while: the one that is not seen takes no connection from others, and misses nothing. */
async function lookElsewhere() {
  const { user } = await call("CreateUser", { email: "elsewhere@example.com", displayName: "Here" });
  await openPage(user);
  await call("UpdateUser", { update: { userId: user.id, displayName: "Seen" } });
  await seen(heading("Seen"));
  const turn = (isHidden) => page.evaluate((isHidden) => {
    Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);
  const ended = page.waitForEvent("requestfailed", (request) => request.url().endsWith("/WatchUsers"));
  await turn(true);
  await ended;
  await call("UpdateUser", { update: { userId: user.id, displayName: "Seen later" } });
  await turn(false);
  await seen(row("Display name: Seen → Seen later"));
}

/** turnZone shows times in another zone between two pages of a search by time. */
async function turnZone() {
  for (let i = 0; i < 12; i++) {
    await call("CreateUser", { email: `zone${i}@example.com`, displayName: `Zone ${i}`, createdAt: new Date(Date.UTC(2020, 0, 1, i)).toISOString() });
  }
  await page.getByRole("link", { name: "Users" }).click();
  await seen(heading("Users"));
  await page.getByText("More filters").click();
  await search(async () => {
    await field("Created before").fill("2020-01-01T20:30"); // Of Tokyo: half past 11 of UTC.
    await field("Users a page").selectOption("10");
  }, 10);
  await button("UTC").click();
  assert.equal(await field("Created before").inputValue(), "2020-01-01T11:30");
  await button("Next page").click();
  await seen(status("Page 2: 2 users"));
  await button("UTC").click();
  assert.equal(await field("Created before").inputValue(), "2020-01-01T20:30");
}

/** stopSearch gives up a search, and then finds what it looked for. */
async function stopSearch() {
  const late = await hold("SearchUsers");
  await button("Search").click();
  await late.held;
  await button("Stop").click();
  await seen(status("The search was stopped."));
  assert.equal(await page.getByRole("alert").count(), 0);
  late.release();
  await button("Search").click();
  await seen(page.locator("tbody tr"));
}

/** exportMeanwhile shows another page while users are exported, and signs out. */
async function exportMeanwhile() {
  const leave = async () => {
    const late = await hold("SearchUsers");
    await button("Export as JSON Lines").click();
    await late.held;
    await page.getByRole("link", { name: "Live" }).click();
    await seen(heading("Live"));
    return late;
  };
  const late = await leave();
  await page.getByRole("link", { name: "Users" }).click();
  await seen(status("0 users so far"));
  assert.equal((await textOf(late.release)).trim().split("\n").length, 12);
  await seen(status("12 users exported."));

  let downloads = 0;
  page.on("download", () => downloads++);
  const lost = await leave();
  await button("Sign out").click();
  await field("Token").fill(token);
  await page.keyboard.press("Enter");
  await seen(heading("Live"));
  lost.release();
  await page.getByRole("link", { name: "Users" }).click();
  await seen(page.locator("tbody tr"));
  await textOf(() => button("Export as JSON Lines").click());
  assert.equal(downloads, 1, "what another caller has exported is downloaded");
}

/** outwaitFrozen saves to a server that does not answer. */
async function outwaitFrozen() {
  const { user } = await call("CreateUser", { email: "frozen@example.com", displayName: "Frozen" });
  await openPage(user);
  const late = await hold("UpdateUser");
  await page.clock.install();
  await button("Disable").click();
  await late.held;
  await page.clock.fastForward(31_000);
  await seen(page.getByRole("alert").filter({ hasText: "The server does not answer." }));
  late.release();
}

const journeys = {
  everything: [signIn, readAPI, createUser, openUser, changeUser, meetConflict, disableUser, showTimes, searchUsers, deleteUser, followUser, followAll, followMany, renewStream,
    watchStatus, importFiles, importOddFiles, exportFiles, lookForMissing, signOut],
  mistakes: [signInBadly, meetTwoConflicts, nameAttributes, keepLines, fitLong, waitForServer, typeBlanks, clickTooOften, openTwo, lookAfterDeletion, writeFromTheRight, lookElsewhere, turnZone, stopSearch, exportMeanwhile,
    mendRows, outliveToken, keepDrafts, takeAway, refuseRows, chooseAgain, outwaitFrozen],
};

try {
  for (const step of journeys[journey]) {
    await step().catch((err) => { throw new Error(`${step.name}: ${err.stack}\n${faults.join("\n")}`); });
  }
  assert.deepEqual(faults, []);
} finally {
  await browser.close();
  process.stdin.destroy();
}
