// Two traces side by side: their totals, their calls, and the first call in which they differ.

import { useEffect, useMemo, useRef } from "preact/hooks";

import { address, there } from "./address";
import { useQuery } from "./api";
import { Empty, Kind, Problem, Skeleton, Status, Time } from "./components";
import { firstDifference } from "./differences";
import { count, duration, money } from "./formats";
import { TraceHeadDocument } from "./generated/graphql";
import { timelineOf } from "./timeline";
import { useCalls } from "./trace";

/** Calls of a trace that are shown. */
const MAX_SHOWN = 2_000;

export function Compare({ project }: { project: string }) {
  const [first, second] = address.value.getAll("t");
  if (!first || !second) {
    return (
      <Empty title="Two traces are needed">
        <p>Mark two traces in the list, then choose “Compare”.</p>
        <a href={there("traces")}>All traces</a>
      </Empty>
    );
  }
  return <Both key={`${first} ${second}`} project={project} ids={[first, second]} />;
}

function Both({ project, ids }: { project: string; ids: [string, string] }) {
  const both = [useCalls(project, ids[0]), useCalls(project, ids[1])] as const;
  const heads = [
    useQuery(TraceHeadDocument, { projectId: project, traceId: ids[0] }),
    useQuery(TraceHeadDocument, { projectId: project, traceId: ids[1] }),
  ] as const;
  const timelines = both.map(({ calls }) => useMemo(() => timelineOf([...calls.byId.values()], Date.now()), [calls]));
  const [before, after] = timelines.map(({ steps }) => steps);
  const isWhole = both.every(({ calls }) => calls.isWhole);
  const at = before && after && isWhole ? firstDifference(before, after) : -1;
  const mark = useRef<HTMLDivElement>(null);
  useEffect(() => mark.current?.scrollIntoView({ block: "center" }), [at]);
  const failed = both.find(({ calls }) => calls.error);
  return (
    <main class="compare">
      <h1>Two traces</h1>
      {failed?.calls.error && <Problem error={failed.calls.error} retry={failed.retry} />}
      <p class="muted" role="status">
        {!isWhole
          ? "The calls load…"
          : at < 0
            ? "Both have the same steps with the same status."
            : `The first difference is call ${at + 1}.`}
      </p>
      <div class="columns even">
        {timelines.map((timeline, side) => {
          const head = heads[side]?.data?.trace;
          return (
            <section key={side} aria-label={side === 0 ? "First trace" : "Second trace"}>
              <h2>
                <Status status={head?.status} />{" "}
                <a href={there("trace", { t: ids[side] ?? null })}>{head?.name ?? ids[side]}</a>
              </h2>
              <div class="muted">
                <Time at={head?.startedAt} /> · {duration(head?.latencyMs)} · {money(head?.totalCost)} ·{" "}
                {count(head?.totalTokens)} tokens · {count(head?.numCalls)} calls
              </div>
              {timeline.steps.length === 0 && !both[side]?.calls.isWhole && <Skeleton />}
              {timeline.steps.slice(0, MAX_SHOWN).map((step, place) => (
                <div
                  key={step.call.id}
                  ref={place === at && side === 0 ? mark : null}
                  class={`step${place === at ? " differs" : ""}${step.hasError ? " has-error" : ""}`}
                  style={{ paddingLeft: 4 + Math.min(step.depth, 14) * 14 }}
                >
                  <Kind kind={step.call.kind} />
                  <a class="name" href={there("trace", { t: ids[side] ?? null, call: step.call.id })}>
                    {step.call.traceName}
                  </a>
                  <Status status={step.call.status} />
                  <span class="muted">{duration(step.end - step.start)}</span>
                </div>
              ))}
              {timeline.steps.length > MAX_SHOWN && (
                <p class="muted">{count(timeline.steps.length - MAX_SHOWN)} more calls are not shown.</p>
              )}
            </section>
          );
        })}
      </div>
    </main>
  );
}
