import { defineConfig } from "vite";

export default defineConfig({
  base: "/console/",
  resolve: { preserveSymlinks: true }, // The client is outside, and uses the same libraries.
  build: {
    assetsInlineLimit: 0, // The Content-Security-Policy allows nothing inline.
    license: { fileName: "licenses.md" }, // Of what is in the page.
    modulePreload: { polyfill: false },
    target: "es2022",
  },
});
