// The server's hints on why a result is empty, above the result's lower edge.

import { useGraphiQL } from "@graphiql/react";

export function Hints() {
  const response = useGraphiQL(({ tabs, activeTabIndex }) => tabs[activeTabIndex].response);
  const hints = hintsOf(response);
  return (
    hints.length > 0 && (
      <ul aria-label="Hints" className="loomql-hints" role="status">
        {hints.map(({ path, code, message }, position) => (
          <li key={position} title={code}>
            <strong>{path.join(".")}</strong> {message}
          </li>
        ))}
      </ul>
    )
  );
}

function hintsOf(response) {
  // Most results have none, and large ones take long to parse.
  if (!response?.includes('"hints": [')) {
    return [];
  }
  try {
    return JSON.parse(response).extensions?.hints ?? [];
  } catch {
    return []; // what the server sent is no JSON, as the result shows
  }
}
