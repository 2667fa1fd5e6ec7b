// The calls of a trace as a tree on a time axis: order, depths, self times, and the critical path.

import type { TreeCallFragment } from "./generated/graphql";

/** A call of a tree. Times are milliseconds since the epoch. */
export interface Step {
  call: TreeCallFragment;
  parent: Step | null;
  children: Step[];
  depth: number;
  start: number;
  /** End of the call; `now` of the layout while it runs. */
  end: number;
  isRunning: boolean;
  /** Time in which none of its children ran, in milliseconds. */
  self: number;
  /** Number of calls below it. */
  size: number;
  /** True if it or a call below it ended with an error. */
  hasError: boolean;
  /** Parts of the critical path in this call, as starts and ends. */
  critical: [number, number][];
}

export interface Timeline {
  /** All calls, each before those below it. */
  steps: Step[];
  byId: Map<string, Step>;
  start: number;
  end: number;
}

const time = (text: string) => Date.parse(text);

/**
 * Build the timeline of calls in any order. A call whose parent is missing is a root. `now` is the end of running calls.
 */
export function timelineOf(calls: readonly TreeCallFragment[], now: number): Timeline {
  const byId = new Map<string, Step>();
  for (const call of calls) {
    const start = time(call.startedAt);
    const isRunning = call.endedAt == null;
    const end = Math.max(start, call.endedAt == null ? now : time(call.endedAt));
    const rest = { parent: null, depth: 0, self: 0, size: 0, hasError: call.status === "ERROR" };
    byId.set(call.id, { call, start, end, isRunning, children: [], critical: [], ...rest });
  }
  const roots: Step[] = [];
  for (const step of byId.values()) {
    const parent = step.call.parentId == null ? undefined : byId.get(step.call.parentId);
    if (parent && parent !== step) {
      step.parent = parent;
      parent.children.push(step);
    } else {
      roots.push(step);
    }
  }
  const steps = ordered(roots);
  if (steps.length < byId.size) {
    // The rest are cycles of parents and calls below them; each cycle is cut at one call.
    const seen = new Set(steps);
    for (const left of byId.values()) {
      if (seen.has(left)) continue;
      const step = firstOfCycle(left);
      const siblings = step.parent?.children;
      siblings?.splice(siblings.indexOf(step), 1);
      step.parent = null;
      for (const each of ordered([step])) {
        seen.add(each);
        steps.push(each);
      }
    }
  }
  for (const step of steps.toReversed()) {
    step.self = step.end - step.start - covered(step.children, step.start, step.end);
    for (const child of step.children) {
      step.size += child.size + 1;
      step.hasError ||= child.hasError;
    }
  }
  for (const step of steps) if (!step.parent) markCritical(step);
  const start = steps.reduce((least, step) => Math.min(least, step.start), Infinity);
  const end = steps.reduce((most, step) => Math.max(most, step.end), -Infinity);
  return steps.length ? { steps, byId, start, end } : { steps, byId, start: now, end: now };
}

/** Return the earliest step of the cycle that a step is in or below. */
function firstOfCycle(step: Step): Step {
  const above = new Set<Step>();
  let reached = step;
  for (; !above.has(reached); reached = reached.parent as Step) above.add(reached);
  let first = reached;
  for (let each = reached.parent as Step; each !== reached; each = each.parent as Step) {
    if (byStart(each, first) < 0) first = each;
  }
  return first;
}

const byStart = (a: Step, b: Step) => a.start - b.start || (a.call.id < b.call.id ? -1 : 1);

/** Return the steps below some roots in depth-first order, siblings by start; set their depths. */
function ordered(roots: readonly Step[]): Step[] {
  const steps: Step[] = [];
  // A recursive function would overflow on a chain of ten thousand calls.
  const stack = roots.toSorted(byStart).reverse();
  for (let step = stack.pop(); step; step = stack.pop()) {
    step.depth = step.parent ? step.parent.depth + 1 : 0;
    steps.push(step);
    step.children.sort(byStart);
    for (let child = step.children.length - 1; child >= 0; child--) stack.push(step.children[child] as Step);
  }
  return steps;
}

/** Return how much of a time some steps, sorted by start, cover. */
function covered(steps: readonly Step[], from: number, to: number): number {
  let sum = 0;
  let reached = from;
  for (const { start, end } of steps) {
    const [first, last] = [Math.max(start, reached), Math.min(end, to)];
    if (last > first) {
      sum += last - first;
      reached = last;
    }
  }
  return sum;
}

/**
 * Mark the critical path of a root: from its end backwards, the child that ended last before a moment is on it until
 * that child started; the call itself is on it in between.
 */
function markCritical(root: Step): void {
  const stack: [Step, number][] = [[root, root.end]];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const [step, end] = next;
    let moment = Math.min(end, step.end);
    const byEnd = step.children.toSorted((a, b) => b.end - a.end || b.start - a.start);
    for (const child of byEnd) {
      // A child that runs on after this moment does not delay it.
      if (child.end > moment || child.start < step.start || child.end <= child.start) continue;
      if (moment > child.end) step.critical.push([child.end, moment]);
      stack.push([child, child.end]);
      moment = child.start;
    }
    if (moment > step.start) step.critical.push([step.start, moment]);
    step.critical.reverse();
  }
}

/** Return the steps to show: those of which no ancestor is folded. */
export function unfolded(steps: readonly Step[], folded: ReadonlySet<string>): Step[] {
  if (folded.size === 0) return [...steps];
  const shown: Step[] = [];
  for (let index = 0; index < steps.length; index++) {
    const step = steps[index] as Step;
    shown.push(step);
    if (folded.has(step.call.id)) index += step.size;
  }
  return shown;
}

/** Number of folds up to which they are in the address. */
const MOST_FOLDS = 50;
/** Text that stands for the folds of all calls below the roots. The folds that follow are then the other way round. */
const ALL = "*";
/** Characters by which a fold names its call. The first ones of an id often are a time, and those of a trace alike. */
const named = (id: string) => id.slice(-8);

/** Return the ids of calls below the roots that have calls below them. */
export const foldable = (steps: readonly Step[]) =>
  new Set(steps.filter(({ depth, children }) => depth > 0 && children.length > 0).map(({ call }) => call.id));

const difference = (a: ReadonlySet<string>, b: ReadonlySet<string>) => [
  ...[...a].filter((each) => !b.has(each)),
  ...[...b].filter((each) => !a.has(each)),
];

/** Return the folds of a trace as texts for its address; null if they are too many. */
export function foldTexts(steps: readonly Step[], folded: ReadonlySet<string>): string[] | null {
  if (folded.size <= MOST_FOLDS) return [...folded].map(named);
  const others = difference(folded, foldable(steps));
  return others.length <= MOST_FOLDS ? [ALL, ...others.map(named)] : null;
}

/** Return the ids of the calls that the texts of an address fold. */
export function foldsOf(steps: readonly Step[], texts: readonly string[]): ReadonlySet<string> {
  if (texts.length === 0) return new Set();
  const names = new Set(texts);
  const isListed = ({ call, children }: Step) => children.length > 0 && names.has(named(call.id));
  const listed = new Set(steps.filter(isListed).map(({ call }) => call.id));
  return names.has(ALL) ? new Set(difference(foldable(steps), listed)) : listed;
}

/** Return a part of a trace's time as a text for its address. */
export const zoomText = ([from, to]: readonly [number, number]) => `${+from.toFixed(3)}-${+to.toFixed(3)}`;

/** Return the part of a trace's time that a text of an address stands for; null if it is none. */
export function zoomOf(text: string | null): [number, number] | null {
  const [, from, to] = /^(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)$/.exec(text ?? "") ?? [];
  return Number(from) < Number(to) ? [Number(from), Number(to)] : null;
}

/** Return round times for the marks of an axis from 0, about `number` of them. */
export function ticks(from: number, to: number, number: number): number[] {
  const rough = (to - from) / Math.max(number, 1);
  if (!(rough > 0)) return [from];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const marks: number[] = [];
  for (let mark = Math.ceil(from / step) * step; mark <= to + step * 1e-9; mark += step) marks.push(mark);
  return marks;
}
