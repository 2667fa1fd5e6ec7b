// Watches calls without a gap, whatever becomes of the server: goes on after the last event that came. Each is told in
// a line of JSON, as is each time that the stream broke off.
import { setTimeout } from "node:timers/promises";
import { createClient as createSse } from "graphql-sse";
import { createClient as createWs } from "graphql-ws";

const [kind, url, query, projectId, cursor] = process.argv.slice(2);
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// Their own retries would begin again where they began.
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
