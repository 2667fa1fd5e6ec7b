// Calls of a tree, as tests need them.

import type { TreeCallFragment } from "../../app/explorer/generated/graphql";

export const NOON = Date.parse("2026-01-31T12:00:00Z");

interface Given extends Partial<TreeCallFragment> {
  /** Milliseconds after noon. */
  start?: number;
  /** Milliseconds after noon; null while the call runs. */
  end?: number | null;
}

/** Return a call; without an end given, it lasts a millisecond. */
export function call(id: string, { start = 0, end = start + 1, ...changes }: Given = {}): TreeCallFragment {
  const at = (milliseconds: number) => new Date(NOON + milliseconds).toISOString();
  const times = { startedAt: at(start), endedAt: end === null ? null : at(end) };
  const rest = { parentId: null, status: end === null ? "RUNNING" : "SUCCESS", traceName: "step", kind: "CHAIN" };
  return { id, ...rest, ...times, ...changes } as TreeCallFragment;
}
