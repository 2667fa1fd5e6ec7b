// How the page talks to the API: queries by POST and subscriptions by WebSocket, both to the page's own address.

import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { getIntrospectionQuery, getOperationAST } from "graphql";
import { createClient } from "graphql-ws";

const UNAUTHORIZED = 4401;

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

const send = createGraphiQLFetcher({ url: endpoint.href, enableIncrementalDelivery: false });

// A subscription over a socket of its own. The server tells its hints by a ping, which is shown as a result.
const watch = (request, connectionParams) => ({
  subscribe(observer) {
    const ping = (isReceived, payload) =>
      isReceived && payload?.hints && observer.next({ extensions: { hints: payload.hints } });
    const client = createClient({ url: socket.href, connectionParams, on: { ping } });
    const error = (reason) => {
      if (reason instanceof CloseEvent && reason.code === UNAUTHORIZED) {
        const message = "The server closed the socket, because it needs a key.";
        observer.next({ errors: [{ message, extensions: { code: "UNAUTHENTICATED" } }] });
        observer.complete();
      } else {
        observer.error(
          reason instanceof CloseEvent ? new Error(`Socket closed with event ${reason.code} ${reason.reason}`) : reason,
        );
      }
    };
    return { unsubscribe: client.subscribe(request, { ...observer, error }) };
  },
});

// The key or token that somebody gave the Explorer in this tab, unless the Headers tab has one.
function withKey(options) {
  const key = JSON.parse(sessionStorage.getItem("loomql:session") ?? "null")?.key;
  const isGiven = Object.keys(options?.headers ?? {}).some((name) => name.toLowerCase() === "authorization");
  return key && !isGiven ? { ...options, headers: { ...options?.headers, Authorization: `Bearer ${key}` } } : options;
}

export function fetcher(request, given) {
  const options = withKey(given);
  const query = request.operationName === INTROSPECTION ? introspectionQuery : request.query;
  const operation = options?.documentAST && getOperationAST(options.documentAST, request.operationName);
  return operation?.operation === "subscription" ? watch(request, options.headers) : send({ ...request, query }, options);
}
