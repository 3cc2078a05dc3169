// Searches at the console among many users: node search.mjs CHROMIUM '{"url": …, "people": …}'
// Checks what each shows, and with how many calls. It writes how long each takes, in milliseconds.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [executablePath, settings] = process.argv.slice(2);
const { url, people } = JSON.parse(settings);

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});
const page = await browser.newPage();
page.setDefaultTimeout(60_000);

let calls = 0;
page.on("request", (request) => {
  if (request.url().endsWith("/SearchUsers")) calls++;
});

const field = (label) => page.getByLabel(label, { exact: true });
const fill = (label, value) => () => field(label).fill(value);
const choose = (label, value) => () => field(label).selectOption(value);
const email = (i) => `user${String(i).padStart(7, "0")}@people.example`;
const page25 = 25;

// What is looked for, how many the first page has, and the email of the first; as search_test.go
// makes the users.
const last = (every, of) => email(people - 1 - (((people - 1 - of) % every) + every) % every);
const searches = [
  ["everybody", choose("Order", "Newest first"), page25, email(people - 1)],
  ["the oldest", choose("Order", "Oldest first"), page25, email(0)],
  ["one email", fill("Email begins with", email(people / 2)), 1, email(people / 2)],
  ["emails of 1,000", fill("Email begins with", "user0000"), page25, email(Math.min(people, 1000) - 1)],
  ["emails of nobody", fill("Email begins with", "nobody"), 0],
  ["a name of one", fill("Name contains", "quist"), 1, email(people / 2)],
  ["a common name", fill("Name contains", "grace"), page25, last(20, 3)],
  ["a name of nobody", fill("Name contains", "Quetzalcoatl"), 0],
  ["a common role", fill("Role", "editor"), page25, last(10, 0)],
  ["a role of nobody", fill("Role", "emperor"), 0],
  ["a common attribute", fill("Attributes", "plan=pro"), page25, last(20, 0)],
  ["a rare attribute", fill("Attributes", "tenant=t711"), Math.min(page25, people / 2000), last(2000, 711)],
  ["an attribute of nobody", fill("Attributes", "plan=gold"), 0],
  ["the disabled", choose("State", "Disabled"), Math.min(page25, people / 1000), last(1000, 3)],
  ["the active", choose("State", "Active"), page25, email(people - 1)],
  ["two letters of nobody", fill("Name contains", "yy"), 0],
  ["nobody's long absence", fill("No login since", "2019-01-01T00:00"), 0],
];

const settled = () => page.waitForFunction(() => document.querySelector("[aria-label=Results]")?.ariaBusy === "false");

/** search is how long a search takes, from the key to what it shows first, and shows in the end. */
async function search(fill) {
  await page.getByRole("button", { name: "Clear", exact: true }).click();
  await settled();
  await fill();
  await page.evaluate(() => {
    const results = document.querySelector("[aria-label=Results]");
    window.took = new Promise((resolve) => addEventListener("keydown", () => {
      const begun = performance.now();
      let first, inVain = false;
      const drawn = (then) => requestAnimationFrame(() => setTimeout(() => then(performance.now() - begun)));
      new MutationObserver((_, observer) => {
        const busy = results.ariaBusy === "true";
        inVain ||= results.innerText.includes("Nobody so far");
        if (busy && !inVain) return;
        first ??= new Promise(drawn);
        if (busy) return;
        observer.disconnect();
        drawn((last) => first.then((first) => resolve({ first, last, inVain })));
      }).observe(results, { attributes: true, childList: true, subtree: true, characterData: true });
    }, { capture: true, once: true }));
  });
  calls = 0;
  await page.getByRole("button", { name: "Search", exact: true }).press("Enter");
  return page.evaluate(() => window.took);
}

try {
  await page.goto(`${url}/console/`);
  await page.getByText("More filters").click();
  for (const [what, fill, count, first] of searches) {
    const times = [];
    for (let i = 0; i < 5; i++) {
      const shown = await search(fill);
      times.push(shown);
      const emails = await page.locator("tbody th .second").allTextContents();
      assert.equal(emails.length, count, what);
      assert.equal(emails[0], first, what);
      // An import is ahead of the index of names for a while; a call without an index looks at 10,000.
      const most = /name|nobody's|two/.test(what) ? 1 + Math.floor(people / 10_000) : 1;
      assert.ok(calls <= most, `${what}: ${calls} calls`);
      assert.equal(shown.inVain, calls > 1, `${what}: says that nobody is so yet, with ${calls} calls`);
    }
    const [once, ...again] = times.map(({ first, last }) => [...new Set([first, last].map(Math.round))].join(" to "));
    console.log(`${what}: ${once}, then ${again.join(", ")}`);
  }
} finally {
  await browser.close();
}
