// Tests of the differences of texts, values and traces.

import { expect, test } from "vitest";

import { firstDifference, type Line, lineDifferences, sortedText } from "../../app/explorer/differences";
import { timelineOf } from "../../app/explorer/timeline";
import { call } from "./builders";
import { randomOf } from "./random";

const side = (lines: readonly Line[], sign: "-" | "+") =>
  lines
    .filter(([each]) => each === " " || each === sign)
    .map(([, text]) => text)
    .join("\n");

/** Return the length of a longest common subsequence, by its definition. */
function common(a: readonly string[], b: readonly string[]): number {
  let row = new Array<number>(b.length + 1).fill(0);
  for (const line of a) {
    const next = [0];
    for (let j = 0; j < b.length; j++) {
      next.push(line === b[j] ? (row[j] as number) + 1 : Math.max(row[j + 1] as number, next[j] as number));
    }
    row = next;
  }
  return row[b.length] as number;
}

test("lines of two texts in order", () => {
  expect(lineDifferences("a\nb\nc", "a\nx\nc")).toEqual([
    [" ", "a"],
    ["-", "b"],
    ["+", "x"],
    [" ", "c"],
  ]);
  expect(lineDifferences("", "")).toEqual([[" ", ""]]);
  expect(lineDifferences("a", "a\n")).toEqual([
    [" ", "a"],
    ["+", ""],
  ]);
});

test("lines of random texts give both texts back, with as few changes as possible", () => {
  const random = randomOf(1);
  for (let round = 0; round < 1_000; round++) {
    const text = () => Array.from({ length: random(12) }, () => "abcd"[random(2 + (round % 3))]).join("\n");
    const [before, after] = [text(), text()];

    const lines = lineDifferences(before, after);

    expect([side(lines, "-"), side(lines, "+")]).toEqual([before, after]);
    const kept = lines.filter(([sign]) => sign === " ").length;
    expect(kept).toBe(common(before.split("\n"), after.split("\n")));
  }
});

test("texts beyond the limit are replaced as a whole between their equal ends", () => {
  const random = randomOf(2);
  const long = (mark: string) => Array.from({ length: 3_000 }, () => `${mark}${random(100)}`);
  const [before, after] = [long("x"), long("y")].map((middle) => ["start", ...middle, "end"].join("\n"));

  const lines = lineDifferences(before as string, after as string);

  expect([side(lines, "-"), side(lines, "+")]).toEqual([before, after]);
  expect(lines.map(([sign]) => sign).join("")).toBe(` ${"-".repeat(3_000)}${"+".repeat(3_000)} `);
});

test("text of a value has sorted keys at each level, and keeps the order of lists", () => {
  expect(sortedText({ b: [{ d: 1, c: [3, 1, 2] }], a: null })).toBe(
    sortedText(JSON.parse('{"a": null, "b": [{"c": [3, 1, 2], "d": 1}]}')),
  );
  expect(sortedText([2, 1])).not.toBe(sortedText([1, 2]));
  expect(sortedText(undefined)).toBe("null");
  expect(sortedText("ü\n")).toBe('"ü\\n"');
  expect(sortedText(JSON.parse('{"__proto__": {"b": 1}}'))).toContain("__proto__");
});

test("first difference of two traces", () => {
  const steps = (...names: string[]) =>
    timelineOf(
      names.map((name, at) => call(`c${at}`, { parentId: at ? "c0" : null, traceName: name, start: at, end: 9 })),
      10,
    ).steps;

  expect(firstDifference(steps("a", "b", "c"), steps("a", "b", "c"))).toBe(-1);
  expect(firstDifference(steps("a", "b", "c"), steps("a", "x", "c"))).toBe(1);
  expect(firstDifference(steps("a", "b"), steps("a", "b", "c"))).toBe(2);
  expect(firstDifference([], steps("a"))).toBe(0);
  expect(firstDifference([], [])).toBe(-1);
});
