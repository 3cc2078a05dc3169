// What a page tries with a userd of another origin: node otherorigin.mjs CHROMIUM PAGE SERVICE ADMIN.
// Prints what the page could read of each.
import { chromium } from "playwright-core";

const [executablePath, page, service, admin] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--host-resolver-rules=MAP evil.example 127.0.0.1"],
});
const tab = await browser.newPage();
await tab.goto(page);
console.log(JSON.stringify(await tab.evaluate(tryAll, [service, admin])));
await browser.close();

async function tryAll([service, admin]) {
  const create = service + "/user.v1.UserService/CreateUser";
  const get = service + "/user.v1.UserService/GetUser?encoding=json&message=" +
    encodeURIComponent(JSON.stringify({ userId: "11111111-1111-4111-8111-111111111111" }));
  const user = (name) => JSON.stringify({ email: name + "@example.com", displayName: "Eve" });
  const read = async (url, init) => (await fetch(url, init)).text();
  const inFrame = (begin) => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.name = "frame" + frames.length;
    document.body.append(frame);
    frame.addEventListener("load", () => done(frame.contentDocument?.body.innerText ?? ""));
    begin(frame);
  });
  const ways = {
    "a call": () => read(create, { method: "POST", headers: { "Content-Type": "application/json" }, body: user("call") }),
    "a call as text": () => read(create, { method: "POST", body: user("text") }),
    "a call without CORS": () => read(create, { method: "POST", mode: "no-cors", body: user("opaque") }),
    "a GET": () => read(get),
    "a GET without CORS": () => read(get, { mode: "no-cors" }),
    "the metrics": () => read(admin + "/metrics"),
    "the readiness": () => read(service + "/readyz"),
    "a beacon": () => {
      navigator.sendBeacon(create, new Blob([user("beacon")], { type: "application/json" }));
      return "";
    },
    "a form": () => inFrame((frame) => {
      const form = document.createElement("form");
      Object.assign(form, { method: "POST", action: create, enctype: "text/plain", target: frame.name });
      const field = document.createElement("input");
      [field.name, field.value] = ['{"email":"form@example.com","displayName":"', 'Eve"}'];
      form.append(field);
      document.body.append(form);
      form.submit();
    }),
    "a frame": () => inFrame((frame) => { frame.src = service + "/console/"; }),
    "a socket": () => new Promise((done) => {
      const socket = new WebSocket(service.replace("http", "ws") + "/user.v1.UserService/WatchUsers");
      socket.onopen = () => done("open");
      socket.onerror = () => done("");
    }),
  };
  const found = {};
  for (const [name, way] of Object.entries(ways)) {
    found[name] = await Promise.resolve().then(way).catch(() => "");
  }
  return found;
}
