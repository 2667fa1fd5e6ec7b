import "graphiql/setup-workers/vite";
import "graphiql/style.css";
import "@graphiql/plugin-explorer/style.css";
import "./style.css";

import { HISTORY_PLUGIN } from "@graphiql/plugin-history";
import { createLocalStorage } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { createRoot } from "react-dom/client";

import { defaultTabs } from "./default_tabs.js";
import { EXPLORER_PLUGIN } from "./explorer_panel.jsx";
import favicon from "./favicon.svg";
import { fetcher, INTROSPECTION } from "./fetcher.js";
import { Hints } from "./hints.jsx";

// The completion is a part of the editor, which GraphiQL loads after the page is up.
void import("./completion.js");

// The other pages of the server, by their titles. The server leaves out the addresses of those that it does not have.
const pages = Object.entries({ Explorer: "explorer", Docs: "docs" })
  .map(([title, name]) => [title, document.querySelector(`meta[name=loomql-${name}]`)?.content])
  .filter(([, href]) => href);

const plugins = [EXPLORER_PLUGIN, HISTORY_PLUGIN];

// Any JSON is a JSON value; without this the variables editor allows only plain ones.
const scalars = { JSON: {} };

// A namespace of its own: another GraphiQL on the same host and port keeps its tabs to itself.
const storage = createLocalStorage({ namespace: "loomql" });

// The address may fill in a query, which opens a tab of its own and is not run: links that the Weave SDK prints do so.
const address = new URLSearchParams(window.location.search);
const linked = address.has("query") ? [{ query: address.get("query"), variables: address.get("variables") ?? "" }] : [];

createRoot(document.getElementById("root")).render(
  <GraphiQL
    customScalarSchemas={scalars}
    defaultEditorToolsVisibility="variables"
    defaultTabs={[...linked, ...defaultTabs]}
    fetcher={fetcher}
    initialQuery={linked[0]?.query}
    initialVariables={linked[0]?.variables}
    introspectionQueryName={INTROSPECTION}
    plugins={plugins}
    storage={storage}
  >
    <GraphiQL.Logo>
      <span className="loomql-logo">
        <img src={favicon} alt="" />
        LoomQL
      </span>
      {pages.length > 0 && (
        <nav aria-label="Pages" className="loomql-pages">
          {pages.map(([title, href]) => (
            <a href={href} key={title}>
              {title}
            </a>
          ))}
        </nav>
      )}
    </GraphiQL.Logo>
    <GraphiQL.Footer>
      <Hints />
    </GraphiQL.Footer>
  </GraphiQL>,
);
