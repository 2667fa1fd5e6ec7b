// Charts over time: calls, errors, latency, tokens and cost. A drag zooms all of them; a click opens the calls.

import "uplot/dist/uPlot.min.css";

import uPlot from "uplot";
import { useEffect, useRef } from "preact/hooks";

import { address, go, here, there } from "./address";
import { useQuery } from "./api";
import { Empty, isUtc, Problem, Skeleton, timezone, useSize } from "./components";
import { bound, bucketOf, chipText, condition, parseChip } from "./filters";
import { count, duration, money, percent } from "./formats";
import {
  AnnotationFormsDocument,
  ChartDocument,
  type ChartQuery,
  type CallsGroupBy,
  FeedbackChartDocument,
} from "./generated/graphql";

type Row = NonNullable<ChartQuery["callsAggregate"]>["rows"][number];

const GROUPS = {
  op: ["OP_NAME", "opName", "op_name"],
  model: ["MODEL", "model", "model"],
  user: ["USER_ID", "userId", "user_id"],
  release: ["RELEASE", "release", "release"],
  environment: ["ENVIRONMENT", "environment", "environment"],
  kind: ["KIND", "kind", "kind"],
} as const satisfies Record<string, readonly [CallsGroupBy, keyof Row, string]>;

type Group = keyof typeof GROUPS;

const SLOWEST = { sort: "-latency_ms" };

/** Rows of an answer, at most. */
const MAX_ROWS = 10_000;

/** Series beyond this number are summed up as "others". */
const MAX_SERIES = 8;

/** Further state of the list to which a point of a chart leads. */
interface Opening {
  conditions?: string[];
  sort?: string;
}

interface Series {
  name: string;
  values: (number | null)[];
  chip: string | null;
}

export function Charts({ project }: { project: string }) {
  const state = address.value;
  const now = useRef(Date.now()).current;
  const to = bound(state.get("to"), now) ?? new Date(now).toISOString();
  const from = bound(state.get("from") ?? "30d", now) ?? to;
  const chips = state.getAll("f").flatMap((text) => parseChip(text) ?? []);
  const { filter, query } = condition(chips, { after: from, before: to }, "calls");
  const bucket = bucketOf(Date.parse(from), Date.parse(to));
  const asked = state.get("g");
  const group = asked !== null && Object.hasOwn(GROUPS, asked) ? (asked as Group) : null;
  const shared = { projectId: project, filter, query, bucket, timezone: timezone() };
  const whole = useQuery(ChartDocument, { ...shared, groupBy: ["TIME_BUCKET"] }, { pause: 150 });
  const byModel = useQuery(ChartDocument, { ...shared, groupBy: ["TIME_BUCKET", "MODEL"] }, { pause: 150 });
  const byGroup = useQuery(ChartDocument, group ? { ...shared, groupBy: ["TIME_BUCKET", GROUPS[group][0]] } : null, {
    pause: 150,
  });
  const forms = useQuery(AnnotationFormsDocument, { projectId: project }, { isShown: false });
  const rated = (forms.data?.objs?.nodes ?? []).filter(({ val }) =>
    ["integer", "number"].includes((val as { field_schema?: { type?: string } } | null)?.field_schema?.type ?? ""),
  );
  const numbers = rated
    .slice(0, MAX_SERIES)
    .map(({ objectId }) => `feedback.[wandb.annotation.${objectId}].payload.value`);
  const ratings = useQuery(FeedbackChartDocument, numbers.length ? { ...shared, numbers } : null, { pause: 150 });
  const failed = [whole, byModel, byGroup].find(({ error }) => error);
  const rows = whole.data?.callsAggregate?.rows ?? [];
  const starts = [...new Set(rows.flatMap(({ bucketStart }) => (bucketStart ? [Date.parse(bucketStart)] : [])))].sort(
    (a, b) => a - b,
  );
  const ends = new Map(
    rows.flatMap(({ bucketStart, bucketEnd }) =>
      bucketStart && bucketEnd ? [[Date.parse(bucketStart), bucketEnd] as const] : [],
    ),
  );
  const open = (at: number, chip: string | null, { conditions = [], sort }: Opening = {}) => {
    const times = { from: new Date(at).toISOString(), to: ends.get(at) ?? to };
    go(
      there("traces", {
        m: "calls",
        ...times,
        s: sort ?? null,
        f: [...chips.map(chipText), ...(chip ? [chip] : []), ...conditions],
      }),
    );
  };
  const groups = byGroup.data?.callsAggregate?.rows;
  const calls =
    group && groups
      ? seriesOf(groups, starts, GROUPS[group], (row) => row.count)
      : [{ name: "calls", values: align(rows, starts, (row) => row.count), chip: null }];
  const models = byModel.data?.callsAggregate?.rows ?? [];
  const charts: {
    title: string;
    series: Series[];
    format: (value: number) => string;
    isStacked?: boolean;
    opening?: Opening;
  }[] = [
    { title: group ? `Calls by ${group}` : "Calls", series: calls, format: count, isStacked: true },
    {
      title: "Error rate",
      series: [
        {
          name: "errors",
          values: align(rows, starts, (row) => (row.count ? row.errorCount / row.count : null)),
          chip: null,
        },
      ],
      format: percent,
      opening: { conditions: ["status:is:error"] },
    },
    {
      title: "Latency",
      series: (["p50", "p95", "p99"] as const).map((name) => ({
        name,
        values: align(rows, starts, (row) => row[`${name}LatencyMs`]),
        chip: null,
      })),
      format: duration,
      opening: SLOWEST,
    },
    {
      title: "Cost by model",
      series: seriesOf(models, starts, GROUPS.model, (row) => row.cost),
      format: money,
      isStacked: true,
    },
    {
      title: "Tokens by model",
      series: seriesOf(models, starts, GROUPS.model, (row) => row.totalTokens),
      format: count,
      isStacked: true,
    },
  ];
  const ratingRows = ratings.data?.callsAggregate?.rows ?? [];
  if (ratingRows.length > 0) {
    const byStart = new Map(ratingRows.map((row) => [Date.parse(row.bucketStart ?? ""), row.numbers ?? []]));
    const series = rated.slice(0, MAX_SERIES).map(({ objectId }, at) => ({
      name: objectId,
      values: starts.map((start) => byStart.get(start)?.[at]?.average ?? null),
      chip: chipText({ field: numbers[at] ?? "", operator: "exists", value: "" }),
    }));
    charts.push({ title: "Feedback, on average", series, format: (value) => String(+value.toPrecision(3)) });
  }
  if (group && groups) {
    charts.push({
      title: `p95 latency by ${group}`,
      series: seriesOf(groups, starts, GROUPS[group], (row) => row.p95LatencyMs, false),
      format: duration,
      opening: SLOWEST,
    });
    charts.push({
      title: `Cost by ${group}`,
      series: seriesOf(groups, starts, GROUPS[group], (row) => row.cost),
      format: money,
      isStacked: true,
    });
  }
  return (
    <main class="charts">
      <div class="bar">
        <h1>Charts</h1>
        <span class="tabs" role="group" aria-label="Group by">
          <a href={here({ g: null })} aria-current={group === null}>
            all calls
          </a>
          {Object.keys(GROUPS).map((name) => (
            <a key={name} href={here({ g: name })} aria-current={group === name}>
              by {name}
            </a>
          ))}
        </span>
        {chips.map((chip) => (
          <a
            key={chipText(chip)}
            class="tag"
            title="Remove"
            href={here({ f: chips.filter((each) => each !== chip).map(chipText) })}
          >
            {chip.field} {chip.value} ✕
          </a>
        ))}
        <span class="muted">by {bucket.toLowerCase()}</span>
        {groups?.length === MAX_ROWS && (
          <span class="error">Some groups are missing: choose a shorter range of times.</span>
        )}
      </div>
      {failed?.error && <Problem error={failed.error} retry={failed.retry} />}
      {!whole.data && !failed ? (
        <Skeleton />
      ) : starts.length === 0 ? (
        <Empty title="No calls in this range of times">
          <a href={here({ from: "90d", to: null })}>Show the last 90 days</a>
        </Empty>
      ) : (
        <div class="plots">
          {charts.map((chart) => (
            <Plot
              key={chart.title}
              {...chart}
              starts={starts}
              end={Math.max(...[...ends.values()].map((text) => Date.parse(text)))}
              open={(at, chip) => open(at, chip, chart.opening)}
            />
          ))}
        </div>
      )}
    </main>
  );
}

function align(rows: readonly Row[], starts: readonly number[], value: (row: Row) => number | null): (number | null)[] {
  const byStart = new Map(rows.map((row) => [Date.parse(row.bucketStart ?? ""), value(row)]));
  return starts.map((start) => byStart.get(start) ?? null);
}

/** Return a series per value of a group: those with the most, or the highest value, come first, and the rest are summed up. */
function seriesOf(
  rows: readonly Row[],
  starts: readonly number[],
  [, name, field]: readonly [CallsGroupBy, keyof Row, string],
  value: (row: Row) => number | null,
  isSummed = true,
): Series[] {
  const byGroup = Map.groupBy(rows, (row) => (row[name] as string | null) ?? "");
  // Of values without a sum, such as latencies, the highest ones are asked for.
  const size = (group: Row[]) =>
    group.reduce((found, row) => (isSummed ? found + (value(row) ?? 0) : Math.max(found, value(row) ?? 0)), 0);
  const sorted = [...byGroup].filter(([, group]) => size(group) > 0).sort(([, a], [, b]) => size(b) - size(a));
  const series = sorted.slice(0, MAX_SERIES).map(([key, group]) => ({
    name: key || "none",
    values: align(group, starts, value),
    chip: key ? chipText({ field, operator: "is" as const, value: key }) : null,
  }));
  const rest = sorted.slice(MAX_SERIES).flatMap(([, group]) => group);
  if (isSummed && rest.length > 0) {
    const sums = new Map<number, number>();
    for (const row of rest) {
      const start = Date.parse(row.bucketStart ?? "");
      sums.set(start, (sums.get(start) ?? 0) + (value(row) ?? 0));
    }
    series.push({
      name: `${sorted.length - MAX_SERIES} others`,
      values: starts.map((start) => sums.get(start) ?? null),
      chip: null,
    });
  }
  return series;
}

const HUES = [265, 200, 150, 95, 30, 350, 305, 230, 120];

function Plot({
  title,
  series,
  starts,
  end,
  format,
  isStacked = false,
  open,
}: {
  title: string;
  series: Series[];
  starts: number[];
  /** End of the last bucket. */
  end: number;
  format: (value: number) => string;
  isStacked?: boolean;
  open: (start: number, chip: string | null) => void;
}) {
  const [box, { width }] = useSize<HTMLDivElement>();
  const shown = JSON.stringify([starts, series, isUtc()]);
  const opening = useRef(open);
  opening.current = open;
  useEffect(() => {
    const element = box.current;
    if (!element || width === 0) return;
    const style = getComputedStyle(element);
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches
      ? style.colorScheme !== "light"
      : style.colorScheme === "dark";
    const colour = (at: number) => `oklch(${isDark ? 0.72 : 0.55} 0.12 ${HUES[at % HUES.length]})`;
    const sums = starts.map(() => 0);
    const stacked = isStacked && series.length > 1;
    const drawn = series.map(({ values }) =>
      stacked ? values.map((value, at) => (sums[at] = (sums[at] ?? 0) + (value ?? 0))) : values,
    );
    let hovered: number | null = null;
    const axis = {
      stroke: style.color,
      grid: { stroke: style.borderTopColor, width: 1 },
      ticks: { show: false },
      font: "11px system-ui",
    };
    // The largest sum is drawn first, so that each band covers the part below it.
    const order = stacked ? [...series.keys()].reverse() : [...series.keys()];
    const paths =
      stacked || series.length === 1 ? uPlot.paths.bars?.({ size: [0.8, 60], align: 1 }) : uPlot.paths.linear?.();
    const plot = new uPlot(
      {
        width,
        height: 200,
        tzDate: (time) => (isUtc() ? uPlot.tzDate(new Date(time * 1e3), "Etc/UTC") : new Date(time * 1e3)),
        cursor: { drag: { x: true, y: false, setScale: false }, sync: { key: "charts" }, points: { size: 6 } },
        legend: { show: true, live: true },
        scales: {
          x: { time: true, range: [(starts[0] ?? 0) / 1_000, end / 1_000] },
          y: { range: (_plot, _least, most) => [0, most > 0 ? most * 1.05 : 1] },
        },
        axes: [axis, { ...axis, size: 64, values: (_plot, values) => values.map((value) => format(value)) }],
        series: [
          {},
          ...order.map((at) => ({
            label: series[at]?.name ?? "",
            stroke: colour(at),
            width: 1.5,
            ...(paths && { paths }),
            ...((stacked || series.length === 1) && { fill: colour(at) }),
            points: { show: starts.length < 40 && !stacked && series.length > 1 },
            value: (_plot: uPlot, _value: number | null, _series: number, place: number | null) => {
              const value = place === null ? null : series[at]?.values[place];
              return value == null ? "–" : format(value);
            },
          })),
        ],
        hooks: {
          setCursor: [(plot) => (hovered = plot.cursor.idx ?? null)],
          setSelect: [
            (plot) => {
              if (plot.select.width < 4) return;
              const [low, high] = [plot.select.left, plot.select.left + plot.select.width].map((at) =>
                new Date(plot.posToVal(at, "x") * 1_000).toISOString(),
              );
              if (low && high) go(here({ from: low, to: high }));
            },
          ],
        },
      },
      [starts.map((start) => start / 1_000), ...order.map((at) => drawn[at] as (number | null)[])] as uPlot.AlignedData,
      element,
    );
    // Each value in the legend has the width of its widest text. Otherwise a legend gets another line when the pointer is
    // over a chart, and moves the charts below it away from the pointer.
    plot.root.querySelectorAll<HTMLElement>(".u-value").forEach((cell, at) => {
      const text = plot.series[at]?.value as (plot: uPlot, value: number, at: number, place: number | null) => string;
      const texts = [null, ...starts.keys()].map((place) =>
        text(plot, (place === null ? null : plot.data[at]?.[place]) as number, at, place),
      );
      cell.dataset["texts"] = [...new Set(texts)].join("\n");
    });
    let pressed = 0;
    const onDown = (event: PointerEvent) => (pressed = event.clientX);
    const onClick = (event: MouseEvent) => {
      const start = hovered === null ? undefined : starts[hovered];
      if (start === undefined || Math.abs(event.clientX - pressed) > 3) return;
      const value = plot.posToVal(plot.cursor.top ?? 0, "y");
      const distance = (at: number) => Math.abs((drawn[at]?.[hovered as number] ?? Infinity) - value);
      const nearest = [...drawn.keys()].sort((a, b) => distance(a) - distance(b))[0] ?? -1;
      const at = stacked ? drawn.findIndex((values) => (values[hovered as number] ?? 0) >= value) : nearest;
      opening.current(start, series[at]?.chip ?? null);
    };
    plot.over.addEventListener("pointerdown", onDown);
    plot.over.addEventListener("click", onClick);
    return () => plot.destroy();
  }, [shown, width, document.documentElement.dataset["theme"]]);
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <div ref={box} class="plot" />
    </figure>
  );
}
