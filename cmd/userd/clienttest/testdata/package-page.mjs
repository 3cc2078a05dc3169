// The package in a page, bundled. browser.mjs gives the page report, and waits for handle.
import { createConnectTransport } from "@connectrpc/connect-web";
import { use } from "./package.mjs";

use(createConnectTransport({ baseUrl: new URL(location).searchParams.get("url") })).then(report, (error) => report(String(error)));
window.handle = () => {};
