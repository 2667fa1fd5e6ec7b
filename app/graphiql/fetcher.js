// How the page talks to the API: queries by POST and subscriptions by WebSocket, both to the page's own address.

import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { getIntrospectionQuery } from "graphql";

export const INTROSPECTION = "GraphiQLIntrospection";

// GraphiQL's own introspection query does not ask for `isOneOf`, without which no @oneOf input completes or lints.
const introspectionQuery = getIntrospectionQuery({
  inputValueDeprecation: true,
  oneOf: true,
  schemaDescription: true,
  specifiedByUrl: true,
}).replace("IntrospectionQuery", INTROSPECTION);

const endpoint = new URL(window.location.pathname, window.location.origin);
const socket = new URL(endpoint);
socket.protocol = endpoint.protocol === "https:" ? "wss:" : "ws:";

const send = createGraphiQLFetcher({
  url: endpoint.href,
  subscriptionUrl: socket.href,
  enableIncrementalDelivery: false,
});

export function fetcher(request, options) {
  const query = request.operationName === INTROSPECTION ? introspectionQuery : request.query;
  return send({ ...request, query }, options);
}
