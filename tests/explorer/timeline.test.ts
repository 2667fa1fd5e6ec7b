// Tests of the timeline of a trace: order, depths, self times, critical paths, folding and the marks of its axis.

import { expect, test } from "vitest";

import {
  foldable,
  foldsOf,
  foldTexts,
  type Step,
  ticks,
  timelineOf,
  unfolded,
  zoomOf,
  zoomText,
} from "../../app/explorer/timeline";
import { call, NOON } from "./builders";
import { randomOf } from "./random";

const shape = (steps: readonly Step[]) => steps.map(({ depth, call: { id } }) => `${"-".repeat(depth)}${id}`);
const critical = (steps: readonly Step[]) =>
  Object.fromEntries(
    steps.map((step) => [step.call.id, step.critical.map(([from, to]) => [from - NOON, to - NOON])] as const),
  );
const duration = (step: Step) => step.critical.reduce((sum, [from, to]) => sum + to - from, 0);

test("calls in any order are in depth-first order, siblings by start and then by id", () => {
  const calls = [
    call("late", { parentId: "root", start: 5 }),
    call("leaf", { parentId: "early", start: 2 }),
    call("b", { parentId: "root", start: 3 }),
    call("a", { parentId: "root", start: 3 }),
    call("early", { parentId: "root", start: 1, end: 3 }),
    call("root", { end: 9 }),
    call("other root", { start: -5 }),
  ];

  const { steps, byId, start, end } = timelineOf(calls, NOON);

  expect(shape(steps)).toEqual(["other root", "root", "-early", "--leaf", "-a", "-b", "-late"]);
  expect([start - NOON, end - NOON]).toEqual([-5, 9]);
  expect(byId.get("root")?.size).toBe(5);
  expect(steps.map(({ size }) => size)).toEqual([0, 5, 1, 0, 0, 0, 0]);
});

test("an empty trace begins and ends now", () => {
  expect(timelineOf([], NOON)).toEqual({ steps: [], byId: new Map(), start: NOON, end: NOON });
});

test("a call whose parent is missing, or is the call itself, is a root", () => {
  const { steps } = timelineOf([call("a", { parentId: "gone", start: 1 }), call("b", { parentId: "b" })], NOON);

  expect(shape(steps)).toEqual(["b", "a"]);
});

test("a cycle of parents is cut, and calls below it stay where they are", () => {
  const calls = [
    call("below", { parentId: "a", start: 4 }),
    call("a", { parentId: "c", start: 1 }),
    call("b", { parentId: "a", start: 2 }),
    call("c", { parentId: "b", start: 3 }),
    call("x", { parentId: "y" }),
    call("y", { parentId: "x" }),
    call("root"),
  ];

  const { steps } = timelineOf(calls, NOON);

  expect(shape(steps)).toEqual(["root", "a", "-b", "--c", "-below", "x", "-y"]);
  expect(steps.map(({ size }) => size)).toEqual([0, 3, 1, 0, 0, 1, 0]);
});

test("self time is the time in which no child ran", () => {
  const calls = [
    call("root", { end: 100 }),
    call("first", { parentId: "root", start: 10, end: 40 }),
    call("overlapping", { parentId: "root", start: 30, end: 50 }),
    call("within", { parentId: "root", start: 35, end: 45 }),
    call("outliving", { parentId: "root", start: 90, end: 300 }),
    call("before", { parentId: "root", start: -50, end: -10 }),
  ];

  const { byId } = timelineOf(calls, NOON);

  expect(byId.get("root")?.self).toBe(100 - 40 - 10);
  expect(byId.get("outliving")?.self).toBe(210);
});

test("an error marks all calls above", () => {
  const calls = [
    call("root"),
    call("a", { parentId: "root" }),
    call("b", { parentId: "a", status: "ERROR" }),
    call("c", { parentId: "root", start: 1 }),
  ];

  const { steps } = timelineOf(calls, NOON);

  expect(steps.filter(({ hasError }) => hasError).map(({ call: { id } }) => id)).toEqual(["root", "a", "b"]);
});

test("a running call ends now, but not before its start", () => {
  const calls = [call("root", { end: null }), call("future", { parentId: "root", start: 500, end: null })];

  const { steps, end } = timelineOf(calls, NOON + 200);

  expect(steps.map((step) => [step.end - NOON, step.isRunning])).toEqual([
    [200, true],
    [500, true],
  ]);
  expect(end - NOON).toBe(500);
});

test("an end before the start counts as the start", () => {
  const [step] = timelineOf([call("a", { start: 5, end: 1 })], NOON).steps;

  expect([step?.end, step?.self]).toEqual([NOON + 5, 0]);
});

test("the critical path follows the child that ended last", () => {
  const calls = [
    call("root", { end: 100 }),
    call("slow", { parentId: "root", start: 10, end: 60 }),
    call("parallel", { parentId: "root", start: 10, end: 50 }),
    call("next", { parentId: "root", start: 70, end: 90 }),
    call("deep", { parentId: "next", start: 75, end: 80 }),
    call("outliving", { parentId: "root", start: 95, end: 130 }),
  ];

  expect(critical(timelineOf(calls, NOON).steps)).toEqual({
    root: [
      [0, 10],
      [60, 70],
      [90, 100],
    ],
    slow: [[10, 60]],
    parallel: [],
    next: [
      [70, 75],
      [80, 90],
    ],
    deep: [[75, 80]],
    outliving: [],
  });
});

test("the critical path of a random trace covers its root once", () => {
  const random = randomOf(3);
  for (let round = 0; round < 300; round++) {
    const calls = [call("c0", { end: 50 + random(50) })];
    for (let at = 1; at < 1 + random(30); at++) {
      const start = random(100) - 5;
      const running = random(10) === 0;
      calls.push(call(`c${at}`, { parentId: `c${random(at)}`, start, end: running ? null : start + random(40) }));
    }

    const { steps } = timelineOf(calls, NOON + 70);

    const [root] = steps as [Step];
    expect(steps.length).toBe(calls.length);
    expect(steps.reduce((sum, step) => sum + duration(step), 0)).toBe(root.end - root.start);
    const parts = steps.flatMap((step) => step.critical).sort(([a], [b]) => a - b);
    let reached = root.start;
    for (const [from, to] of parts) {
      expect(from).toBe(reached);
      reached = to;
    }
    for (const step of steps) {
      for (const [from, to] of step.critical) expect([from >= step.start, to <= step.end]).toEqual([true, true]);
    }
  }
});

test("a chain of ten thousand calls has as many depths", () => {
  const number = 10_000;
  const calls = Array.from({ length: number }, (_, at) =>
    call(`c${at}`, { parentId: at ? `c${at - 1}` : null, start: at, end: 2 * number - at }),
  );

  const { steps } = timelineOf(calls.reverse(), NOON);

  expect(steps.at(-1)?.depth).toBe(number - 1);
  expect(steps[0]?.size).toBe(number - 1);
  expect(steps.every((step) => step.self === 2 || step.depth === number - 1)).toBe(true);
  expect(steps.every((step) => duration(step) === step.self)).toBe(true);
});

test("ten thousand calls in one cycle are shown once", () => {
  const number = 10_000;
  const calls = Array.from({ length: number }, (_, at) => call(`c${at}`, { parentId: `c${(at + 1) % number}` }));

  const { steps } = timelineOf(calls, NOON);

  expect(new Set(steps).size).toBe(number);
  expect(steps.length).toBe(number);
});

test("folding hides what is below, at each level", () => {
  const { steps } = timelineOf(
    [
      call("root"),
      call("a", { parentId: "root" }),
      call("b", { parentId: "a" }),
      call("c", { parentId: "b" }),
      call("d", { parentId: "root", start: 1 }),
    ],
    NOON,
  );
  const shown = (...folded: string[]) => unfolded(steps, new Set(folded)).map(({ call: { id } }) => id);

  expect(shown()).toEqual(["root", "a", "b", "c", "d"]);
  expect(shown("a")).toEqual(["root", "a", "d"]);
  expect(shown("b", "a")).toEqual(["root", "a", "d"]);
  expect(shown("root")).toEqual(["root"]);
  expect(shown("d", "unknown")).toEqual(["root", "a", "b", "c", "d"]);
});

test("marks of an axis are round and within it", () => {
  expect(ticks(0, 100, 5)).toEqual([0, 20, 40, 60, 80, 100]);
  expect(ticks(0, 1, 4)).toEqual([0, 0.5, 1]);
  expect(ticks(130, 270, 7)).toEqual([140, 160, 180, 200, 220, 240, 260]);
  expect(ticks(0, 0, 5)).toEqual([0]);
  expect(ticks(5, 1, 5)).toEqual([5]);
  const random = randomOf(4);
  for (let round = 0; round < 1_000; round++) {
    const from = random(1_000_000);
    const to = from + 1 + random(10 ** (1 + random(7)));
    const number = 1 + random(12);

    const marks = ticks(from, to, number);

    expect(marks.length).toBeLessThanOrEqual(number + 1);
    expect(marks.every((mark) => mark >= from && mark <= to + 1e-6)).toBe(true);
  }
});

test("folds survive as texts, as those of all calls but a few, unless they are too many", () => {
  const parents = Array.from({ length: 200 }, (_, number) => `call ${number + 10_000_000}`);
  const calls = [
    call("root", { end: 9 }),
    ...parents.flatMap((id) => [call(id, { parentId: "root" }), call(`below ${id}`, { parentId: id })]),
  ];
  const { steps } = timelineOf(calls, NOON);
  const folds = [[], ["root"], parents.slice(0, 50), parents, parents.slice(1), [...parents, "root"]];

  for (const ids of folds) {
    const texts = foldTexts(steps, new Set(ids));
    expect(texts?.length).toBeLessThanOrEqual(51);
    expect(foldsOf(steps, texts ?? [])).toEqual(new Set(ids));
  }
  expect(foldTexts(steps, new Set(parents))).toEqual(["*"]);
  expect(foldTexts(steps, new Set(parents.slice(0, 100)))).toBeNull();
  expect(foldable(steps)).toEqual(new Set(parents));
  expect(foldsOf(steps, ["gone"])).toEqual(new Set());
});

test("a part of the time survives as a text; another text is none", () => {
  expect(zoomText([0.12345, 1 / 3 + 10])).toBe("0.123-10.333");
  expect(zoomOf(zoomText([2.5, 1_000_000]))).toEqual([2.5, 1_000_000]);
  for (const text of [null, "", "5", "5-5", "6-5", "-5-6", "a-b", "1e3-1e4"]) expect(zoomOf(text)).toBeNull();
});
