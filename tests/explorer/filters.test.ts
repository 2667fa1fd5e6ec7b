// Tests of chips, their translation for the API, periods and buckets.

import { expect, test } from "vitest";

import {
  bound,
  bucketOf,
  type Chip,
  chipText,
  condition,
  conditionOfRows,
  negated,
  OPERATORS,
  type Operator,
  parseChip,
  valueText,
} from "../../app/explorer/filters";
import { NOON } from "./builders";
import { randomOf } from "./random";

const chip = (field: string, operator: Operator, value = ""): Chip => ({ field, operator, value });
const get = (field: string) => ({ $getField: field });
const HOSTILE = [
  "a:b",
  "::",
  "\\",
  "\\:",
  "a\\.b",
  "inputs.a:is:b",
  'x"y',
  "<script>alert(1)</script>",
  "&f=a%3Ab",
  "\u202eright\nleft\0",
  "ü 👎",
  "__proto__",
  "constructor",
  " ",
];

test("a chip of any text is the same after the address", () => {
  for (const operator of Object.keys(OPERATORS) as Operator[]) {
    for (const field of HOSTILE) {
      for (const value of [...HOSTILE, ""]) {
        const address = new URLSearchParams();
        address.append("f", chipText(chip(field, operator, value)));
        const [text] = new URLSearchParams(address.toString()).getAll("f");
        expect(parseChip(text as string)).toEqual({ field, operator, value });
      }
    }
  }
});

test("a chip of random texts is the same after the address", () => {
  const random = randomOf(5);
  const text = (least: number) => Array.from({ length: least + random(6) }, () => "a:\\-.\n"[random(6)]).join("");
  for (let round = 0; round < 2_000; round++) {
    const each = chip(text(1), "is-not", text(0));
    expect(parseChip(chipText(each))).toEqual(each);
  }
});

test.each(["", "a", "a:b", ":is:x", "a:constructor:x", "a:toString:x", "a:__proto__:x", "a:IS:x", "a\\:is:x"])(
  "%j is no chip",
  (text) => expect(parseChip(text)).toBeNull(),
);

test("the opposite of the opposite is the chip", () => {
  for (const operator of Object.keys(OPERATORS) as Operator[]) {
    const once = negated(chip("model", operator, "x"));
    if (operator === "starts") expect(once).toBeNull();
    else expect(once && negated(once)).toEqual(chip("model", operator, "x"));
  }
});

test("nothing chosen is no condition", () => {
  expect(condition([], {}, "calls")).toEqual({ filter: {}, query: null, totals: null });
  expect(condition([], {}, "roots").filter).toEqual({ traceRootsOnly: true });
  expect(condition([], { after: "a", before: "b" }, "traces").filter).toEqual({
    startedAfter: "a",
    startedBefore: "b",
  });
});

test("values of indexed fields are lists of the filter", () => {
  const chips = [chip("status", "is", "error"), chip("model", "is", "a"), chip("model", "is", "b:c")];

  expect(condition(chips, {}, "calls")).toEqual({
    filter: { statuses: ["ERROR"], models: ["a", "b:c"] },
    query: null,
    totals: null,
  });
});

test("other conditions are a query; totals of traces are apart", () => {
  const chips = [chip("name", "contains", "x"), chip("latency_ms", "gte", "250"), chip("model", "is-not", "a")];
  const named = (field: string) => ({
    $contains: { input: get(field), substr: { $literal: "x" }, case_insensitive: true },
  });
  const slow = { $gte: [get("latency_ms"), { $literal: 250 }] };
  const other = { $ne: [get("model"), { $literal: "a" }] };

  expect(condition(chips, {}, "traces")).toEqual({
    filter: {},
    query: { json: { $expr: other } },
    totals: { json: { $expr: { $and: [named("name"), slow] } } },
  });
  expect(condition(chips, {}, "calls")).toEqual({
    filter: {},
    query: { json: { $expr: { $and: [named("op_name"), slow, other] } } },
    totals: null,
  });
});

test("conditions on rows of an evaluation are one query, with numbers and booleans of scores", () => {
  expect(conditionOfRows([])).toBeNull();
  const chips = [chip("scores.helpfulness.grade", "lte", "3"), chip("scores.passed", "is", "true")];

  expect(conditionOfRows(chips)).toEqual({
    json: {
      $expr: {
        $and: [
          { $lte: [get("scores.helpfulness.grade"), { $literal: 3 }] },
          { $eq: [get("scores.passed"), { $literal: true }] },
        ],
      },
    },
  });
});

test("an expert's query is one of the conditions", () => {
  const own = { $eq: [get("model"), { $literal: "a" }] };

  expect(condition([], {}, "calls", own).query).toEqual({ json: { $expr: own } });
  expect(condition([chip("model", "exists")], {}, "calls", own).query).toEqual({
    json: { $expr: { $and: [own, { $exists: get("model") }] } },
  });
});

test("fields with the names of members of objects are fields", () => {
  for (const field of ["constructor", "__proto__", "toString"]) {
    expect(condition([chip(field, "is", "x")], {}, "calls")).toEqual({
      filter: {},
      query: { json: { $expr: { $eq: [get(field), { $literal: "x" }] } } },
      totals: null,
    });
  }
});

test.each([
  ["latency_ms", "1.5e2", 150],
  ["latency_ms", " ", " "],
  ["latency_ms", "fast", "fast"],
  ["model", "4", "4"],
  ["model", '"a"', '"a"'],
  ["inputs.n", "4", 4],
  ["inputs.n", "Infinity", "Infinity"],
  ["inputs.n", "true", true],
  ["inputs.n", '"4"', "4"],
  ["inputs.n", '""a""', '"a"'],
  ["inputs.n", "", ""],
  ["attributes.x", "false", false],
  ["inputsX", "4", "4"],
])("the literal of %s = %j is %j", (field, value, literal) => {
  const { query } = condition([chip(field, "is-not", value)], {}, "calls");

  expect(query).toEqual({ json: { $expr: { $ne: [get(field), { $literal: literal }] } } });
});

test.each([...HOSTILE, "", "4", "007", "1e5", "0x10", "true", '"', '""', '"a"', " 4 ", 4, -0.5, true, false])(
  "the chip of the value %j at a path of JSON finds it",
  (value) => {
    const { query } = condition([chip("inputs.x", "is", valueText(value))], {}, "calls");

    expect(query).toEqual({ json: { $expr: { $eq: [get("inputs.x"), { $literal: value }] } } });
  },
);

test.each([
  [null, undefined],
  ["", undefined],
  ["yesterday", undefined],
  ["h", undefined],
  ["-5m", undefined],
  ["90m", "2026-01-31T10:30:00.000Z"],
  ["24h", "2026-01-30T12:00:00.000Z"],
  ["30d", "2026-01-01T12:00:00.000Z"],
  ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"],
  ["2026-01-02", "2026-01-02T00:00:00.000Z"],
])("bound %j is %s", (text, time) => expect(bound(text, NOON)).toBe(time));

test.each([
  [1, "MINUTE"],
  [4, "MINUTE"],
  [4.01, "HOUR"],
  [240, "HOUR"],
  [241, "DAY"],
  [24 * 200, "DAY"],
  [24 * 201, "WEEK"],
  [24 * 1_400, "WEEK"],
  [24 * 1_401, "MONTH"],
])("the bucket of %d hours is %s", (hours, bucket) => expect(bucketOf(NOON, NOON + hours * 3_600_000)).toBe(bucket));
