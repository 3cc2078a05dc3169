import { defineConfig } from "vite";

export default defineConfig({
  base: "/console/",
  build: {
    assetsInlineLimit: 0, // The Content-Security-Policy allows nothing inline.
    modulePreload: { polyfill: false },
    target: "es2022",
  },
});
