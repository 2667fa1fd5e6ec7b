// The tabs of a first visit: tabs/*.graphql in name order; a .json of the same name holds a tab's variables.

const queries = import.meta.glob("./tabs/*.graphql", { eager: true, import: "default", query: "?raw" });
const variables = import.meta.glob("./tabs/*.json", { eager: true, import: "default", query: "?raw" });

export const defaultTabs = Object.keys(queries)
  .sort()
  .map((path) => ({
    query: queries[path],
    variables: variables[path.replace(/\.graphql$/, ".json")],
  }));
