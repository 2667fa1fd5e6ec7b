// GraphiQL's explorer panel, which opens at the query's first field.

import { explorerPlugin } from "@graphiql/plugin-explorer";
import { useEffect, useRef } from "react";

const { content: Explorer, ...plugin } = explorerPlugin();

// The name of a field that the query selects: only such fields have a box around their node.
const SELECTED = "[class^=graphiql-explorer-]:not(.graphiql-explorer-root) > .graphiql-explorer-node .graphiql-explorer-field-view";

function ExplorerAtQuery() {
  const panel = useRef(null);
  useEffect(() => {
    // The explorer fills its panel later.
    const changes = new MutationObserver(show);
    changes.observe(panel.current, { childList: true, subtree: true });
    show();
    function show() {
      const field = panel.current.querySelector(SELECTED);
      if (!field) return;
      changes.disconnect();
      field.scrollIntoView({ block: "center" });
    }
    return () => changes.disconnect();
  }, []);
  return (
    <div ref={panel}>
      <Explorer />
    </div>
  );
}

export const EXPLORER_PLUGIN = { ...plugin, content: ExplorerAtQuery };
