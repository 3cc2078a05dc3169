// A browser on a page of another origin: node browser.mjs CHROMIUM PAGE
import { chromium } from "playwright-core";

const [executablePath, url] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--ignore-certificate-errors"],
});
const page = await browser.newPage();
page.on("console", (message) => console.error(message.text()));
page.on("pageerror", (err) => {
  console.error(err.stack);
  process.exit(1);
});
page.on("crash", () => process.exit(1));
await page.exposeFunction("report", (lines) => console.log(lines));
await page.goto(url);
await page.waitForFunction(() => "handle" in window);

let rest = "";
for await (const text of process.stdin.setEncoding("utf8")) {
  const lines = (rest + text).split("\n");
  rest = lines.pop();
  await page.evaluate((lines) => lines.forEach((line) => window.handle(line)), lines);
}
await browser.close();
