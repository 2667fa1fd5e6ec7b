// Differences of two texts by line, of two values, and of two traces.

import type { Step } from "./timeline";

/** A line that both texts have (" "), or only the first ("-") or the second ("+"). */
export type Line = [sign: " " | "-" | "+", text: string];

const MAX_CELLS = 4_000_000;

/** Return the lines of two texts in one order, with as few changes as possible (a longest common subsequence). */
export function lineDifferences(before: string, after: string): Line[] {
  const [a, b] = [before.split("\n"), after.split("\n")];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
    endA--;
    endB--;
  }
  const same = (lines: string[]) => lines.map((text): Line => [" ", text]);
  return [...same(a.slice(0, start)), ...changed(a.slice(start, endA), b.slice(start, endB)), ...same(a.slice(endA))];
}

function changed(a: readonly string[], b: readonly string[]): Line[] {
  const [rows, columns] = [a.length, b.length];
  if (rows * columns > MAX_CELLS) {
    return [...a.map((text): Line => ["-", text]), ...b.map((text): Line => ["+", text])];
  }
  // length[i][j] is that of the longest common subsequence of a from i on and b from j on.
  const width = columns + 1;
  const length = new Uint32Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      length[i * width + j] =
        a[i] === b[j]
          ? (length[(i + 1) * width + j + 1] as number) + 1
          : Math.max(length[(i + 1) * width + j] as number, length[i * width + j + 1] as number);
    }
  }
  const lines: Line[] = [];
  let [i, j] = [0, 0];
  while (i < rows || j < columns) {
    if (i < rows && j < columns && a[i] === b[j]) {
      lines.push([" ", a[i++] as string]);
      j++;
    } else if (
      i < rows &&
      (j === columns || (length[(i + 1) * width + j] as number) >= (length[i * width + j + 1] as number))
    ) {
      lines.push(["-", a[i++] as string]);
    } else {
      lines.push(["+", b[j++] as string]);
    }
  }
  return lines;
}

/** Return a value as text with sorted keys, so that only different values differ. */
export function sortedText(value: unknown): string {
  const sorted = (_name: string, each: unknown): unknown =>
    each && typeof each === "object" && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each;
  return JSON.stringify(value, sorted, 2) ?? "null";
}

/** Return the place of the first step at which two traces differ by name, kind, status or depth; -1 if they do not. */
export function firstDifference(before: readonly Step[], after: readonly Step[]): number {
  const sign = (step: Step | undefined) =>
    step && `${step.depth} ${step.call.traceName} ${step.call.kind ?? ""} ${step.call.status}`;
  const number = Math.max(before.length, after.length);
  for (let at = 0; at < number; at++) if (sign(before[at]) !== sign(after[at])) return at;
  return -1;
}
