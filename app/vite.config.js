import { defineConfig } from "vite";

// The build hook names the page, which is the root folder, and the folders of its bundle and assets.
export default defineConfig({
  // The server may be behind a proxy's prefix: every URL is relative to the page, or to the script that asks.
  base: "./",
  worker: { format: "es" },
  build: {
    // Data URLs would need exceptions in the page's content security policy.
    assetsInlineLimit: 0,
    // GraphiQL's editor is one large chunk, loaded after the page is up.
    chunkSizeWarningLimit: 4000,
    emptyOutDir: true,
    license: { fileName: "licenses.md" },
    // The policy would need an exception for the inline script of a polyfill, which no current browser needs.
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // React's libraries mark their modules "use client", which means nothing in a page without a server side.
    rolldownOptions: { checks: { bundlerTimings: false, moduleLevelDirective: false, pluginTimings: false } },
    target: "es2022",
  },
});
