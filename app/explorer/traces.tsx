// Lists of traces, roots or calls: filter bar, histogram, table, and a drawer with the selected trace.

import { useComputed, useSignal } from "@preact/signals";
import { lazy, Suspense } from "preact/compat";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { address, go, here, there } from "./address";
import { ApiError, ask, useQuery, useShown, watch } from "./api";
import { Empty, isUtc, Kind, Popover, Problem, Skeleton, Status, Time, useKeys, useSize } from "./components";
import { bound, bucketOf, type Chip, chipText, type Condition, condition, type Mode, NUMBERS, negated, OPERATORS, type Operator, parseChip, type Period } from "./filters";
import { absoluteTime, count, duration, exactCount, money } from "./formats";
import {
  CallsCountDocument,
  CallsDocument,
  type CallsQuery,
  EventsCursorDocument,
  FacetsDocument,
  HistogramDocument,
  NewCallsDocument,
  PathsDocument,
  type SortBy,
  TracesCountDocument,
  TracesDocument,
  type TracesQuery,
} from "./generated/graphql";
import { type Column, Grid } from "./grid";
import { FirstTrace, timezone } from "./projects";
import { Rows } from "./rows";

const TracePanel = lazy(() => import("./trace").then(({ TracePanel }) => TracePanel));

type TraceRow = NonNullable<TracesQuery["traces"]>["nodes"][number];
type CallRow = NonNullable<CallsQuery["calls"]>["nodes"][number];

/** A row of any mode, as the table shows it. */
interface Row extends Partial<Pick<CallRow, "model" | "errorType">> {
  key: string;
  traceId: string;
  callId: string | null;
  name: string;
  kind: CallRow["kind"];
  status: CallRow["status"] | null;
  startedAt: string | null;
  latencyMs: number | null;
  totalTokens: number | null;
  totalCost: number | null;
  numCalls: number | null;
  numErrors: number | null;
  userId: string | null;
  threadId: string | null;
  tags: string[] | null;
  environment: string | null;
  release: string | null;
}

const ofTrace = (trace: TraceRow): Row => ({ ...trace, key: trace.traceId, callId: null, name: trace.name ?? "" });
const ofCall = (call: CallRow): Row => ({
  ...call,
  key: call.id,
  callId: call.id,
  name: call.traceName,
  numCalls: null,
  numErrors: null,
});

const COLUMNS: readonly (Column<Row> & { only?: "traces" | "calls"; isHidden?: boolean })[] = [
  { id: "status", title: "", width: 44, cell: (row) => <><Status status={row.status} /> <Kind kind={row.kind} /></> },
  { id: "name", title: "Name", width: 220, cell: (row) => row.name, text: (row) => row.name },
  { id: "started", title: "Started", width: 132, sort: "started_at", cell: (row) => <Time at={row.startedAt} /> },
  { id: "latency", title: "Duration", width: 92, isNumber: true, sort: "latency_ms", cell: (row) => (row.status === "RUNNING" ? "running" : duration(row.latencyMs)) },
  { id: "cost", title: "Cost", width: 84, isNumber: true, sort: "total_cost", cell: (row) => money(row.totalCost) },
  { id: "tokens", title: "Tokens", width: 84, isNumber: true, sort: "total_tokens", cell: (row) => count(row.totalTokens), text: (row) => (row.totalTokens == null ? undefined : exactCount(row.totalTokens)) },
  { id: "calls", title: "Calls", width: 68, isNumber: true, sort: "num_calls", only: "traces", cell: (row) => count(row.numCalls) },
  { id: "errors", title: "Errors", width: 68, isNumber: true, sort: "num_errors", only: "traces", cell: (row) => (row.numErrors ? <span class="error">{count(row.numErrors)}</span> : "") },
  { id: "model", title: "Model", width: 140, only: "calls", cell: (row) => row.model, text: (row) => row.model ?? undefined },
  { id: "user", title: "User", width: 116, cell: (row) => row.userId, text: (row) => row.userId ?? undefined },
  { id: "thread", title: "Thread", width: 116, cell: (row) => row.threadId && <a href={there("threads", { thread: row.threadId })}>{row.threadId}</a>, text: (row) => row.threadId ?? undefined },
  { id: "tags", title: "Tags", width: 150, cell: (row) => row.tags?.map((tag) => <span class="tag" key={tag}>{tag}</span>), text: (row) => row.tags?.join(", ") },
  { id: "environment", title: "Environment", width: 110, isHidden: true, cell: (row) => row.environment },
  { id: "release", title: "Release", width: 90, isHidden: true, cell: (row) => row.release },
  { id: "error", title: "Error type", width: 140, only: "calls", isHidden: true, cell: (row) => row.errorType },
];

const MODES: readonly Mode[] = ["traces", "roots", "calls"];
const modeOf = (text: string | null): Mode => MODES.find((mode) => mode === text) ?? "traces";

export function Traces({ project }: { project: string }) {
  const state = address.value;
  const mode = modeOf(state.get("m"));
  const chips = state.getAll("f").flatMap((text) => parseChip(text) ?? []);
  const dsl = parsedDsl(state.get("dsl"));
  // Relative bounds move with a new list, not with each second.
  const [listedAt, setListedAt] = useState(() => Date.now());
  const period: Period = { after: bound(state.get("from"), listedAt), before: bound(state.get("to"), listedAt) };
  const found = condition(chips, period, mode, dsl instanceof Error ? null : dsl);
  const sort = state.get("s");
  const identity = JSON.stringify([project, mode, found, sort, listedAt]);
  const again = () => setListedAt(Date.now());
  const total = useCount(project, mode, found, identity);
  const isFiltered = chips.length > 0 || dsl !== null || period.after !== undefined || period.before !== undefined;

  if (total.data === 0 && !isFiltered) return <Waiting project={project} onArrival={again} />;
  return (
    <main class="traces">
      <FilterBar project={project} mode={mode} chips={chips} found={found} dsl={dsl} />
      <Histogram project={project} mode={mode} found={found} period={period} listedAt={listedAt} />
      <Table key={identity} project={project} mode={mode} found={found} sort={sort} total={total} again={again} isFiltered={isFiltered} />
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

function useCount(project: string, mode: Mode, found: Condition, identity: string) {
  const ofTraces = useQuery(TracesCountDocument, mode === "traces" ? { projectId: project, ...found } : null, { isShown: false });
  const { filter, query } = found;
  const ofCalls = useQuery(CallsCountDocument, mode === "traces" ? null : { projectId: project, filter, query }, { isShown: false });
  void identity;
  return mode === "traces"
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
    watch(NewCallsDocument, { projectId: project }, abort.signal, arrived, () => undefined);
    return () => abort.abort();
  }, [project]);
  return (
    <main>
      <FirstTrace project={project} />
    </main>
  );
}

function Table({ project, mode, found, sort, total, again, isFiltered }: {
  project: string;
  mode: Mode;
  found: Condition;
  sort: string | null;
  total: { data: number | null; error: ApiError | null };
  again: () => void;
  isFiltered: boolean;
}) {
  const sortBy: SortBy[] = [
    { field: sort?.replace(/^-/, "") ?? "started_at", direction: sort && !sort.startsWith("-") ? "ASC" : "DESC" },
  ];
  const { filter, query, totals } = found;
  const rows = useMemo(
    () =>
      new Rows<Row>(async (page, abort) => {
        const empty = { nodes: [], pageInfo: { hasNextPage: false } };
        if (mode === "traces") {
          const { traces } = await ask(TracesDocument, { projectId: project, filter, query, totals, sortBy, ...page }, abort);
          return traces ? { ...traces, nodes: traces.nodes.map(ofTrace) } : empty;
        }
        const { calls } = await ask(CallsDocument, { projectId: project, filter, query, sortBy, ...page }, abort);
        return calls ? { ...calls, nodes: calls.nodes.map(ofCall) } : empty;
      }),
    [],
  );
  useEffect(() => () => rows.stop(), []);
  useShown(mode === "traces" ? TracesDocument : CallsDocument, {
    projectId: project,
    filter,
    query,
    ...(mode === "traces" && { totals }),
    sortBy,
    first: 100,
  });
  void rows.version.value;
  const number = rows.end.value ?? total.data ?? (rows.isRead ? 1_000 : 40);
  const selected = address.value.get("t");
  const [widths, setWidths] = useStored<Record<string, number>>("widths", {});
  const [hidden, setHidden] = useStored<Record<string, boolean>>("hidden", {});
  const isOfMode = ({ only }: (typeof COLUMNS)[number]) => !only || (only === "traces") === (mode === "traces");
  const usable = COLUMNS.filter(isOfMode);
  const columns = usable
    .filter(({ id, isHidden }) => !(hidden[id] ?? isHidden ?? false))
    .map((column) => ({ ...column, width: widths[column.id] ?? column.width }));
  const link = (row: Row) => ({ t: row.traceId, call: row.callId });
  const error = rows.error.value ?? total.error;

  return (
    <div class="split">
      <div class="list">
        <div class="bar">
          <span class="tabs" role="group" aria-label="Rows">
            {MODES.map((each) => (
              <a key={each} href={here({ m: each === "traces" ? null : each, s: null, t: null, call: null })} aria-current={each === mode}>
                {each === "calls" ? "all calls" : each}
              </a>
            ))}
          </span>
          <span class="muted" role="status">
            {total.data === null ? "…" : `${exactCount(total.data)} ${mode}`}
          </span>
          <Live project={project} mode={mode} found={found} again={again} />
          <Popover label="Columns">
            {() => (
              <fieldset>
                <legend class="unseen">Columns</legend>
                {usable.slice(2).map(({ id, title, isHidden }) => (
                  <label key={id}>
                    <input
                      type="checkbox"
                      checked={!(hidden[id] ?? isHidden ?? false)}
                      onChange={(event) => setHidden({ ...hidden, [id]: !event.currentTarget.checked })}
                    />{" "}
                    {title}
                  </label>
                ))}
              </fieldset>
            )}
          </Popover>
        </div>
        {error && <Problem error={error} retry={() => (rows.error.value ? rows.retry() : again())} />}
        {!error && rows.end.value === 0 ? (
          <Empty title={`No ${mode} match`}>
            <p>
              {isFiltered ? "Remove a condition, or widen the range of times. " : ""}
              {isFiltered && <a href={here({ f: null, dsl: null, from: null, to: null })}>Show all</a>}
            </p>
          </Empty>
        ) : (
          <Grid
            label={mode}
            columns={columns}
            count={number}
            at={(index) => rows.at(index)}
            need={(from, to) => rows.need(from, to)}
            id={(row) => (mode === "traces" ? row.traceId : row.key)}
            href={(row) => there("trace", link(row))}
            selected={mode === "traces" ? selected : address.value.get("call")}
            onSelect={(row) => go(here(link(row)), { replace: selected !== null })}
            onOpen={(row) => go(there("trace", link(row)))}
            sort={sort ?? "-started_at"}
            onSort={(next) => go(here({ s: next }))}
            onResize={(column, width) => setWidths({ ...widths, [column]: width })}
          />
        )}
      </div>
      {selected && (
        <Drawer>
          <Suspense fallback={<Skeleton />}>
            <TracePanel project={project} traceId={selected} isDrawer />
          </Suspense>
        </Drawer>
      )}
    </div>
  );
}

/** Panel at the right of a list, of a width that a person chooses. */
function Drawer({ children }: { children: preact.ComponentChildren }) {
  const [width, setWidth] = useStored("drawer", 560);
  const close = () => go(here({ t: null, call: null, tab: null }));
  useKeys({ Escape: close });
  const drag = (event: PointerEvent) => {
    event.preventDefault();
    const handle = event.currentTarget as HTMLElement;
    handle.setPointerCapture(event.pointerId);
    const onMove = (moved: PointerEvent) =>
      setWidth(Math.min(window.innerWidth - 240, Math.max(320, window.innerWidth - moved.clientX)));
    handle.addEventListener("pointermove", onMove);
    handle.addEventListener("lostpointercapture", () => handle.removeEventListener("pointermove", onMove), { once: true });
  };
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

/** Return a state that this browser keeps. */
export function useStored<T>(name: string, initial: T): [T, (value: T) => void] {
  const stored = `loomql:explorer:${name}`;
  const [value, setValue] = useState<T>(() => {
    try {
      return (JSON.parse(localStorage.getItem(stored) ?? "null") as T | null) ?? initial;
    } catch {
      return initial;
    }
  });
  const set = (next: T) => {
    setValue(next);
    try {
      localStorage.setItem(stored, JSON.stringify(next));
    } catch {
      // A browser without storage forgets it, which costs nothing else.
    }
  };
  return [value, set];
}

/** Live mode: new rows wait behind a button, so that nothing moves. */
function Live({ project, mode, found, again }: { project: string; mode: Mode; found: Condition; again: () => void }) {
  const isOn = address.value.get("live") !== null;
  const waiting = useSignal<ReadonlySet<string>>(new Set());
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
          if (type === "STARTED" || type === "ENDED") waiting.value = new Set([...waiting.value, call.id].slice(-10_000));
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
  const number = useComputed(() => waiting.value.size);
  return (
    <span class="live">
      <a href={here({ live: isOn ? null : "" })} role="switch" aria-checked={isOn} title={problem.value ?? "Show new rows as they arrive"}>
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
            waiting.value = new Set();
            again();
          }}
        >
          {count(number.value)} new
        </button>
      )}
    </span>
  );
}

/** Bars of calls over time, stacked by error or not; a drag chooses a range of times. */
function Histogram({ project, mode, found, period, listedAt }: {
  project: string;
  mode: Mode;
  found: Condition;
  period: Period;
  listedAt: number;
}) {
  const [box, { width, height }] = useSize<HTMLDivElement>();
  const filter = mode === "calls" ? found.filter : { ...found.filter, traceRootsOnly: true };
  const to = period.before ? Date.parse(period.before) : listedAt;
  const from = period.after ? Date.parse(period.after) : null;
  const bucket = from === null ? "DAY" : bucketOf(from, to);
  const { data } = useQuery(HistogramDocument, { projectId: project, filter, query: found.query, bucket, timezone: timezone() }, { pause: 50 });
  const rows = (data?.callsAggregate?.rows ?? []).flatMap(({ bucketStart, bucketEnd, count, errorCount }) =>
    bucketStart && bucketEnd ? { start: Date.parse(bucketStart), end: Date.parse(bucketEnd), count, errorCount } : [],
  );
  const first = from ?? Math.min(...rows.map((row) => row.start), to - 86_400_000);
  const last = period.before ? to : Math.max(...rows.map((row) => row.end), first + 1);
  const most = Math.max(1, ...rows.map((row) => row.count));
  const x = (time: number) => ((time - first) / (last - first)) * width;
  const y = (value: number) => (value / most) * (height - 4);
  const [brush, setBrush] = useState<[number, number] | null>(null);
  const [hovered, setHovered] = useState<number | null>(null);
  const time = (pixel: number) => first + (Math.min(width, Math.max(0, pixel)) / Math.max(width, 1)) * (last - first);
  const pixel = (event: PointerEvent) => event.clientX - (box.current?.getBoundingClientRect().left ?? 0);
  const onDown = (event: PointerEvent) => {
    (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
    setBrush([pixel(event), pixel(event)]);
  };
  const onMove = (event: PointerEvent) => {
    setHovered(pixel(event));
    if (brush) setBrush([brush[0], pixel(event)]);
  };
  const onUp = () => {
    if (brush && Math.abs(brush[1] - brush[0]) > 3) {
      const [low, high] = [Math.min(...brush), Math.max(...brush)].map(time) as [number, number];
      go(here({ from: new Date(low).toISOString(), to: new Date(high).toISOString() }));
    }
    setBrush(null);
  };
  const under = hovered === null ? undefined : rows.find((row) => x(row.start) <= hovered && hovered < x(row.end));
  return (
    <div class="histogram" ref={box} onPointerDown={onDown} onPointerMove={onMove} onPointerUp={onUp} onPointerLeave={() => setHovered(null)}>
      <svg width={width} height={height} role="img" aria-label="Number of rows over time">
        {rows.map((row) => {
          const [left, right] = [x(row.start), Math.max(x(row.start) + 1, x(row.end) - 1)];
          return (
            <g key={row.start}>
              <rect class="bar" x={left} width={right - left} y={height - y(row.count)} height={y(row.count)} />
              <rect class="bar-error" x={left} width={right - left} y={height - y(row.errorCount)} height={y(row.errorCount)} />
            </g>
          );
        })}
        {brush && <rect class="brush" x={Math.min(...brush)} width={Math.abs(brush[1] - brush[0])} y={0} height={height} />}
      </svg>
      <span class="hint muted">
        {under
          ? `${absoluteTime(under.start, isUtc())} · ${exactCount(under.count)} · ${exactCount(under.errorCount)} errors`
          : rows.length > 0 && `${absoluteTime(first, isUtc()).slice(0, 16)} to ${absoluteTime(last, isUtc()).slice(0, 16)} · drag to zoom`}
      </span>
    </div>
  );
}

const FIELDS = ["status", "kind", "name", "model", "provider", "user_id", "tags", "environment", "release", "error_type", "thread_id", "finish_reasons", "latency_ms", "total_tokens", "total_cost", "num_calls", "num_errors", "time_to_first_token_ms", "exception"];
const WITH_FACETS = new Set(["status", "kind", "model", "provider", "user_id", "tags", "environment", "release", "error_type", "finish_reasons", "op_name", "thread_id"]);

function FilterBar({ project, mode, chips, found, dsl }: {
  project: string;
  mode: Mode;
  chips: readonly Chip[];
  found: Condition;
  dsl: unknown;
}) {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState("");
  const [isOpen, setOpen] = useState(false);
  const [isExpert, setExpert] = useState(dsl !== null);
  useKeys({ "/": () => input.current?.focus() });
  const set = (next: readonly Chip[]) => go(here({ f: next.map(chipText), t: null, call: null }));
  const typed = /^\s*([\w.\\-]+)\s*(!=|>=|<=|=|>|<|~)\s*(.*)$/.exec(text);
  const signs: Record<string, Operator> = { "=": "is", "!=": "is-not", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "~": "contains" };
  const field = typed?.[1];
  const add = (chip: Chip) => {
    setText("");
    setOpen(false);
    set([...chips, chip]);
  };
  const submit = (event: Event) => {
    event.preventDefault();
    if (typed?.[1] && typed[2] && typed[3]) add({ field: typed[1], operator: signs[typed[2]] as Operator, value: typed[3] });
  };
  return (
    <form class="filters" onSubmit={submit}>
      {chips.map((chip, at) => (
        <ChipButton key={chipText(chip)} chip={chip} onChange={(next) => set(chips.flatMap((each, place) => (place === at ? (next ?? []) : each)))} />
      ))}
      <div class="typing" onFocusOut={(event) => (event.currentTarget as HTMLElement).contains(event.relatedTarget as Node) || setOpen(false)}>
        <input
          ref={input}
          type="text"
          role="combobox"
          aria-expanded={isOpen}
          aria-label="Add a filter"
          placeholder="Filter: field = value   ( / )"
          value={text}
          onFocus={() => setOpen(true)}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setOpen(true);
          }}
          onKeyDown={(event) => {
            if (event.key === "Escape") {
              setOpen(false);
              event.currentTarget.blur();
            } else if (event.key === "Backspace" && !text && chips.length > 0) set(chips.slice(0, -1));
          }}
        />
        {isOpen && (
          <div class="panel" role="listbox">
            {field ? (
              <Values project={project} field={field} typed={typed?.[3] ?? ""} found={found} mode={mode} onChoose={(value) => add({ field, operator: signs[typed?.[2] ?? "="] as Operator, value })} />
            ) : (
              <Fields project={project} typed={text.trim()} onChoose={(name) => { setText(`${name} ${NUMBERS.has(name) ? ">" : "="} `); input.current?.focus(); }} />
            )}
          </div>
        )}
      </div>
      <button type="button" aria-pressed={isExpert} onClick={() => setExpert(!isExpert)}>
        Advanced
      </button>
      {isExpert && <Expert dsl={dsl} />}
    </form>
  );
}

function ChipButton({ chip, onChange }: { chip: Chip; onChange: (next: Chip | null) => void }) {
  const opposite = negated(chip);
  const [value, setValue] = useState(chip.value);
  return (
    <span class="chip">
      <Popover label={<>{chip.field} <i>{OPERATORS[chip.operator]}</i> {chip.value}</>} title="Edit this condition">
        {(close) => (
          <div class="edit">
            <select aria-label="Operator" value={chip.operator} onChange={(event) => onChange({ ...chip, operator: event.currentTarget.value as Operator })}>
              {Object.entries(OPERATORS).map(([operator, name]) => (
                <option key={operator} value={operator}>{name}</option>
              ))}
            </select>
            <input
              type="text"
              aria-label="Value"
              value={value}
              onInput={(event) => setValue(event.currentTarget.value)}
              onKeyDown={(event) => {
                if (event.key !== "Enter") return;
                event.preventDefault();
                close();
                onChange({ ...chip, value });
              }}
            />
            {opposite && <button type="button" onClick={() => onChange(opposite)}>Negate</button>}
          </div>
        )}
      </Popover>
      <button type="button" aria-label={`Remove ${chip.field}`} title="Remove" onClick={() => onChange(null)}>✕</button>
    </span>
  );
}

function Fields({ project, typed, onChoose }: { project: string; typed: string; onChoose: (name: string) => void }) {
  const { data } = useQuery(PathsDocument, typed.includes(".") ? { projectId: project } : null, { isShown: false });
  const paths = data?.callsPaths?.paths.map(({ path }) => path) ?? ["inputs.", "output.", "attributes.", "summary."];
  const names = [...FIELDS, ...paths].filter((name) => name.toLowerCase().includes(typed.toLowerCase())).slice(0, 60);
  return (
    <>
      {names.map((name) => (
        <button key={name} type="button" role="option" onClick={() => onChoose(name)}>{name}</button>
      ))}
      {names.length === 0 && <p class="muted">No such field. A path into the JSON of calls begins with inputs, output, attributes or summary.</p>}
    </>
  );
}

function Values({ project, field, typed, found, mode, onChoose }: {
  project: string;
  field: string;
  typed: string;
  found: Condition;
  mode: Mode;
  onChoose: (value: string) => void;
}) {
  const name = field === "name" ? "op_name" : field;
  const isPath = /^(inputs|output|attributes|summary)\./.test(name);
  const asks = WITH_FACETS.has(name) || isPath;
  const filter = mode === "calls" ? found.filter : { ...found.filter, traceRootsOnly: true };
  const { data, error, isLoading } = useQuery(FacetsDocument, asks ? { projectId: project, fields: [name], filter, query: found.query, limit: 50 } : null, { isShown: false, pause: 150 });
  const values = (data?.callsFacets?.[0]?.values ?? []).filter(({ value }) => String(value).toLowerCase().includes(typed.toLowerCase()));
  if (!asks) return <p class="muted">Type a value, then Enter{NUMBERS.has(field) ? ". Durations are milliseconds, and costs US dollars" : ""}.</p>;
  if (error) return <p class="error">{error.message}</p>;
  return (
    <>
      {values.map(({ value, count: number }) => (
        <button key={String(value)} type="button" role="option" onClick={() => onChoose(typeof value === "string" ? value : JSON.stringify(value))}>
          <span>{String(value)}</span> <span class="muted">{count(number)}</span>
        </button>
      ))}
      {values.length === 0 && <p class="muted">{isLoading ? "…" : "No value begins so. Enter takes the text as it is."}</p>}
    </>
  );
}

/** The query language as JSON, for experts. */
function Expert({ dsl }: { dsl: unknown }) {
  const [text, setText] = useState(() => address.peek().get("dsl") ?? '{"$gt": [{"$getField": "latency_ms"}, {"$literal": 1000}]}');
  let problem: string | null = dsl instanceof Error ? dsl.message : null;
  try {
    JSON.parse(text);
  } catch (error) {
    problem = (error as Error).message;
  }
  return (
    <div class="expert">
      <label>
        Condition below <code>$expr</code>, as JSON
        <textarea rows={3} spellcheck={false} value={text} onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <button type="button" disabled={problem !== null} onClick={() => go(here({ dsl: text }))}>Apply</button>
      <button type="button" onClick={() => go(here({ dsl: null }))}>Remove</button>
      {problem && <span class="error">{problem}</span>}
    </div>
  );
}

