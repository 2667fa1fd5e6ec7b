// Compares a released SDL, the first file, with each other file by @graphql-inspector. Prints for each of the others a
// list of [criticality, path, message].
import { readFileSync } from "node:fs";
import { ChangeType, diff, DiffRule } from "@graphql-inspector/core";
import { buildASTSchema, parse, visit } from "graphql";

const place = (node, ancestors) => [...ancestors, node].flatMap(({ name }) => name?.value ?? []).join(".");
const isDeprecated = ({ directives = [] }) => directives.some(({ name }) => name.value === "deprecated");

function places(sdl) {
  const found = new Set();
  visit(sdl, { enter: (node, _key, _parent, _path, ancestors) => void found.add(place(node, ancestors)) });
  return found;
}

// A later release may remove deprecated fields, arguments, and members of inputs and enums.
// DiffRule.suppressRemovalOfDeprecatedField ignores arguments, and accepts the removal of any type.
function withoutDeprecatedThatIsGone(released, present) {
  const kept = places(present);
  const isGone = (node, ancestors) => isDeprecated(node) && !kept.has(place(node, ancestors));
  return visit(released, {
    enter: (node, _key, _parent, _path, ancestors) => (isGone(node, ancestors) ? null : undefined),
  });
}

// It may also remove types that only removed members referred to.
function unreachableTypesMayGo(given) {
  const forgiving = DiffRule.safeUnreachable(given);
  return given.changes.map((change, index) => (change.type === ChangeType.TypeRemoved ? forgiving[index] : change));
}

const [released, ...others] = process.argv.slice(2).map((file) => parse(readFileSync(file, "utf8")));
const found = [];
for (const present of others) {
  const promised = buildASTSchema(withoutDeprecatedThatIsGone(released, present));
  const changes = await diff(promised, buildASTSchema(present), [unreachableTypesMayGo]);
  found.push(changes.map(({ criticality, path, message }) => [criticality.level, path, message]));
}
process.stdout.write(JSON.stringify(found));
