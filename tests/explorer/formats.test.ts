// Tests of formats at the borders of their units.

import { expect, test } from "vitest";

import {
  absoluteTime,
  bytes,
  count,
  duration,
  exactCount,
  money,
  percent,
  relativeTime,
  shortId,
} from "../../app/explorer/formats";
import { NOON } from "./builders";

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;

test.each([
  [null, "–"],
  [undefined, "–"],
  [0, "0 ms"],
  [0.3, "0.3 ms"],
  [9.94, "9.9 ms"],
  [9.95, "10 ms"],
  [850, "850 ms"],
  [999.4, "999 ms"],
  [999.5, "1.00 s"],
  [1_240, "1.24 s"],
  [59_994, "59.99 s"],
  [59_995, "1 m 00 s"],
  [123_000, "2 m 03 s"],
  [3_599_499, "59 m 59 s"],
  [3_599_500, "1 h 00 m"],
  [65 * 60 * SECOND, "1 h 05 m"],
  [24 * HOUR - 501, "23 h 59 m"],
  [24 * HOUR, "1 d 00 h"],
  [400 * 24 * HOUR + 3 * HOUR, "400 d 03 h"],
  [-1_240, "-1.24 s"],
])("duration of %d is %s", (value, text) => expect(duration(value)).toBe(text));

test.each([
  [null, "–"],
  [0, "$0"],
  [0.00009, "<$0.0001"],
  [0.0001, "$0.0001"],
  [0.0042, "$0.0042"],
  [0.09994, "$0.0999"],
  [0.09995, "$0.10"],
  [0.1, "$0.10"],
  [12.4, "$12.40"],
  [999.99, "$999.99"],
  [999.995, "$1,000"],
  [1_234.4, "$1,234"],
  [-12.4, "-$12.40"],
])("amount of %d is %s", (value, text) => expect(money(value)).toBe(text));

test.each([
  [null, "–"],
  [0, "0"],
  [1_234, "1,234"],
  [9_999, "9,999"],
  [10_000, "10.0 k"],
  [12_345, "12.3 k"],
  [999_499, "999 k"],
  [999_500, "1.00 M"],
  [4_560_000, "4.56 M"],
  [2e9, "2.00 G"],
  [-12_345, "-12.3 k"],
])("count of %d is %s", (value, text) => expect(count(value)).toBe(text));

test("an exact count has all digits", () => expect(exactCount(1_234_567)).toBe("1,234,567"));

test.each([
  [null, "–"],
  [0, "0 B"],
  [999, "999 B"],
  [1_000, "1.00 kB"],
  [1_500, "1.50 kB"],
  [999_500, "1.00 MB"],
  [2_250_000, "2.25 MB"],
])("size of %d is %s", (value, text) => expect(bytes(value)).toBe(text));

test.each([
  [null, "–"],
  [0, "0 %"],
  [0.004, "0.4 %"],
  [0.0994, "9.9 %"],
  [0.0996, "10 %"],
  [0.12, "12 %"],
  [1, "100 %"],
])("share of %d is %s", (value, text) => expect(percent(value)).toBe(text));

test("absolute times are those of UTC or of the local zone", () => {
  expect(absoluteTime("2026-01-31T12:00:00.123456Z", true)).toBe("2026-01-31 12:00:00 UTC");
  expect(absoluteTime("2026-01-31T12:00:00.123456Z", true, { isExact: true })).toBe("2026-01-31 12:00:00.123 UTC");
  const local = new Date(2026, 6, 1, 9, 5, 7);
  expect(absoluteTime(local, false)).toBe("2026-07-01 09:05:07");
});

test.each([
  [0, "0 s ago"],
  [1_000, "1 s ago"],
  [-900, "0 s ago"],
  [59_999, "59 s ago"],
  [60_000, "1 m ago"],
  [HOUR - 1, "59 m ago"],
  [HOUR, "1 h ago"],
  [24 * HOUR - 1, "23 h ago"],
  [24 * HOUR, "2026-01-30 12:00:00 UTC"],
  [-5_000, "2026-01-31 12:00:05 UTC"],
])("time %d ms ago is %s", (ago, text) => expect(relativeTime(NOON - ago, NOON, true)).toBe(text));

test("long ids are shortened in the middle", () => {
  expect(shortId("12345678901234")).toBe("12345678901234");
  expect(shortId("123456789012345")).toBe("123456…012345");
  expect(shortId("")).toBe("");
});
