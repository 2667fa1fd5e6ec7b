// Refs, as links to the views of their targets.

import { there } from "./address";
import { chipText } from "./filters";
import { shortId } from "./formats";

const REF = /^weave(?:-trace-internal)?:\/\/\/([^/]+\/[^/]+)\/(object|op|call)\/([^/:]+)(?::([^/]+))?/;

const shortRef = (ref: string) => ref.replace(/^weave:\/\/\/[^/]+\/[^/]+\//, "").replace(/[A-Za-z0-9]{20,}/g, shortId);

/** A ref as a link; as text if no view shows its target. */
export function RefLink({ to }: { to: string }) {
  const href = refLink(to);
  return href ? (
    <a href={href} title={to}>
      {shortRef(to)}
    </a>
  ) : (
    <span title={to}>{shortRef(to)}</span>
  );
}

/** Return a name in a ref without its percent signs. */
export function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // it has a lone percent sign
  }
}

/** Return the address of the view of a ref's target; undefined if the text is no such ref. */
export function refLink(ref: string): string | undefined {
  const [, project, kind, name, digest] = REF.exec(ref) ?? [];
  if (!project || !name) return undefined;
  const id = decoded(name);
  if (kind !== "call") return there("objects", { p: project, o: id, d: digest ?? null });
  return there("traces", { p: project, m: "calls", f: [chipText({ field: "id", operator: "is", value: id })] });
}
