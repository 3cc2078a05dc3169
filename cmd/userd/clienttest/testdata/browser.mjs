// A browser on a page of another origin: node browser.mjs CHROMIUM PAGE
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [executablePath, url] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});
const page = await browser.newPage();
page.on("console", (message) => console.error(message.text()));
page.on("pageerror", (err) => {
  console.error(err.stack);
  process.exit(1);
});
await page.exposeFunction("print", (line) => console.log(line));
await page.goto(url);
await page.waitForFunction(() => "handle" in window);

const lines = createInterface({ input: process.stdin });
for await (const line of lines) await page.evaluate((line) => window.handle(line), line);
await browser.close();
