// Runs one client of graphql-ws or graphql-sse, controlled by lines of JSON on its input: {"id", "request"} starts an
// operation, {"id"} cancels it. Results, ends, and the sockets of graphql-ws are printed as lines of JSON.
import { createInterface } from "node:readline";
import { createClient as createSse } from "graphql-sse";
import { createClient as createWs } from "graphql-ws";

const [kind, url, options = "{}"] = process.argv.slice(2);
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const clients = {
  "graphql-ws": () =>
    createWs({
      url,
      // By default the client does not retry a refused connection, because Node reports it without a close event.
      shouldRetry: () => true,
      retryWait: () => new Promise((resolve) => setTimeout(resolve, 100)),
      ...JSON.parse(options),
      on: {
        connected: (_socket, _payload, again) => tell({ socket: again ? "connected again" : "connected" }),
        closed: ({ code, reason }) => tell({ socket: "closed", code, reason }),
      },
    }),
  "graphql-sse": () => createSse({ url, singleConnection: false, ...JSON.parse(options) }),
};

// The libraries report three kinds of errors: a list of GraphQL errors, a closed socket, a response without a stream.
function surfaced(error) {
  if (Array.isArray(error)) return { errors: error };
  if (typeof error.code === "number") return { close: error.code, reason: error.reason };
  return { name: error.constructor.name, message: error.message, status: error.response?.status };
}

const client = clients[kind]();
const under = new Map();
for await (const line of createInterface({ input: process.stdin })) {
  const { id, request } = JSON.parse(line);
  if (!request) {
    under.get(id)();
    continue;
  }
  under.set(
    id,
    client.subscribe(request, {
      next: (result) => tell({ id, next: result }),
      error: (error) => tell({ id, error: surfaced(error) }),
      complete: () => tell({ id, complete: true }),
    }),
  );
}
// client.dispose() fails if the server no longer listens.
process.exit();
