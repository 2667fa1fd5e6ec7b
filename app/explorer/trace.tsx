// One trace: totals, the tree beside its waterfall, and the selected call.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { address, go, here, there } from "./address";
import { ApiError, ask, useQuery, useShown, watch } from "./api";
import { Copy, Empty, Kind, now, Problem, Skeleton, Status, Time, useKeys, useSize, useTyped } from "./components";
import { CallDetails } from "./details";
import { count, duration, money, shortId } from "./formats";
import {
  EventsCursorDocument,
  TraceChangesDocument,
  TraceCostsDocument,
  TraceHeadDocument,
  TracesDocument,
  TraceTreeDocument,
  type TreeCallFragment,
} from "./generated/graphql";
import { ROW } from "./grid";
import {
  foldable,
  foldsOf,
  foldTexts,
  type Step,
  ticks,
  type Timeline,
  timelineOf,
  unfolded,
  zoomOf,
  zoomText,
} from "./timeline";

const PAGE = 5_000;

/** Rows from which on a map of all of them is shown. */
const WITH_MAP = 200;
const MAP_HEIGHT = 48;

interface Calls {
  byId: Map<string, TreeCallFragment>;
  isWhole: boolean;
  error: ApiError | null;
}

const NOTHING: Calls = { byId: new Map(), isWhole: false, error: null };

/** Read all calls of a trace in pages, and follow their changes while some run. */
export function useCalls(project: string, traceId: string): { calls: Calls; retry: () => void } {
  const state = useSignal<Calls>(NOTHING);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    const abort = new AbortController();
    const byId = new Map<string, TreeCallFragment>();
    state.value = NOTHING;
    const read = async () => {
      // Events from before the first page on, so that no change is missed.
      const { callEventsCursor } = await ask(EventsCursorDocument, { projectId: project }, abort.signal);
      let after: string | null = null;
      do {
        const variables: { projectId: string; traceId: string; first: number; after: string | null } = {
          projectId: project,
          traceId,
          first: after ? PAGE : 500,
          after,
        };
        const tree = (await ask(TraceTreeDocument, variables, abort.signal)).trace?.tree;
        for (const { call } of tree?.nodes ?? []) byId.set(call.id, call);
        after = tree?.pageInfo.hasNextPage ? (tree.pageInfo.endCursor ?? null) : null;
        state.value = { byId, isWhole: after === null, error: null };
      } while (after !== null);
      if (![...byId.values()].some(({ endedAt }) => endedAt === null)) return;
      let frame = 0;
      watch(
        TraceChangesDocument,
        { projectId: project, filter: { traceIds: [traceId] }, after: callEventsCursor },
        abort.signal,
        ({ callEvents: { type, call, cursor } }) => {
          if (type === "DELETED") byId.delete(call.id);
          else byId.set(call.id, call);
          // Many events of one frame draw once.
          frame ||= requestAnimationFrame(() => {
            frame = 0;
            state.value = { byId, isWhole: true, error: null };
          });
          return cursor;
        },
        () => undefined,
      );
    };
    read().catch((error: unknown) => {
      if (abort.signal.aborted) return;
      state.value = {
        ...state.value,
        error: error instanceof ApiError ? error : new ApiError(String(error), "INTERNAL"),
      };
    });
    return () => abort.abort();
  }, [project, traceId, attempt]);
  useShown(TraceTreeDocument, { projectId: project, traceId, first: 500 });
  return { calls: state.value, retry: () => setAttempt(attempt + 1) };
}

/** A trace in the drawer of a list. */
export function TracePanel({
  project,
  traceId,
  isDrawer = false,
}: {
  project: string;
  traceId: string;
  isDrawer?: boolean;
}) {
  const { calls, retry } = useCalls(project, traceId);
  const runs = useMemo(() => [...calls.byId.values()].some(({ endedAt }) => endedAt === null), [calls]);
  const until = runs ? now.value : 0;
  const timeline = useMemo(() => timelineOf([...calls.byId.values()], until), [calls, until]);
  // The totals are read again when the first call ends, which is the head of the trace, and when the last one does.
  const again = Number(runs) + Number(timeline.steps[0]?.isRunning ?? false);
  const head = useQuery(TraceHeadDocument, { projectId: project, traceId }, { again });
  // The tree of costs takes the server longer than the calls, so it waits for them.
  const costs = useQuery(TraceCostsDocument, calls.isWhole ? { projectId: project, traceId } : null, { again });
  const usage = useMemo(() => new Map((costs.data?.usageTree ?? []).map((node) => [node.id, node])), [costs.data]);
  const selected = address.value.get("call") ?? timeline.steps[0]?.call.id ?? null;
  const trace = head.data?.trace;

  if (calls.error && calls.byId.size === 0) return <Problem error={calls.error} retry={retry} />;
  if (head.error) return <Problem error={head.error} retry={head.retry} />;
  if (calls.isWhole && calls.byId.size === 0) {
    return (
      <Empty title="This trace has no calls">
        <p>Its calls may have been deleted, or the link may name another project than {project}.</p>
      </Empty>
    );
  }
  return (
    <div class={isDrawer ? "trace in-drawer" : "trace"}>
      <header class="totals">
        <h1>
          <Status status={trace?.status} /> {trace?.name ?? " "}
        </h1>
        <dl class="context">
          {trace?.userId && <Total name="User">{trace.userId}</Total>}
          {trace?.threadId && (
            <Total name="Thread">
              <a href={there("threads", { thread: trace.threadId })}>{trace.threadId}</a>
            </Total>
          )}
          {trace?.environment && <Total name="Environment">{trace.environment}</Total>}
          {trace?.release && <Total name="Release">{trace.release}</Total>}
          {trace?.tags?.length ? (
            <Total name="Tags">
              {trace.tags.map((tag) => (
                <span class="tag" key={tag}>
                  {tag}
                </span>
              ))}
            </Total>
          ) : null}
        </dl>
        <dl>
          <Total name="Duration">{trace?.status === "RUNNING" ? "running" : duration(trace?.latencyMs)}</Total>
          <Total name="Cost">{money(trace?.totalCost)}</Total>
          <Total name="Tokens">{count(trace?.totalTokens)}</Total>
          <Total name="Calls">{count(calls.isWhole ? calls.byId.size : trace?.numCalls)}</Total>
          <Total name="Errors">{trace?.numErrors ? <span class="error">{count(trace.numErrors)}</span> : "0"}</Total>
          <Total name="Started">
            <Time at={trace?.startedAt} />
          </Total>
          <Total name="Trace">
            <code title={traceId}>{shortId(traceId)}</code> <Copy text={traceId} title="Copy the id of the trace" />
          </Total>
        </dl>
        {isDrawer && <a href={there("trace", { t: traceId, call: address.value.get("call") })}>Open page</a>}
      </header>
      {calls.error && <Problem error={calls.error} retry={retry} />}
      <div class="panes">
        {calls.byId.size === 0 ? (
          <div class="waterfall">
            <Skeleton />
          </div>
        ) : (
          <Waterfall timeline={timeline} usage={usage} selected={selected} isWhole={calls.isWhole} />
        )}
        <section class="call" aria-label="Selected call">
          {selected && (
            <CallDetails
              key={selected}
              project={project}
              id={selected}
              step={timeline.byId.get(selected)}
              usage={usageText(usage.get(selected))}
            />
          )}
        </section>
      </div>
    </div>
  );
}

function Total({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

interface Tokens {
  cost: number | null;
  totalTokens: number;
}

interface CallUsage {
  ownUsage: Tokens;
  totalUsage: Tokens;
}

type Usage = Map<string, CallUsage>;

/** The tree and the bars of a trace in one virtual list; the bars are drawn on a canvas. */
function Waterfall({
  timeline,
  usage,
  selected,
  isWhole,
}: {
  timeline: Timeline;
  usage: Usage;
  selected: string | null;
  isWhole: boolean;
}) {
  const [folded, setFolded] = useFolds(timeline);
  const [search, setSearch] = useTyped("find");
  const steps = useMemo(() => unfolded(timeline.steps, folded), [timeline, folded]);
  const [scroller, { width, height }] = useSize<HTMLDivElement>();
  const [top, setTop] = useState(0);
  const whole: [number, number] = [0, Math.max(1, timeline.end - timeline.start)];
  const [zoomed, setZoomed] = useTyped("zoom");
  const zoom = useMemo(() => zoomOf(zoomed), [zoomed]);
  const setZoom = (next: [number, number] | null) => setZoomed(next && zoomText(next));
  const [hovered, setHovered] = useState<{ step: Step; x: number; y: number } | null>(null);
  const range = zoom ?? whole;
  const treeWidth = Math.min(width, Math.max(180, Math.round(width * 0.42)));
  const barWidth = Math.max(0, width - treeWidth);
  const first = Math.max(0, Math.floor(top / ROW) - 2);
  const last = Math.min(steps.length, Math.ceil((top + height) / ROW) + 2);
  const needle = (search ?? "").trim().toLowerCase();
  const matches = useMemo(
    () =>
      needle
        ? new Set(
            timeline.steps
              .filter(({ call }) => `${call.traceName} ${call.model ?? ""} ${call.id}`.toLowerCase().includes(needle))
              .map(({ call }) => call.id),
          )
        : null,
    [needle, timeline],
  );

  const show = (step: Step) => {
    const ancestors = new Set<string>();
    for (let each = step.parent; each; each = each.parent) ancestors.add(each.call.id);
    const left = new Set([...folded].filter((id) => !ancestors.has(id)));
    if (left.size < folded.size) setFolded(left);
    go(here({ call: step.call.id }), { replace: true });
    reveal(unfolded(timeline.steps, left).indexOf(step));
  };
  const reveal = (index: number) => {
    const element = scroller.current;
    if (!element || index < 0) return;
    if (index * ROW < element.scrollTop) element.scrollTop = index * ROW;
    else if ((index + 1) * ROW > element.scrollTop + height) element.scrollTop = (index + 1) * ROW - height;
  };
  const place = () => steps.findIndex(({ call }) => call.id === selected);
  // A link may lead to a call that is far below.
  const isRevealed = useRef(false);
  useEffect(() => {
    if (isRevealed.current || height === 0 || place() < 0) return;
    isRevealed.current = true;
    reveal(place());
  });
  const move = (by: number) => {
    const step = steps[Math.min(steps.length - 1, Math.max(0, place() + by))];
    if (step) show(step);
  };
  const fold = (step: Step | undefined, isFolded: boolean) => {
    if (!step || step.children.length === 0 || folded.has(step.call.id) === isFolded) return;
    const next = new Set(folded);
    if (isFolded) next.add(step.call.id);
    else next.delete(step.call.id);
    setFolded(next);
  };
  const jump = (test: (step: Step) => boolean) => {
    const from = selected ? timeline.steps.findIndex(({ call }) => call.id === selected) : -1;
    const rest = [...timeline.steps.slice(from + 1), ...timeline.steps.slice(0, from + 1)];
    const found = rest.find(test);
    if (found) show(found);
  };
  const current = () => (selected ? timeline.byId.get(selected) : undefined);
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    h: () => fold(current(), true),
    l: () => fold(current(), false),
    ArrowLeft: () => fold(current(), true),
    ArrowRight: () => fold(current(), false),
    e: () => jump(({ call }) => call.status === "ERROR"),
    n: () => matches && jump(({ call }) => matches.has(call.id)),
  });

  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    if (canvas.current)
      draw(canvas.current, {
        steps,
        first,
        last,
        top,
        start: timeline.start,
        range,
        width: barWidth,
        height,
        selected,
        matches,
        usage,
      });
  });

  const timeAt = (clientX: number) => {
    const left = canvas.current?.getBoundingClientRect().left ?? 0;
    return range[0] + ((clientX - left) / Math.max(1, barWidth)) * (range[1] - range[0]);
  };
  const onWheel = (event: WheelEvent) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const [at, factor] = [timeAt(event.clientX), Math.exp(event.deltaY / 300)];
    const next: [number, number] = [
      Math.max(whole[0], at - (at - range[0]) * factor),
      Math.min(whole[1], at + (range[1] - at) * factor),
    ];
    if (next[1] - next[0] < 0.01) return;
    setZoom(next[0] <= whole[0] && next[1] >= whole[1] ? null : next);
  };
  useEffect(() => {
    // A passive listener could not keep the browser from zooming the page.
    const element = canvas.current;
    element?.addEventListener("wheel", onWheel, { passive: false });
    return () => element?.removeEventListener("wheel", onWheel);
  });
  const onDown = (event: PointerEvent) => {
    const [from, begin] = [event.clientX, range];
    const element = event.currentTarget as HTMLElement;
    element.setPointerCapture(event.pointerId);
    const onMove = (moved: PointerEvent) => {
      if (!zoom) return;
      const length = begin[1] - begin[0];
      const shift = ((from - moved.clientX) / Math.max(1, barWidth)) * length;
      const low = Math.min(whole[1] - length, Math.max(whole[0], begin[0] + shift));
      setZoom([low, low + length]);
    };
    const onUp = (up: PointerEvent) => {
      element.removeEventListener("pointermove", onMove);
      const step = Math.abs(up.clientX - from) < 4 ? stepAt(up) : null;
      if (step) show(step);
    };
    element.addEventListener("pointermove", onMove);
    element.addEventListener("pointerup", onUp, { once: true });
  };
  const stepAt = (event: { clientY: number }) => {
    const y = event.clientY - (canvas.current?.getBoundingClientRect().top ?? 0);
    return steps[Math.floor((y + top) / ROW)] ?? null;
  };
  const onHover = (event: PointerEvent) => {
    const step = stepAt(event);
    const box = scroller.current?.getBoundingClientRect();
    setHovered(step && box ? { step, x: event.clientX - box.left, y: event.clientY - box.top } : null);
  };

  return (
    <section class="waterfall" aria-label="Calls of the trace">
      <div class="bar">
        <input
          type="search"
          aria-label="Search in the trace"
          placeholder="Search in the trace"
          value={search ?? ""}
          onInput={(event) => setSearch(event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Enter" && matches && jump(({ call }) => matches.has(call.id))}
        />
        {matches && <span class="muted">{matches.size} match</span>}
        <button
          type="button"
          onClick={() => jump(({ call }) => call.status === "ERROR")}
          disabled={!timeline.steps.some(({ hasError }) => hasError)}
        >
          Next error
        </button>
        <button type="button" onClick={() => setFolded(folded.size ? new Set() : foldable(timeline.steps))}>
          {folded.size ? "Unfold all" : "Fold all"}
        </button>
        {zoom && (
          <button type="button" onClick={() => setZoom(null)}>
            Whole time
          </button>
        )}
        {!isWhole && (
          <span class="muted reading" role="status">
            {count(timeline.steps.length)} calls, more load…
          </span>
        )}
      </div>
      {steps.length > WITH_MAP && (
        <Minimap
          steps={steps}
          timeline={timeline}
          range={range}
          from={top / (steps.length * ROW)}
          to={(top + height) / (steps.length * ROW)}
          onMove={(share) => scroller.current?.scrollTo(0, share * steps.length * ROW - height / 2)}
        />
      )}
      <div class="axis" style={{ marginLeft: treeWidth }} aria-hidden="true">
        {ticks(range[0], range[1], Math.max(2, Math.floor(barWidth / 90))).map((mark) => (
          <span key={mark} style={{ left: `${((mark - range[0]) / (range[1] - range[0])) * 100}%` }}>
            {duration(mark)}
          </span>
        ))}
      </div>
      <div class="steps" ref={scroller} onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
        <div
          style={{ height: steps.length * ROW }}
          role="tree"
          aria-label="Calls"
          tabIndex={0}
          aria-activedescendant={selected ? `step-${selected}` : undefined}
        >
          {steps.slice(first, last).map((step, at) => (
            <div
              key={step.call.id}
              id={`step-${step.call.id}`}
              role="treeitem"
              aria-level={step.depth + 1}
              aria-selected={step.call.id === selected}
              aria-description={criticalText(step)}
              aria-expanded={step.children.length ? !folded.has(step.call.id) : undefined}
              class={`step${step.hasError ? " has-error" : ""}${matches && !matches.has(step.call.id) ? " faint" : ""}`}
              style={{ top: (first + at) * ROW, width: treeWidth, paddingLeft: 4 + Math.min(step.depth, 14) * 14 }}
              onClick={() => show(step)}
            >
              {step.children.length > 0 ? (
                <button
                  type="button"
                  tabIndex={-1}
                  class="fold"
                  aria-label={folded.has(step.call.id) ? "Unfold" : "Fold"}
                  onClick={(event) => {
                    event.stopPropagation();
                    fold(step, !folded.has(step.call.id));
                  }}
                >
                  {folded.has(step.call.id) ? "▸" : "▾"}
                </button>
              ) : (
                <span class="fold" />
              )}
              <Kind kind={step.call.kind} />
              <span class="name">{step.call.traceName}</span>
              {folded.has(step.call.id) && <span class="muted">+{count(step.size)}</span>}
              {step.call.status !== "SUCCESS" && <Status status={step.call.status} />}
            </div>
          ))}
        </div>
        <canvas
          ref={canvas}
          style={{ left: treeWidth, width: barWidth, height }}
          onPointerDown={onDown}
          onPointerMove={onHover}
          onPointerLeave={() => setHovered(null)}
          onDblClick={() => setZoom(null)}
        />
      </div>
      {hovered && (
        <div class="tip" style={{ left: Math.min(hovered.x + 12, width - 220), top: hovered.y + 72 }}>
          <b>{hovered.step.call.traceName}</b>
          <br />
          starts at {duration(hovered.step.start - timeline.start)} · takes{" "}
          {duration(hovered.step.end - hovered.step.start)}
          <br />
          self {duration(hovered.step.self)} · {usageText(usage.get(hovered.step.call.id)) ?? "no tokens"}
        </div>
      )}
    </section>
  );
}

/** Return how much of the critical path is in a call, which the canvas shows as a line; undefined if it is none. */
function criticalText({ critical }: Step): string | undefined {
  const length = critical.reduce((sum, [from, to]) => sum + to - from, 0);
  return length > 0 ? `${duration(length)} on the critical path` : undefined;
}

/** Return the folded calls of a trace, which are in the address unless they are too many, and a function that sets them. */
function useFolds({ steps }: Timeline): [ReadonlySet<string>, (next: ReadonlySet<string>) => void] {
  const texts = address.value.getAll("fold");
  const given = texts.join("\n");
  const [many, setMany] = useState<ReadonlySet<string> | null>(null);
  const folded = useMemo(() => (given ? foldsOf(steps, texts) : (many ?? new Set<string>())), [many, steps, given]);
  const set = (next: ReadonlySet<string>) => {
    const fold = foldTexts(steps, next);
    setMany(fold ? null : next);
    go(here({ fold }), { replace: true });
  };
  return [folded, set];
}

/** Return the tokens and the cost of a call with those below it, and its own if they differ; null without tokens. */
function usageText(usage: CallUsage | undefined): string | null {
  if (!usage?.totalUsage.totalTokens) return null;
  const text = ({ totalTokens, cost }: Tokens) => `${count(totalTokens)} tokens, ${money(cost)}`;
  const isSum = usage.ownUsage.totalTokens !== usage.totalUsage.totalTokens;
  return `${text(usage.totalUsage)}${isSum ? ` (own: ${text(usage.ownUsage)})` : ""}`;
}

/** All bars in little, with a frame around the rows and the time on the screen. */
function Minimap({
  steps,
  timeline,
  range,
  from,
  to,
  onMove,
}: {
  steps: readonly Step[];
  timeline: Timeline;
  range: [number, number];
  from: number;
  to: number;
  onMove: (share: number) => void;
}) {
  const [box, { width }] = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const length = Math.max(1, timeline.end - timeline.start);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!canvas.current || !context || width === 0) return;
    canvas.current.width = width;
    canvas.current.height = MAP_HEIGHT;
    // Of the rows that share a line of pixels, one is drawn.
    const every = Math.max(1, Math.floor(steps.length / (MAP_HEIGHT * 4)));
    for (let index = 0; index < steps.length; index += every) {
      const step = steps[index] as Step;
      context.fillStyle =
        step.call.status === "ERROR" ? colour("error") : colour(`kind-${(step.call.kind ?? "CHAIN").toLowerCase()}`);
      const left = ((step.start - timeline.start) / length) * width;
      const right = ((step.end - timeline.start) / length) * width;
      context.fillRect(
        left,
        (index / steps.length) * MAP_HEIGHT,
        Math.max(1, right - left),
        Math.max(1, MAP_HEIGHT / steps.length),
      );
    }
  }, [steps, timeline, width]);
  const move = (event: PointerEvent) => {
    const top = box.current?.getBoundingClientRect().top ?? 0;
    if (event.buttons === 1) onMove((event.clientY - top) / MAP_HEIGHT);
  };
  return (
    <div class="minimap" ref={box} onPointerDown={move} onPointerMove={move} aria-hidden="true">
      <canvas ref={canvas} />
      <div
        class="frame"
        style={{
          left: `${(range[0] / length) * 100}%`,
          width: `${((range[1] - range[0]) / length) * 100}%`,
          top: from * MAP_HEIGHT,
          height: Math.max(4, (Math.min(1, to) - from) * MAP_HEIGHT),
        }}
      />
    </div>
  );
}

interface Picture {
  steps: readonly Step[];
  first: number;
  last: number;
  top: number;
  start: number;
  range: [number, number];
  width: number;
  height: number;
  selected: string | null;
  matches: ReadonlySet<string> | null;
  usage: Usage;
}

const colours = new Map<string, string>();
let theme = "";

/** Return a colour of the style sheet in the current theme, as a canvas takes it. */
function colour(name: string): string {
  const style = getComputedStyle(document.documentElement);
  if (theme !== style.backgroundColor + style.colorScheme + window.matchMedia("(prefers-color-scheme: dark)").matches) {
    theme = style.backgroundColor + style.colorScheme + window.matchMedia("(prefers-color-scheme: dark)").matches;
    colours.clear();
  }
  let value = colours.get(name);
  if (value === undefined) {
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    value = getComputedStyle(probe).color;
    probe.remove();
    colours.set(name, value);
  }
  return value;
}

function draw(canvas: HTMLCanvasElement, picture: Picture): void {
  const { steps, first, last, top, start, range, width, height, selected, matches, usage } = picture;
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  if (!context || width <= 0) return;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const x = (time: number) => ((time - start - range[0]) / (range[1] - range[0])) * width;
  context.strokeStyle = colour("border");
  context.lineWidth = 1;
  context.beginPath();
  for (const mark of ticks(range[0], range[1], Math.max(2, Math.floor(width / 90)))) {
    const at = Math.round(((mark - range[0]) / (range[1] - range[0])) * width) + 0.5;
    context.moveTo(at, 0);
    context.lineTo(at, height);
  }
  context.stroke();
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (let index = first; index < last; index++) {
    const step = steps[index] as Step;
    const y = index * ROW - top;
    if (step.call.id === selected) {
      context.fillStyle = colour("selected");
      context.fillRect(0, y, width, ROW);
    }
    const left = x(step.start);
    const right = Math.max(left + 2, x(step.end));
    if (right < 0 || left > width) continue;
    context.globalAlpha = matches && !matches.has(step.call.id) ? 0.25 : 1;
    const kind = (step.call.kind ?? "CHAIN").toLowerCase();
    context.fillStyle = colour(`kind-${kind}`);
    const [from, to] = [Math.max(left, -4), Math.min(right, width + 4)];
    context.fillRect(from, y + 8, to - from, ROW - 16);
    if (step.call.status === "ERROR") {
      context.fillStyle = colour("error");
      context.fillRect(from, y + ROW - 8, to - from, 3);
    }
    if (step.isRunning) {
      context.fillStyle = colour("running");
      context.fillRect(to - 3, y + 5, 3, ROW - 10);
    }
    context.fillStyle = colour("text");
    for (const [begin, end] of step.critical) {
      // On whole pixels, so that a short part is as dark as a long one.
      if (x(end) < 0 || x(begin) > width) continue;
      const a = Math.min(width - 1, Math.round(Math.max(0, x(begin))));
      const b = Math.max(a + 1, Math.round(Math.min(width, x(end))));
      context.fillRect(a, y + 4, b - a, 2);
    }
    const cost = usage.get(step.call.id)?.ownUsage.cost;
    const label = `${duration(step.end - step.start)}${cost ? ` · ${money(cost)}` : ""}`;
    const room = context.measureText(label).width;
    const isBeside = right + room + 6 < width;
    context.fillStyle = colour("muted");
    if (isBeside) context.fillText(label, right + 4, y + ROW / 2);
    else if (left - room - 6 > 0) context.fillText(label, left - room - 4, y + ROW / 2);
    else {
      context.fillStyle = colour("bg");
      context.fillText(label, Math.max(0, from) + 4, y + ROW / 2);
    }
    context.globalAlpha = 1;
  }
}

/** Go to the trace that started next before another one, or next after it. */
async function neighbour(project: string, traceId: string, isOlder: boolean): Promise<void> {
  const { trace } = await ask(TraceHeadDocument, { projectId: project, traceId });
  if (!trace?.startedAt) return;
  const filter = isOlder ? { startedBefore: trace.startedAt } : { startedAfter: trace.startedAt };
  const sortBy = [{ field: "started_at", direction: isOlder ? ("DESC" as const) : ("ASC" as const) }];
  const { traces } = await ask(TracesDocument, { projectId: project, filter, sortBy, first: 1 });
  const next = traces?.nodes[0]?.traceId;
  if (next) go(there("trace", { t: next }));
}

/** A trace on its own page. */
export function TracePage({ project }: { project: string }) {
  const traceId = address.value.get("t");
  const move = (isOlder: boolean) => () => {
    if (traceId) neighbour(project, traceId, isOlder).catch(() => undefined);
  };
  useKeys({ "]": move(true), "[": move(false) });
  if (!traceId)
    return (
      <Empty title="No trace is chosen">
        <a href={there("traces")}>All traces</a>
      </Empty>
    );
  return (
    <main class="trace-page">
      <TracePanel key={traceId} project={project} traceId={traceId} />
    </main>
  );
}
