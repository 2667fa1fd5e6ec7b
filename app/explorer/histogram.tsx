// Bars of calls over time above a list; a drag chooses a range of times.

import { useState } from "preact/hooks";

import { go, here } from "./address";
import { useQuery } from "./api";
import { isUtc, timezone, useSize } from "./components";
import { bucketOf, type Condition, type Mode, type Period } from "./filters";
import { absoluteTime, exactCount } from "./formats";
import { HistogramDocument } from "./generated/graphql";

/** Bars of calls over time, stacked by error or not; a drag chooses a range of times. */
export function Histogram({
  project,
  mode,
  found,
  period,
  listedAt,
  isWaiting,
}: {
  project: string;
  mode: Mode;
  found: Condition;
  period: Period;
  listedAt: number;
  isWaiting: boolean;
}) {
  const [box, { width, height }] = useSize<HTMLDivElement>();
  const filter = mode === "calls" ? found.filter : { ...found.filter, traceRootsOnly: true };
  const to = period.before ? Date.parse(period.before) : listedAt;
  const from = period.after ? Date.parse(period.after) : null;
  const bucket = from === null ? "DAY" : bucketOf(from, to);
  const { data } = useQuery(
    HistogramDocument,
    isWaiting ? null : { projectId: project, filter, query: found.query, bucket, timezone: timezone() },
    { pause: 50 },
  );
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
    <div
      class="histogram"
      ref={box}
      onPointerDown={onDown}
      onPointerMove={onMove}
      onPointerUp={onUp}
      onPointerLeave={() => setHovered(null)}
    >
      <svg width={width} height={height} role="img" aria-label="Number of rows over time">
        {rows.map((row) => {
          const [left, right] = [x(row.start), Math.max(x(row.start) + 1, x(row.end) - 1)];
          return (
            <g key={row.start}>
              <rect class="bar" x={left} width={right - left} y={height - y(row.count)} height={y(row.count)} />
              <rect
                class="bar-error"
                x={left}
                width={right - left}
                y={height - y(row.errorCount)}
                height={y(row.errorCount)}
              />
            </g>
          );
        })}
        {brush && (
          <rect class="brush" x={Math.min(...brush)} width={Math.abs(brush[1] - brush[0])} y={0} height={height} />
        )}
      </svg>
      <span class="hint muted">
        {under
          ? `${absoluteTime(under.start, isUtc())} · ${exactCount(under.count)} · ${exactCount(under.errorCount)} errors`
          : rows.length > 0 &&
            `${absoluteTime(first, isUtc()).slice(0, 16)} to ${absoluteTime(last, isUtc()).slice(0, 16)} · drag to zoom`}
      </span>
    </div>
  );
}
