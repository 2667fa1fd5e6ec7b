// Hints on a result, above its lower edge: the server's on why it is empty, and where to enter a key.

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

const hasExplorer = document.querySelector("meta[name=loomql-explorer]") !== null;

const WITHOUT_KEY = {
  path: ["Headers"],
  code: "UNAUTHENTICATED",
  message:
    'The server needs a key. Enter it into the Headers tab below the query: {"Authorization": "Bearer KEY"}' +
    (hasExplorer ? " Or open the Explorer in this tab, and sign in or enter the key there." : ""),
};

function hintsOf(response) {
  // Most results have none, and large ones take long to parse.
  if (!response?.includes('"hints": [') && !response?.includes('"UNAUTHENTICATED"')) {
    return [];
  }
  try {
    const { errors, extensions } = JSON.parse(response);
    const isRefused = errors?.some((error) => error.extensions?.code === WITHOUT_KEY.code);
    return [...(isRefused ? [WITHOUT_KEY] : []), ...(extensions?.hints ?? [])];
  } catch {
    return []; // what the server sent is no JSON, as the result shows
  }
}
