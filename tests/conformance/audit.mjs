// Run every audit of GraphQL over HTTP against the given URL, and print the outcomes as JSON.
import { serverAudits } from "graphql-http";

const [url] = process.argv.slice(2);
const outcomes = [];
for (const { id, name, fn } of serverAudits({ url })) {
  const { status, reason } = await fn().catch((error) => ({ status: "fatal", reason: String(error) }));
  outcomes.push({ id, name, status, reason });
}
process.stdout.write(JSON.stringify(outcomes));
