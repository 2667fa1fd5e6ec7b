// One client of graphql-ws or graphql-sse, driven by lines of JSON: {"id", "request"} begins an operation, {"id"} ends
// it. What the client makes of it is told in lines, too, as are the sockets that graphql-ws opens and closes.
import { createInterface } from "node:readline";
import { createClient as createSse } from "graphql-sse";
import { createClient as createWs } from "graphql-ws";

const [kind, url, options = "{}"] = process.argv.slice(2);
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const clients = {
  "graphql-ws": () =>
    createWs({
      url,
      // By default it gives up where nobody listens yet: Node says so by an event that is not the close of a socket.
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

// Errors as the two libraries surface them: GraphQL's in a list, a socket's close, a response that is no stream.
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
// Not client.dispose(): where nobody listens any more, that fails.
process.exit();
