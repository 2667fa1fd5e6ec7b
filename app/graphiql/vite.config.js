import { defineConfig } from "vite";

export default defineConfig({
  // The page is served at /graphql and its assets under /graphiql/, perhaps behind a proxy's prefix:
  // every URL is relative to the page, or to the script that asks.
  base: "./",
  worker: { format: "es" },
  build: {
    assetsDir: "graphiql",
    // Data URLs would need exceptions in the page's content security policy.
    assetsInlineLimit: 0,
    // The editor is one large chunk, loaded after the page is up.
    chunkSizeWarningLimit: 4000,
    license: { fileName: "licenses.md" },
    reportCompressedSize: false,
    // React's libraries mark their modules "use client", which means nothing in a page without a server side.
    rolldownOptions: { checks: { moduleLevelDirective: false } },
    target: "es2022",
  },
});
