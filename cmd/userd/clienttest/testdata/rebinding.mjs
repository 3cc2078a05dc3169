// Pages of evil.example, a name that points at this machine: node rebinding.mjs CHROMIUM URL...
// Each of the URLs is fetched by a page of its own origin. Prints what the pages could
// read.
import { chromium } from "playwright-core";

const [executablePath, ...urls] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--host-resolver-rules=MAP evil.example 127.0.0.1"],
});
const answers = [];
for (const url of urls) {
  const page = await browser.newPage();
  await page.goto(new URL("/livez", url).href); // Whatever it says: the page has the origin.
  answers.push(await page.evaluate(async (url) => {
    const init = url.includes("user.v1") ? { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" } : {};
    const response = await fetch(url, init);
    return { url, status: response.status, body: await response.text() };
  }, url));
  await page.close();
}
console.log(JSON.stringify(answers));
await browser.close();
