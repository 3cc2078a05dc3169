// @connectrpc/connect-web in a browser: node browser.mjs CHROMIUM PAGE
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [executablePath, url] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--ignore-certificate-errors"],
});
const page = await browser.newPage();
page.setDefaultTimeout(0); // The test has its own.
page.on("console", (message) => console.error(message.text()));
await page.goto(url);
await page.waitForFunction(() => "play" in window);
for await (const line of createInterface({ input: process.stdin })) {
  console.log(await page.evaluate((line) => window.play(line), line));
}
await browser.close();
