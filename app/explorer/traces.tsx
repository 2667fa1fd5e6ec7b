// Lists of traces, roots or calls: filter bar, histogram, table, and a drawer with the selected trace.

import { useSignal } from "@preact/signals";
import { lazy, Suspense } from "preact/compat";
import { useEffect, useMemo, useState, useRef } from "preact/hooks";

import { address, go, here, there } from "./address";
import { ApiError, ask, useQuery, useShown, watch } from "./api";
import { Empty, Kind, onDrag, Popover, Problem, Skeleton, Status, Time, useKeys, useStored } from "./components";
import { CallFilterBar } from "./filter_bar";
import { bound, type Condition, condition, type Mode, parseChip, type Period, sortOf } from "./filters";
import { count, duration, exactCount, money } from "./formats";
import {
  type CallRowFragment,
  MarkedCallsDocument,
  CallsCountDocument,
  CallsDocument,
  EventsCursorDocument,
  NewCallsDocument,
  SearchDocument,
  type SearchQuery,
  type SortBy,
  TracesCountDocument,
  TracesDocument,
  type TracesQuery,
  ValuesDocument,
} from "./generated/graphql";
import { type Column, Grid, useRows } from "./grid";
import { Histogram } from "./histogram";
import { FirstTrace } from "./projects";
import { type Page, PAGE, type PageArguments, type Rows } from "./rows";
import { Actions, Downloads, type Marked } from "./selection";

const TracePanel = lazy(() => import("./trace").then(({ TracePanel }) => TracePanel));

type TraceRow = NonNullable<TracesQuery["traces"]>["nodes"][number];
type Hit = NonNullable<SearchQuery["search"]>["nodes"][number];

/** A row of any mode, as the table shows it. */
interface Row extends Partial<CallRowFragment> {
  traceId: string;
  /** Call that represents the row: the call itself, or the root of a trace. */
  callId: string | null;
  name: string;
  numCalls?: number;
  numErrors?: number;
  highlights?: Hit["highlights"];
}

const ofTrace = ({ name, kind, status, startedAt, root, ...rest }: TraceRow): Row => ({
  ...rest,
  kind,
  ...(status && { status }),
  ...(startedAt && { startedAt }),
  ...(root && { ref: root.ref }),
  callId: root?.id ?? null,
  name: name ?? "",
});
const ofCall = (call: CallRowFragment): Row => ({ ...call, callId: call.id, name: call.traceName });

type ListColumn = Column<Row> & { only?: "traces" | "calls"; isHidden?: boolean };

const COLUMNS: readonly ListColumn[] = [
  {
    id: "status",
    title: <span class="unseen">Status and kind</span>,
    width: 44,
    cell: (row) => (
      <>
        <Status status={row.status} /> <Kind kind={row.kind} />
      </>
    ),
  },
  { id: "name", title: "Name", width: 220, cell: (row) => row.name, text: (row) => row.name },
  { id: "started", title: "Started", width: 132, sort: "started_at", cell: (row) => <Time at={row.startedAt} /> },
  {
    id: "latency",
    title: "Duration",
    width: 92,
    isNumber: true,
    sort: "latency_ms",
    cell: (row) => (row.status === "RUNNING" ? "running" : duration(row.latencyMs)),
  },
  { id: "cost", title: "Cost", width: 84, isNumber: true, sort: "total_cost", cell: (row) => money(row.totalCost) },
  {
    id: "tokens",
    title: "Tokens",
    width: 84,
    isNumber: true,
    sort: "total_tokens",
    cell: (row) => count(row.totalTokens),
    text: (row) => (row.totalTokens == null ? undefined : exactCount(row.totalTokens)),
  },
  {
    id: "calls",
    title: "Calls",
    width: 68,
    isNumber: true,
    sort: "num_calls",
    only: "traces",
    cell: (row) => count(row.numCalls),
  },
  {
    id: "errors",
    title: "Errors",
    width: 68,
    isNumber: true,
    sort: "num_errors",
    only: "traces",
    cell: (row) => (row.numErrors ? <span class="error">{count(row.numErrors)}</span> : ""),
  },
  {
    id: "model",
    title: "Model",
    width: 140,
    only: "calls",
    cell: (row) => row.model,
    text: (row) => row.model ?? undefined,
  },
  { id: "user", title: "User", width: 116, cell: (row) => row.userId, text: (row) => row.userId ?? undefined },
  {
    id: "thread",
    title: "Thread",
    width: 116,
    cell: (row) => row.threadId && <a href={there("threads", { thread: row.threadId })}>{row.threadId}</a>,
    text: (row) => row.threadId ?? undefined,
  },
  {
    id: "tags",
    title: "Tags",
    width: 150,
    cell: (row) =>
      row.tags?.map((tag) => (
        <span class="tag" key={tag}>
          {tag}
        </span>
      )),
    text: (row) => row.tags?.join(", "),
  },
  { id: "environment", title: "Environment", width: 110, isHidden: true, cell: (row) => row.environment },
  { id: "release", title: "Release", width: 90, isHidden: true, cell: (row) => row.release },
  { id: "error", title: "Error type", width: 140, only: "calls", isHidden: true, cell: (row) => row.errorType },
];

const FOUND: ListColumn = { id: "found", title: "Found", width: 420, cell: (row) => <Highlights row={row} /> };

const MODES: readonly Mode[] = ["traces", "roots", "calls"];
const modeOf = (text: string | null): Mode => MODES.find((mode) => mode === text) ?? "traces";

/** Milliseconds for which the count and the histogram wait for the first rows. */
const MOST_PATIENCE = 300;

export function Traces({ project }: { project: string }) {
  const state = address.value;
  const words = state.get("q")?.trim() || null;
  const mode = words === null ? modeOf(state.get("m")) : "calls";
  const chips = state.getAll("f").flatMap((text) => parseChip(text) ?? []);
  const dsl = parsedDsl(state.get("dsl"));
  // Relative bounds move with a new list, not with each second.
  const [listedAt, setListedAt] = useState(() => Date.now());
  const period: Period = { after: bound(state.get("from"), listedAt), before: bound(state.get("to"), listedAt) };
  const found = condition(chips, period, mode, dsl instanceof Error ? null : dsl);
  const identity = JSON.stringify([project, mode, words, found, state.get("s"), listedAt]);
  const again = () => setListedAt(Date.now());
  // The first rows have the server to themselves: the count and the histogram wait for them, unless they are slow.
  const isListed = useSignal(false);
  const onListed = () => (isListed.value = true);
  useEffect(() => {
    const timer = setTimeout(onListed, MOST_PATIENCE);
    return () => clearTimeout(timer);
  }, []);
  const total = useCount(project, mode, isListed.value ? found : null, listedAt);
  const isFiltered = chips.length > 0 || dsl !== null || words !== null || Boolean(period.after ?? period.before);

  if (total.data === 0 && !isFiltered) return <Waiting project={project} onArrival={again} />;
  return (
    <main class="traces">
      <h1 class="unseen">
        {mode} of {project}
      </h1>
      <CallFilterBar project={project} mode={mode} chips={chips} found={found} dsl={dsl} />
      <Histogram
        project={project}
        mode={mode}
        found={found}
        period={period}
        listedAt={listedAt}
        isWaiting={!isListed.value}
      />
      <Table
        key={identity}
        project={project}
        mode={mode}
        words={words}
        found={found}
        total={total}
        again={again}
        isFiltered={isFiltered}
        onListed={onListed}
      />
    </main>
  );
}

function parsedDsl(text: string | null): unknown {
  if (!text) return null;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    return error as Error;
  }
}

interface Total {
  data: number | null;
  error: ApiError | null;
}

/** Count the rows that are found; `found` null means that there is nothing to count yet. */
function useCount(project: string, mode: Mode, found: Condition | null, listedAt: number): Total {
  const isOfTraces = mode === "traces";
  const options = { isShown: false, again: listedAt };
  const ofTraces = useQuery(
    TracesCountDocument,
    found && isOfTraces ? { projectId: project, ...found } : null,
    options,
  );
  const ofCalls = useQuery(
    CallsCountDocument,
    found && !isOfTraces ? { projectId: project, filter: found.filter, query: found.query } : null,
    options,
  );
  return isOfTraces
    ? { data: ofTraces.data?.traces?.totalCount ?? null, error: ofTraces.error }
    : { data: ofCalls.data?.callsStats?.count ?? null, error: ofCalls.error };
}

/** The empty project, which reacts when its first call arrives. */
function Waiting({ project, onArrival }: { project: string; onArrival: () => void }) {
  useEffect(() => {
    const abort = new AbortController();
    const arrived = ({ callEvents }: { callEvents: { cursor: string } }) => {
      onArrival();
      return callEvents.cursor;
    };
    const start = async () => {
      const { callEventsCursor } = await ask(EventsCursorDocument, { projectId: project }, abort.signal);
      const variables = { projectId: project, after: callEventsCursor };
      watch(NewCallsDocument, variables, abort.signal, arrived, () => undefined);
      // A call may have arrived since the page counted none.
      onArrival();
    };
    // Without a cursor the page still reacts to a reload; the count tells what is wrong with the server.
    start().catch(() => undefined);
    return () => abort.abort();
  }, [project]);
  return (
    <main>
      <FirstTrace project={project} />
    </main>
  );
}

/** Return a function that reads a page of a list. */
function reader(project: string, mode: Mode, words: string | null, found: Condition, sortBy: SortBy[]) {
  const { filter, query, totals } = found;
  const shared = { projectId: project, filter, query };
  return async (page: PageArguments, abort: AbortSignal): Promise<Page<Row> | null> => {
    if (words !== null) {
      const { search } = await ask(SearchDocument, { ...shared, text: words, ...page }, abort);
      const ofHit = ({ call, highlights }: Hit): Row => ({ ...ofCall(call), highlights });
      return search && { ...search, nodes: search.nodes.map(ofHit) };
    }
    if (mode === "traces") {
      const { traces } = await ask(TracesDocument, { ...shared, totals, sortBy, ...page }, abort);
      return traces && { ...traces, nodes: traces.nodes.map(ofTrace) };
    }
    const { calls } = await ask(CallsDocument, { ...shared, sortBy, ...page }, abort);
    return calls && { ...calls, nodes: calls.nodes.map(ofCall) };
  };
}

function Table({
  project,
  mode,
  words,
  found,
  total,
  again,
  isFiltered,
  onListed,
}: {
  project: string;
  mode: Mode;
  words: string | null;
  found: Condition;
  total: Total;
  again: () => void;
  isFiltered: boolean;
  onListed: () => void;
}) {
  const sort = address.value.get("s");
  const sortBy = sortOf(sort ?? "-started_at");
  const rows = useRows<Row>(reader(project, mode, words, found, sortBy), [], { hasOffset: words === null });
  const isAnswered = rows.isRead || rows.error.value !== null;
  useEffect(() => {
    if (isAnswered) onListed();
  }, [isAnswered]);
  const { filter, query, totals } = found;
  const shared = { projectId: project, filter, query, first: PAGE };
  const [document, rest] =
    words !== null
      ? [SearchDocument, { text: words }]
      : mode === "traces"
        ? [TracesDocument, { totals, sortBy }]
        : [CallsDocument, { sortBy }];
  useShown(document, { ...shared, ...rest });

  const number = rows.end.value ?? (words === null ? total.data : null) ?? (rows.isRead ? rows.known + 1 : 40);
  const [shown, setShown] = useState<[number, number]>([0, 0]);
  const { columns, paths, usable, isVisible, setVisible, addPath } = useColumns(mode, words !== null);
  const values = usePathValues(project, paths, rows, shown);
  const [marked, setMarked] = useMarked(project);
  const selected = address.value.get(mode === "traces" ? "t" : "call");
  const hasDrawer = address.value.get("t") !== null;
  const key = (row: Row) => (mode === "traces" ? row.traceId : (row.callId ?? row.traceId));
  const link = (row: Row) => ({ t: row.traceId, call: mode === "traces" ? null : row.callId });
  const error = rows.error.value ?? total.error;
  // Without a filter, the count decides whether the project has calls at all.
  const isEmpty = !error && rows.end.value === 0 && (isFiltered || total.data !== null);
  const allColumns: Column<Row>[] = [
    ...columns,
    ...paths.map((path) => ({
      id: path,
      title: <span title={path}>{path}</span>,
      width: 200,
      ...(mode !== "traces" && { sort: path }),
      cell: (row: Row) => values.text(path, row.callId),
      text: (row: Row) => values.text(path, row.callId),
    })),
  ];
  const mark = (row: Row, isMarked: boolean) => {
    const { callId, ref, traceId } = row;
    const rest = marked.filter((each) => each.callId !== callId);
    setMarked(isMarked && callId && ref ? [...rest, { callId, ref, traceId }] : rest);
  };

  return (
    <div class="split">
      <div class="list">
        <div class="bar">
          <span class="tabs" role="group" aria-label="Rows">
            {MODES.map((each) => (
              <a
                key={each}
                href={here({ m: each === "traces" ? null : each, s: null, q: null, t: null, call: null })}
                aria-current={words === null && each === mode}
              >
                {each === "calls" ? "all calls" : each}
              </a>
            ))}
          </span>
          <span class="muted" role="status">
            {words !== null
              ? `${exactCount(rows.end.value ?? rows.known)}${rows.end.value === null ? "+" : ""} calls found`
              : total.data === null
                ? "…"
                : `${exactCount(total.data)} ${mode}`}
          </span>
          <Live
            project={project}
            mode={mode}
            found={found}
            again={again}
            isListed={(call) =>
              rows.find((row) => (mode === "traces" ? row.traceId === call.traceId : row.callId === call.id)) !==
              undefined
            }
          />
          <Popover label="Columns">
            {() => (
              <fieldset>
                <legend class="unseen">Columns</legend>
                {usable.slice(2).map((column) => (
                  <label key={column.id}>
                    <input
                      type="checkbox"
                      checked={isVisible(column)}
                      onChange={(event) => setVisible(column, event.currentTarget.checked)}
                    />{" "}
                    {column.title}
                  </label>
                ))}
                {paths.map((path) => (
                  <label key={path}>
                    <input type="checkbox" checked onChange={() => addPath(path, false)} /> {path}
                  </label>
                ))}
                <input
                  type="text"
                  aria-label="Path of a new column"
                  placeholder="inputs.question"
                  onKeyDown={(event) => {
                    if (event.key !== "Enter") return;
                    event.preventDefault();
                    const path = event.currentTarget.value.trim();
                    if (/^(inputs|output|attributes|summary)(\.|$)/.test(path)) addPath(path, true);
                    else
                      event.currentTarget.setCustomValidity(
                        "A path begins with inputs, output, attributes or summary.",
                      );
                    event.currentTarget.reportValidity();
                  }}
                  onInput={(event) => event.currentTarget.setCustomValidity("")}
                />
              </fieldset>
            )}
          </Popover>
          <Popover label="Download">{() => <Downloads project={project} found={found} />}</Popover>
          <Actions project={project} marked={marked} clear={() => setMarked([])} again={again} />
        </div>
        {error && <Problem error={error} retry={() => (rows.error.value ? rows.retry() : again())} />}
        {rows.error.value && !rows.isRead ? null : isEmpty ? (
          <Empty title={words === null ? `No ${mode} match` : `No call contains “${words}”`}>
            <p>
              {isFiltered ? "Remove a condition, or widen the range of times. " : ""}
              {isFiltered && <a href={here({ f: null, q: null, dsl: null, from: null, to: null })}>Show all</a>}
            </p>
          </Empty>
        ) : (
          <Grid
            label={mode}
            columns={allColumns}
            count={number}
            at={(index) => rows.at(index)}
            need={(from, to) => {
              rows.need(from, to);
              if (paths.length > 0 && (from !== shown[0] || to !== shown[1])) setShown([from, to]);
            }}
            id={key}
            href={(row) => there("trace", link(row))}
            selected={selected}
            onSelect={(row) => go(here(link(row)), { replace: hasDrawer })}
            onOpen={(row) => go(there("trace", link(row)))}
            sort={words === null ? (sort ?? "-started_at") : null}
            onSort={(next) => go(here({ s: next }))}
            marked={new Set(marked.map(({ callId, traceId }) => (mode === "traces" ? traceId : callId)))}
            onMark={mark}
          />
        )}
      </div>
      {hasDrawer && (
        <Drawer>
          <Suspense fallback={<Skeleton />}>
            <TracePanel
              key={address.value.get("t")}
              project={project}
              traceId={address.value.get("t") ?? ""}
              isDrawer
            />
          </Suspense>
        </Drawer>
      )}
    </div>
  );
}

/** Number of marked rows up to which they are in the address. */
const MOST_MARKS = 20;

/** Return the marked rows of a list, which are in the address unless they are many, and a function that sets them. */
function useMarked(project: string): [readonly Marked[], (next: readonly Marked[]) => void] {
  const ids = address.value.getAll("mark");
  const [many, setMany] = useState<readonly Marked[] | null>(null);
  const known = useMemo(() => new Map<string, Marked>(), [project]);
  const callIds = ids.filter((id) => !known.has(id)).slice(0, MOST_MARKS);
  const given = callIds.length > 0 ? { projectId: project, callIds } : null;
  const { data } = useQuery(MarkedCallsDocument, given, { isShown: false });
  for (const { id, ref, traceId } of data?.calls?.nodes ?? []) known.set(id, { callId: id, ref, traceId });
  const set = (next: readonly Marked[]) => {
    for (const each of next) known.set(each.callId, each);
    const isFew = next.length <= MOST_MARKS;
    setMany(isFew ? null : next);
    const unread = data ? [] : callIds; // marks of a link that are still being read stay
    go(here({ mark: isFew ? [...unread, ...next.map(({ callId }) => callId)] : null }), { replace: true });
  };
  return [ids.length > 0 ? ids.flatMap((id) => known.get(id) ?? []) : (many ?? []), set];
}

/**
 * Return the columns of a list. The address has the difference from the usual ones: `+release` shows one, `-tags` hides
 * one, and a path such as inputs.question adds one.
 */
function useColumns(mode: Mode, isSearch: boolean) {
  const changes = address.value.getAll("col");
  const isVisible = ({ id, isHidden }: ListColumn) =>
    changes.includes(`+${id}`) ? true : changes.includes(`-${id}`) ? false : !isHidden;
  const usable = COLUMNS.filter(({ only }) => !only || (only === "traces") === (mode === "traces"));
  const paths = changes.filter((change) => !/^[+-]/.test(change)).slice(0, 8);
  const set = (next: string[]) => go(here({ col: next }), { replace: true });
  const setVisible = ({ id, isHidden }: ListColumn, visible: boolean) => {
    const rest = changes.filter((change) => change !== `+${id}` && change !== `-${id}`);
    set(visible === !isHidden ? rest : [...rest, `${visible ? "+" : "-"}${id}`]);
  };
  const addPath = (path: string, isAdded: boolean) =>
    set([...changes.filter((change) => change !== path), ...(isAdded ? [path] : [])]);
  const columns = usable.filter(isVisible);
  if (isSearch) columns.splice(2, 0, FOUND);
  return { columns, paths, usable, isVisible, setVisible, addPath };
}

const NO_PATHS = { hasInputs: false, hasOutput: false, hasAttributes: false, hasSummary: false };

/** Read the values at some paths of the calls on the screen; those that were read stay known. */
function usePathValues(project: string, paths: readonly string[], rows: Rows<Row>, [from, to]: [number, number]) {
  const known = useMemo(() => new Map<string, unknown>(), [project]);
  const version = useSignal(0);
  useEffect(() => {
    const ids = new Set<string>();
    for (let index = from; index < to; index++) {
      const id = rows.at(index)?.callId;
      if (id) ids.add(id);
    }
    const abort = new AbortController();
    for (const path of paths) {
      const missing = [...ids].filter((id) => !known.has(`${path} ${id}`)).slice(0, 100);
      if (missing.length === 0) continue;
      const [field = "", rest] = [path.split(".", 1)[0], path.slice(path.indexOf(".") + 1)];
      const has = `has${field[0]?.toUpperCase()}${field.slice(1)}`;
      const variables = {
        projectId: project,
        callIds: missing,
        ...NO_PATHS,
        [has]: true,
        [field]: path.includes(".") ? rest : null,
      };
      ask(ValuesDocument, variables, abort.signal).then(
        ({ calls }) => {
          for (const call of calls?.nodes ?? [])
            known.set(`${path} ${call.id}`, (call as Record<string, unknown>)[field]);
          version.value++;
        },
        () => undefined,
      );
    }
    return () => abort.abort();
  }, [project, paths.join("\n"), from, to, rows.version.value]);
  void version.value;
  const text = (path: string, id: string | null) => {
    const value = known.get(`${path} ${id}`);
    return value == null ? "" : (typeof value === "string" ? value : JSON.stringify(value)).slice(0, 500);
  };
  return { text };
}

/** Parts of a call that contain the searched words. */
function Highlights({ row }: { row: Row }) {
  return (
    <>
      {row.highlights?.map((found, at) => {
        const parts: preact.ComponentChildren[] = [];
        let reached = 0;
        // The API counts characters, and JavaScript UTF-16 units.
        const letters = [...found.snippet];
        for (const { start, end } of found.ranges) {
          parts.push(
            letters.slice(reached, start).join(""),
            <mark key={start}>{letters.slice(start, end).join("")}</mark>,
          );
          reached = end;
        }
        parts.push(letters.slice(reached).join(""));
        return (
          <span key={at} class="highlight" title={found.path ?? found.field.toLowerCase()}>
            {found.isCutBefore && "…"}
            {parts}
            {found.isCutAfter && "…"}{" "}
          </span>
        );
      })}
    </>
  );
}

/** Panel at the right of a list, of a width that a person chooses. */
function Drawer({ children }: { children: preact.ComponentChildren }) {
  const [width, setWidth] = useStored("drawer", 560);
  const close = () => go(here({ t: null, call: null, tab: null }));
  useKeys({ Escape: close });
  const drag = (event: PointerEvent) =>
    onDrag(event, (x) => setWidth(Math.min(window.innerWidth - 240, Math.max(320, window.innerWidth - x))));
  return (
    <aside class="drawer" style={{ width }} aria-label="Selected trace">
      <div class="edge" onPointerDown={drag} aria-hidden="true" />
      <button type="button" class="close" aria-label="Close the trace" title="Close (Esc)" onClick={close}>
        ✕
      </button>
      {children}
    </aside>
  );
}

/** Number of new rows up to which they are counted. */
const MOST_NEWS = 10_000;

/** Live mode: new rows wait behind a button, so that nothing moves. */
function Live({
  project,
  mode,
  found,
  again,
  isListed,
}: {
  project: string;
  mode: Mode;
  found: Condition;
  again: () => void;
  isListed: (call: { id: string; traceId: string }) => boolean;
}) {
  const listed = useRef(isListed);
  listed.current = isListed;
  const isOn = address.value.get("live") !== null;
  const waiting = useMemo(() => new Set<string>(), []);
  const number = useSignal(0);
  const problem = useSignal<string | null>(null);
  const { filter, query } = found;
  useEffect(() => {
    if (!isOn) return;
    const abort = new AbortController();
    const ofRoots = mode === "calls" ? filter : { ...filter, traceRootsOnly: true };
    const start = async () => {
      const { callEventsCursor } = await ask(EventsCursorDocument, { projectId: project }, abort.signal);
      const variables = { projectId: project, filter: ofRoots, query, after: callEventsCursor };
      watch(
        NewCallsDocument,
        variables,
        abort.signal,
        ({ callEvents: { type, call, cursor } }) => {
          // Bounded, so that an hour of events costs no memory. A call that ends is new if its start was not seen.
          const isNew = type === "STARTED" || (type === "ENDED" && !listed.current(call));
          if (isNew && waiting.size < MOST_NEWS) number.value = waiting.add(call.id).size;
          return cursor;
        },
        (error) => (problem.value = error?.message ?? null),
      );
    };
    start().catch((error: unknown) => {
      if (!abort.signal.aborted) problem.value = String(error);
    });
    return () => abort.abort();
  }, [isOn, project, mode, JSON.stringify(found)]);
  return (
    <span class="live">
      <a
        href={here({ live: isOn ? null : "" })}
        role="switch"
        aria-checked={isOn}
        title={problem.value ?? "Show new rows as they arrive"}
      >
        <span class={problem.value ? "error" : isOn ? "ok" : "muted"} aria-hidden="true">
          ●
        </span>{" "}
        Live
      </a>
      {isOn && number.value > 0 && (
        <button
          type="button"
          class="news"
          onClick={() => {
            waiting.clear();
            number.value = 0;
            again();
          }}
        >
          {count(number.value)}
          {number.value >= MOST_NEWS && "+"} new
        </button>
      )}
    </span>
  );
}
