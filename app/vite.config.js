import { defineConfig } from "vite";

// Repairs of GraphiQL's explorer, which is no longer maintained. It focuses each text field that appears, and so scrolls
// to the last one. It cannot edit lists: it reports each as an error and shows nothing; instead, show its text.
const REPAIRS = {
  "input.focus();": "input.focus({ preventScroll: true });",
  "console.error('arg mismatch between arg and selection', argType, argValue);":
    "input = React.createElement('span', null, (0, _graphql.print)(argValue));",
};
const repairedExplorer = {
  name: "repaired-explorer",
  transform(code, id) {
    if (!id.endsWith("graphiql-explorer/dist/Explorer.js")) return undefined;
    return Object.entries(REPAIRS).reduce((repaired, [wrong, right]) => {
      if (!repaired.includes(wrong)) this.error(`graphiql-explorer no longer contains ${wrong}`);
      return repaired.replaceAll(wrong, right);
    }, code);
  },
};

// The build hook names the page, which is the root folder, and the folders of its bundle and assets.
export default defineConfig({
  // The server may be behind a proxy's prefix: every URL is relative to the page, or to the script that asks.
  base: "./",
  plugins: [repairedExplorer],
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
