import { defineConfig } from "vite";

export default defineConfig({
  base: "/console/",
  build: {
    assetsInlineLimit: 0, // The Content-Security-Policy allows nothing inline.
    license: { fileName: "licenses.md" }, // Of what is in the page.
    modulePreload: { polyfill: false },
    target: "es2022",
  },
});
