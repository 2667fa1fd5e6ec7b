// Watches calls without a gap, even if the server restarts: it continues after the last received event. It prints each
// event, and each interruption of the stream, as a line of JSON.
import { setTimeout } from "node:timers/promises";
import { createClient as createSse } from "graphql-sse";
import { createClient as createWs } from "graphql-ws";

const [kind, url, query, projectId, cursor] = process.argv.slice(2);
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// The libraries' own retries would use the first cursor again.
const client = kind === "graphql-ws" ? createWs({ url, retryAttempts: 0 }) : createSse({ url, retryAttempts: 0 });
process.stdin.resume().on("end", () => process.exit());

for (let after = cursor; ; ) {
  try {
    for await (const { data, errors } of client.iterate({ query, variables: { projectId, after } })) {
      if (errors) throw errors;
      after = data.callEvents.cursor;
      tell({ id: "watch", next: { data } });
    }
  } catch (error) {
    tell({ id: "broken", error: { name: error.constructor.name, code: error.code } });
  }
  await setTimeout(100);
}
