// Conditions of a list: chips in the address, and their translation into the arguments of the API.

import type { CallKind, CallsFilter, QueryInput, SortBy, TimeBucket, TraceStatus } from "./generated/graphql";

export const OPERATORS = {
  is: "=",
  "is-not": "≠",
  gt: ">",
  gte: "≥",
  lt: "<",
  lte: "≤",
  contains: "contains",
  "contains-not": "contains not",
  starts: "starts with",
  exists: "exists",
  "exists-not": "is missing",
} as const;

export type Operator = keyof typeof OPERATORS;

/** A condition on one field: `field operator value`. */
export interface Chip {
  field: string;
  operator: Operator;
  value: string;
}

/** Lists of a project: a row per trace, per root, or per call. */
export type Mode = "traces" | "roots" | "calls";

/** Fields with a fixed set of values or a type, besides texts. */
export const NUMBERS = new Set([
  "latency_ms",
  "total_tokens",
  "total_cost",
  "num_calls",
  "num_errors",
  "time_to_first_token_ms",
]);

/** Fields with a list of texts. */
const TEXT_LISTS = new Set(["tags", "finish_reasons"]);

const OF_TRACES = new Set(["name", "latency_ms", "total_tokens", "total_cost", "num_calls", "num_errors"]);

/** Lists of the filter, by the field of which they name values; an index serves them. */
const LISTS = {
  status: "statuses",
  kind: "kinds",
  op_name: "opNames",
  model: "models",
  provider: "providers",
  user_id: "userIds",
  tags: "tags",
  environment: "environments",
  release: "releases",
  error_type: "errorTypes",
  finish_reasons: "finishReasons",
  thread_id: "threadIds",
  trace_id: "traceIds",
  id: "callIds",
  parent_id: "parentIds",
} as const satisfies Record<string, keyof CallsFilter>;

const NEGATED: Partial<Record<Operator, Operator>> = {
  is: "is-not",
  "is-not": "is",
  contains: "contains-not",
  "contains-not": "contains",
  exists: "exists-not",
  "exists-not": "exists",
  gt: "lte",
  lte: "gt",
  lt: "gte",
  gte: "lt",
};

/** Return a chip with the opposite condition; null if it has none. */
export const negated = (chip: Chip): Chip | null => {
  const operator = NEGATED[chip.operator];
  return operator ? { ...chip, operator } : null;
};

/** Return a chip as it is in the address: `field:operator:value`. Colons and backslashes of the field get a backslash. */
export const chipText = ({ field, operator, value }: Chip) => `${field.replace(/[:\\]/g, "\\$&")}:${operator}:${value}`;

/** Read a chip of the address; null if it is none. */
export function parseChip(text: string): Chip | null {
  const match = /^((?:[^:\\]|\\.)+):([a-z-]+):(.*)$/s.exec(text);
  const operator = match?.[2];
  if (!match?.[1] || !operator || !Object.hasOwn(OPERATORS, operator)) return null;
  return { field: match[1].replace(/\\(.)/gs, "$1"), operator: operator as Operator, value: match[3] ?? "" };
}

/** Conditions of a list, as the API takes them. */
export interface Condition {
  filter: CallsFilter;
  query: QueryInput | null;
  totals: QueryInput | null;
}

/** A range of starts; undefined means no bound. */
export interface Period {
  after?: string | undefined;
  before?: string | undefined;
}

/** Return the literal of a value: a number or a boolean where the text is one and the field may have it. */
function literal({ field, value }: Chip): unknown {
  const isJson = /^(inputs|output|attributes|summary|feedback|scores|example)\b/.test(field);
  if ((isJson || NUMBERS.has(field)) && value.trim() !== "" && Number.isFinite(Number(value))) return Number(value);
  if (isJson && (value === "true" || value === "false")) return value === "true";
  return isJson && /^".*"$/s.test(value) ? value.slice(1, -1) : value;
}

/** Return the value of a chip that finds this value at a path of JSON. */
export function valueText(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value);
  // Only a text that would not be read as one needs quotes.
  return literal({ field: "inputs", operator: "is", value }) === value ? value : `"${value}"`;
}

function operation(chip: Chip): object {
  const field = { $getField: chip.field };
  const operands = [field, { $literal: literal(chip) }];
  switch (chip.operator) {
    case "is":
      return { $eq: operands };
    case "is-not":
      // The text of a list is JSON, so a member has quotes.
      return TEXT_LISTS.has(chip.field)
        ? { $not: [{ $contains: { input: field, substr: { $literal: JSON.stringify(chip.value) } } }] }
        : { $ne: operands };
    case "gt":
    case "gte":
    case "lt":
    case "lte":
      return { [`$${chip.operator}`]: operands };
    case "contains":
    case "contains-not": {
      const test = { $contains: { input: field, substr: { $literal: chip.value }, case_insensitive: true } };
      return chip.operator === "contains" ? test : { $not: [test] };
    }
    case "starts":
      return { $startsWith: [field, { $literal: chip.value }] };
    case "exists":
      return { $exists: field };
    case "exists-not":
      return { $isNull: field };
  }
}

const asQuery = (operations: readonly object[]): QueryInput | null =>
  operations.length === 0 ? null : { json: { $expr: operations.length === 1 ? operations[0] : { $and: operations } } };

/** Translate chips for the rows of an evaluation run. */
export const conditionOfRows = (chips: readonly Chip[]): QueryInput | null => asQuery(chips.map(operation));

/** Translate chips, a period and an expert's query (`dsl`, JSON below `$expr`) for a list of some mode. */
export function condition(chips: readonly Chip[], period: Period, mode: Mode, dsl: unknown = null): Condition {
  const filter: CallsFilter = {};
  const ofCalls: object[] = dsl ? [dsl as object] : [];
  const ofTotals: object[] = [];
  for (const chip of chips) {
    const hasList = chip.operator === "is" && Object.hasOwn(LISTS, chip.field);
    const list = hasList ? LISTS[chip.field as keyof typeof LISTS] : undefined;
    if (list) {
      const isEnum = list === "statuses" || list === "kinds";
      const value = isEnum ? chip.value.toUpperCase() : chip.value;
      const values = [...((filter[list] as string[] | undefined) ?? []), value];
      Object.assign(filter, { [list]: values as TraceStatus[] & CallKind[] });
    } else if (mode === "traces" && OF_TRACES.has(chip.field)) {
      ofTotals.push(operation(chip));
    } else {
      ofCalls.push(operation(chip.field === "name" ? { ...chip, field: "op_name" } : chip));
    }
  }
  if (mode === "roots") filter.traceRootsOnly = true;
  if (period.after) filter.startedAfter = period.after;
  if (period.before) filter.startedBefore = period.before;
  return { filter, query: asQuery(ofCalls), totals: asQuery(ofTotals) };
}

const SECONDS = { m: 60, h: 3_600, d: 86_400 } as const;

/** Return a bound of the address as a time: an absolute one, or one such as 24h before now; undefined if it is none. */
export function bound(text: string | null, now: number): string | undefined {
  const relative = /^(\d{1,5})([mhd])$/.exec(text ?? "");
  if (relative) {
    const seconds = Number(relative[1]) * SECONDS[relative[2] as keyof typeof SECONDS];
    return new Date(now - seconds * 1_000).toISOString();
  }
  const at = Date.parse(text ?? "");
  return Number.isNaN(at) ? undefined : new Date(at).toISOString();
}

const HOUR = 3_600_000;

/** Return the bucket with which a period has about a hundred bars. */
export function bucketOf(from: number, to: number): TimeBucket {
  const hours = (to - from) / HOUR;
  if (hours <= 4) return "MINUTE";
  if (hours <= 240) return "HOUR";
  if (hours <= 24 * 200) return "DAY";
  return hours <= 24 * 1_400 ? "WEEK" : "MONTH";
}

/** Return the sort of the address, such as -started_at for the newest first, as the API takes it. */
export const sortOf = (text: string): SortBy[] => [
  { field: text.replace(/^-/, ""), direction: text.startsWith("-") ? "DESC" : "ASC" },
];
