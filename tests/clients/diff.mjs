// What @graphql-inspector says of each change from a released SDL to others: files, the released one first. Prints for
// each of the others a list of [criticality, path, message].
import { readFileSync } from "node:fs";
import { diff, DiffRule } from "@graphql-inspector/core";
import { buildSchema } from "graphql";

const [released, ...others] = process.argv.slice(2).map((file) => buildSchema(readFileSync(file, "utf8")));
const found = [];
for (const other of others) {
  // What was deprecated in a release may go in a later one.
  const changes = await diff(released, other, [DiffRule.suppressRemovalOfDeprecatedField]);
  found.push(changes.map(({ criticality, path, message }) => [criticality.level, path, message]));
}
process.stdout.write(JSON.stringify(found));
