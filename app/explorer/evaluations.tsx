// Evaluation runs: a list, the rows of one run with their scores, and several runs side by side.

import { address, go, here, there } from "./address";
import { ask, useQuery, useShown } from "./api";
import { Empty, Problem, Skeleton, Time, useKeys } from "./components";
import { FilterBar, Names } from "./filter_bar";
import { conditionOfRows, parseChip, sortOf } from "./filters";
import { count, duration, exactCount, money, percent, shortId } from "./formats";
import {
  ComparedRowsDocument,
  type ComparedRowsQuery,
  CompareRunsDocument,
  type CompareRunsQuery,
  EvaluationRowsDocument,
  EvaluationRowsCountDocument,
  EvaluationRunDocument,
  type EvaluationRowsQuery,
  EvaluationRunsDocument,
  type EvaluationRunsQuery,
} from "./generated/graphql";
import { type Column, Grid, useRows } from "./grid";
import { Json, stepOf } from "./json";
import { decoded } from "./refs";
import { PAGE } from "./rows";

type Run = NonNullable<EvaluationRunsQuery["evaluationRuns"]>["nodes"][number];
type Result = NonNullable<EvaluationRowsQuery["evaluationResults"]>["nodes"][number];

const MAX_COMPARED = 5;

export function Evaluations({ project }: { project: string }) {
  const state = address.value;
  const compared = state.getAll("with");
  if (compared.length > 1) return <Comparison project={project} ids={compared} />;
  const run = state.get("run");
  return run === null ? <RunList project={project} /> : <RunPage key={run} project={project} id={run} />;
}

/** Return the name of a ref with its version shortened. */
const nameOf = (ref: string | undefined) => {
  const match = /\/object\/([^:]+):(.*)$/.exec(ref ?? "");
  return match ? `${decoded(match[1] as string)}:${(match[2] as string).slice(0, 6)}` : "–";
};

const metricText = ({ mean, trueCount }: { mean: number | null; trueCount: number | null }) =>
  mean === null ? "–" : trueCount === null ? String(+mean.toPrecision(4)) : percent(mean);

function RunList({ project }: { project: string }) {
  const { data, error, retry } = useQuery(EvaluationRunsDocument, { projectId: project, first: 100 });
  const marked = address.value.getAll("mark");
  if (error) return <Problem error={error} retry={retry} />;
  if (!data) return <Skeleton />;
  const runs = data.evaluationRuns?.nodes ?? [];
  if (runs.length === 0) {
    return (
      <Empty title="No evaluation runs">
        <p>evaluateModel runs an evaluation on this server, and the Weave SDK logs its own runs here.</p>
      </Empty>
    );
  }
  const names = [...new Set(runs.flatMap(({ metrics }) => metrics.map(({ name }) => name)))].slice(0, 8);
  return (
    <main>
      <div class="bar">
        <h1>Evaluations</h1>
        <span class="muted">{exactCount(data.evaluationRuns?.totalCount ?? 0)} runs</span>
        <button type="button" disabled={marked.length < 2} onClick={() => go(there("evaluations", { with: marked }))}>
          Compare {marked.length || ""}
        </button>
        <span class="muted">Mark two to {MAX_COMPARED} runs to compare them.</span>
      </div>
      <table>
        <thead>
          <tr>
            <th>
              <span class="unseen">Marked</span>
            </th>
            <th>Run</th>
            <th>Model</th>
            <th>Status</th>
            <th>Started</th>
            <th class="number">Duration</th>
            {names.map((name) => (
              <th key={name} class="number">
                {name}
              </th>
            ))}
            <th class="number">Tokens</th>
            <th class="number">Cost</th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <tr key={run.id}>
              <td>
                <input
                  type="checkbox"
                  aria-label={`Mark ${run.displayName ?? run.id}`}
                  checked={marked.includes(run.id)}
                  disabled={!marked.includes(run.id) && marked.length >= MAX_COMPARED}
                  onChange={({ currentTarget: { checked } }) => {
                    const mark = checked ? [...marked, run.id] : marked.filter((id) => id !== run.id);
                    go(here({ mark }), { replace: true });
                  }}
                />
              </td>
              <td>
                <a href={there("evaluations", { run: run.id })}>{run.displayName ?? shortId(run.id)}</a>
              </td>
              <td>{nameOf(run.model?.ref)}</td>
              <td>{run.status.toLowerCase()}</td>
              <td>
                <Time at={run.startedAt} />
              </td>
              <td class="number">{duration(run.latencyMs)}</td>
              {names.map((name) => {
                const metric: Run["metrics"][number] | undefined = run.metrics.find((each) => each.name === name);
                return (
                  <td key={name} class="number">
                    {metric ? metricText(metric) : ""}
                  </td>
                );
              })}
              <td class="number">{count(run.usage.totalTokens)}</td>
              <td class="number">{money(run.usage.cost)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {data.evaluationRuns?.pageInfo.hasNextPage && <p class="muted">Only the newest {runs.length} runs are listed.</p>}
    </main>
  );
}

const textOf = (value: unknown) => (typeof value === "string" ? value : (JSON.stringify(value) ?? ""));

/** Return the numbers and booleans within a score, by their paths. */
function scoresOf(result: Result): Map<string, string> {
  const found = new Map<string, string>();
  const add = (path: string, value: unknown) => {
    if (typeof value === "number" || typeof value === "boolean") found.set(path, String(value));
    else if (value && typeof value === "object" && !Array.isArray(value)) {
      for (const [name, each] of Object.entries(value)) add(`${path}.${stepOf(name)}`, each);
    }
  };
  for (const { name, value } of result.predictions[0]?.scores ?? []) add(stepOf(name), value);
  return found;
}

/** Queries that the panel of queries leaves out. */
const QUIET = { isShown: false };

/** Fields of rows besides their scores. */
const ROW_FIELDS = ["output", "example", "status", "exception", "latency_ms", "total_tokens"];

function RunPage({ project, id }: { project: string; id: string }) {
  const sort = address.value.get("s");
  const sortBy = sort ? sortOf(sort) : undefined;
  const chips = address.value.getAll("f").flatMap((text) => parseChip(text) ?? []);
  const query = conditionOfRows(chips);
  const rows = useRows<Result>(
    async (page, abort) => {
      const variables = { projectId: project, evaluationCallId: id, sortBy, query, ...page };
      return (await ask(EvaluationRowsDocument, variables, abort)).evaluationResults;
    },
    [project, id, sort, JSON.stringify(query)],
  );
  useShown(EvaluationRowsDocument, { projectId: project, evaluationCallId: id, sortBy, query, first: 100 });
  const { data } = useQuery(EvaluationRunDocument, { projectId: project, callId: id }, QUIET);
  const run = data?.evaluationRun;
  const total = useQuery(EvaluationRowsCountDocument, { projectId: project, evaluationCallId: id, query }, QUIET);
  const number = rows.end.value ?? total.data?.evaluationResults?.totalCount ?? (rows.isRead ? rows.known + 1 : 20);
  // The address has the first prediction of the opened row, by which the API finds it.
  const selected = address.value.get("row");
  const ofRow = selected === null ? null : conditionOfRows([{ field: "id", operator: "is", value: selected }]);
  const found = useQuery(
    EvaluationRowsDocument,
    ofRow && { projectId: project, evaluationCallId: id, query: ofRow, first: 1 },
    QUIET,
  );
  const opened = selected === null ? null : (found.data?.evaluationResults?.nodes[0] ?? null);
  const open = (row: Result) => go(here({ row: row.predictions[0]?.id ?? null }), { replace: selected !== null });
  const close = () => go(here({ row: null }));
  useKeys({ Escape: () => selected !== null && close() });
  const names = new Set<string>();
  for (let at = 0; at < 10; at++) {
    const row = rows.at(at);
    if (row) for (const name of scoresOf(row).keys()) names.add(name);
  }
  const fields = [...[...names].map((name) => `scores.${name}`), ...ROW_FIELDS];
  const columns: Column<Result>[] = [
    { id: "trials", title: "Trials", width: 56, isNumber: true, cell: (row) => count(row.predictions.length) },
    {
      id: "example",
      title: "Example",
      width: 260,
      cell: (row) => textOf(row.example).slice(0, 300),
      text: (row) => textOf(row.example).slice(0, 1_000),
    },
    {
      id: "output",
      title: "Output",
      width: 320,
      cell: (row) =>
        row.predictions[0]?.exception ? (
          <span class="error">{row.predictions[0].exception.trim().split("\n").at(-1)}</span>
        ) : (
          textOf(row.predictions[0]?.output).slice(0, 300)
        ),
      text: (row) => textOf(row.predictions[0]?.output).slice(0, 1_000),
    },
    ...[...names].slice(0, 12).map((name) => ({
      id: name,
      title: name,
      width: 130,
      isNumber: true,
      sort: `scores.${name}`,
      cell: (row: Result) => scoresOf(row).get(name) ?? "",
    })),
    {
      id: "latency",
      title: "Duration",
      width: 84,
      isNumber: true,
      cell: (row) => duration(row.predictions[0]?.latencyMs),
    },
  ];
  return (
    <main class="traces">
      <h1>
        <a href={there("evaluations")}>Evaluations</a> /{" "}
        <a href={there("traces", { m: "calls", f: [`id:is:${id}`] })}>{run?.displayName ?? shortId(id)}</a>
      </h1>
      <FilterBar
        chips={chips}
        fields={(typed, onChoose) => (
          <Names names={fields.filter((field) => field.includes(typed.toLowerCase()))} onChoose={onChoose} />
        )}
        values={() => <p class="muted">Type a value, then Enter. Durations are milliseconds.</p>}
      />
      {rows.error.value ? (
        <Problem error={rows.error.value} retry={() => rows.retry()} />
      ) : rows.end.value === 0 && chips.length > 0 ? (
        <Empty title="No row matches">
          <a href={here({ f: null })}>Show all</a>
        </Empty>
      ) : rows.end.value === 0 ? (
        <Empty title="This run has no predictions yet" />
      ) : (
        <div class="split">
          <div class="list">
            <Grid
              label="predictions"
              columns={columns}
              count={number}
              at={(index) => rows.at(index)}
              need={(from, to) => rows.need(from, to)}
              id={(row) => row.predictions[0]?.id ?? row.exampleDigest}
              href={(row) => here({ row: row.predictions[0]?.id ?? null })}
              selected={selected}
              onSelect={open}
              onOpen={open}
              sort={sort}
              onSort={(next) => go(here({ s: next }))}
            />
          </div>
          {opened && (
            <aside class="drawer" style={{ width: 480 }} aria-label="Selected example">
              <button type="button" class="close" aria-label="Close" title="Close (Esc)" onClick={close}>
                ✕
              </button>
              <div class="scroll">
                <h2>Example</h2>
                <Json value={opened.example} />
                <Trials result={opened} />
              </div>
            </aside>
          )}
        </div>
      )}
    </main>
  );
}

/** Outputs and scores of an example in each trial of a run. */
function Trials({ result }: { result: Result }) {
  return (
    <>
      {result.predictions.map((prediction) => (
        <section key={prediction.id}>
          <h3>
            Trial {prediction.trial}{" "}
            {prediction.call && (
              <a href={there("trace", { t: prediction.call.traceId, call: prediction.id })}>open its trace</a>
            )}
          </h3>
          <Json value={prediction.output} />
          {prediction.scores.map(({ name, value, exception }) => (
            <div key={name}>
              <b>{name}</b> {exception ? <span class="error">{exception}</span> : <Json value={value} />}
            </div>
          ))}
        </section>
      ))}
    </>
  );
}

type Compared = NonNullable<CompareRunsQuery["evaluationCompare"]>;
type Metric = Compared["metrics"][number];
type ComparedRow = NonNullable<ComparedRowsQuery["evaluationCompare"]>["rows"]["nodes"][number];

/** Return how a metric differs between the first and the last run. */
const lastOf = ({ runs }: Metric) => runs.at(-1);
const numChanged = (metric: Metric) => (lastOf(metric)?.numHigher ?? 0) + (lastOf(metric)?.numLower ?? 0);
const changeOf = (row: ComparedRow, name: string) =>
  row.runs.at(-1)?.metrics.find((metric) => metric.name === name)?.difference ?? 0;

/** Return the order in which the examples of the most different metric come first, those that got worse before others. */
function usualSort({ metrics }: Compared): string | null {
  const metric = metrics.toSorted((a, b) => numChanged(b) - numChanged(a))[0];
  if (!metric || numChanged(metric) === 0) return null;
  return `${lastOf(metric)?.numLower ? "" : "-"}${SCORES}${metric.name}`;
}

const SCORES = "scores.";

function Comparison({ project, ids }: { project: string; ids: string[] }) {
  const { data, error, retry } = useQuery(CompareRunsDocument, { projectId: project, callIds: ids });
  if (error) return <Problem error={error} retry={retry} />;
  if (!data) return <Skeleton />;
  const compared: Compared | null = data.evaluationCompare;
  if (!compared) return <Empty title="These runs do not exist" />;
  const isWhole = address.value.get("all") !== null;
  const sort = address.value.get("s") ?? (isWhole ? null : usualSort(compared));
  return (
    <main class="traces">
      <h1>
        <a href={there("evaluations")}>Evaluations</a> / {compared.runs.length} runs
      </h1>
      <div class="metrics">
        <table>
          <thead>
            <tr>
              <th>Metric</th>
              {compared.runs.map((run) => (
                <th key={run.id} class="number">
                  <a href={there("evaluations", { run: run.id })}>{run.displayName ?? shortId(run.id)}</a>
                </th>
              ))}
              <th class="number">Lower</th>
              <th class="number">Higher</th>
            </tr>
          </thead>
          <tbody>
            {compared.metrics.map((metric) => (
              <tr key={metric.name}>
                <td>{metric.name}</td>
                {compared.runs.map((run) => {
                  const found = metric.runs.find(({ runId }) => runId === run.id);
                  return (
                    <td
                      key={run.id}
                      class="number"
                      title={
                        found?.numHigher == null
                          ? undefined
                          : `${found.numHigher} higher, ${found.numLower} lower, ${found.numEqual} equal`
                      }
                    >
                      {found?.mean == null ? "–" : +found.mean.toPrecision(4)}{" "}
                      <Difference value={found?.difference ?? null} />
                    </td>
                  );
                })}
                <Changed number={lastOf(metric)?.numLower} sort={`${SCORES}${metric.name}`} current={sort} />
                <Changed number={lastOf(metric)?.numHigher} sort={`-${SCORES}${metric.name}`} current={sort} />
              </tr>
            ))}
            <tr>
              <td>Cost</td>
              {compared.runs.map((run) => (
                <td key={run.id} class="number">
                  {money(run.usage.cost)}
                </td>
              ))}
              <td />
              <td />
            </tr>
          </tbody>
        </table>
      </div>
      <Examples key={`${ids} ${sort} ${isWhole}`} project={project} compared={compared} sort={sort} isWhole={isWhole} />
    </main>
  );
}

/** Number of examples with another score in the last run, which leads to them. */
function Changed({
  number,
  sort,
  current,
}: {
  number: number | null | undefined;
  sort: string;
  current: string | null;
}) {
  return (
    <td class="number">
      {number ? (
        <a href={here({ s: sort, all: null, row: null })} aria-current={sort === current}>
          {exactCount(number)}
        </a>
      ) : (
        "0"
      )}
    </td>
  );
}

/** The examples that all runs have, or only those whose score by the sorted metric is another one in the last run. */
function Examples({
  project,
  compared,
  sort,
  isWhole,
}: {
  project: string;
  compared: Compared;
  sort: string | null;
  isWhole: boolean;
}) {
  const callIds = compared.runs.map(({ id }) => id);
  const sortBy = sort ? sortOf(sort) : undefined;
  const isLower = !sort?.startsWith("-");
  const path = sort?.replace(/^-/, "") ?? "";
  const name = path.startsWith(SCORES) ? path.slice(SCORES.length) : "";
  const isAll = isWhole || !name;
  const rows = useRows<ComparedRow>(
    async (page, abort) => {
      const variables = { projectId: project, callIds, sortBy, ...page };
      const found = (await ask(ComparedRowsDocument, variables, abort)).evaluationCompare?.rows ?? null;
      if (!found || isAll) return found;
      // The order is by the change, so the changed examples are the first ones.
      const end = found.nodes.findIndex((row) => !(isLower ? changeOf(row, name) < 0 : changeOf(row, name) > 0));
      if (end < 0) return found;
      return { nodes: found.nodes.slice(0, end), pageInfo: { ...found.pageInfo, hasNextPage: false } };
    },
    [],
    { hasOffset: isAll },
  );
  useShown(ComparedRowsDocument, { projectId: project, callIds, sortBy, first: PAGE });
  const total = compared.numInCommon;
  const number = rows.end.value ?? (isAll ? total : rows.isRead ? rows.known + 1 : 20);
  const keyOf = (row: ComparedRow) => row.runs.map(({ predictions }) => predictions[0]?.id ?? "");
  const opened = address.value.getAll("row");
  const open = (row: ComparedRow) => go(here({ row: keyOf(row) }), { replace: opened.length > 0 });
  const close = () => go(here({ row: null }));
  useKeys({ Escape: () => opened.length > 0 && close() });
  const names = compared.metrics.map((metric) => metric.name);
  const first = names.indexOf(name) < MOST_METRICS ? names : [name, ...names];
  const columns: Column<ComparedRow>[] = [
    {
      id: "changes",
      title: "Changes",
      width: 72,
      cell: (row) => {
        const changes = row.runs.at(-1)?.metrics.map(({ difference }) => difference ?? 0) ?? [];
        const [up, down] = [changes.filter((each) => each > 0).length, changes.filter((each) => each < 0).length];
        return <span class="muted">{[up && `▲ ${up}`, down && `▼ ${down}`].filter(Boolean).join(" ")}</span>;
      },
    },
    {
      id: "example",
      title: "Example",
      width: 260,
      cell: (row) => textOf(row.example).slice(0, 300),
      text: (row) => textOf(row.example).slice(0, 1_000),
    },
    ...first.slice(0, MOST_METRICS).map((metric) => ({
      id: metric,
      title: metric,
      width: 70 + 50 * compared.runs.length,
      isNumber: true,
      sort: `${SCORES}${metric}`,
      cell: (row: ComparedRow) => (
        <>
          {meansOf(row, metric)} <Difference value={changeOf(row, metric)} />
        </>
      ),
      text: (row: ComparedRow) => meansOf(row, metric),
    })),
    ...compared.runs.map((run, at) => ({
      id: `output ${at}`,
      title: run.displayName ?? shortId(run.id),
      width: 240,
      cell: (row: ComparedRow) => {
        const prediction = row.runs[at]?.predictions[0];
        return prediction?.exception ? (
          <span class="error">{prediction.exception.trim().split("\n").at(-1)}</span>
        ) : (
          textOf(prediction?.output).slice(0, 300)
        );
      },
      text: (row: ComparedRow) => textOf(row.runs[at]?.predictions[0]?.output).slice(0, 1_000),
    })),
  ];
  return (
    <>
      <div class="bar">
        <h2>Examples</h2>
        <span class="muted" role="status">
          {isAll
            ? `All ${exactCount(total)} that the runs have in common`
            : `${rows.end.value === null ? "…" : exactCount(rows.end.value)} of ${exactCount(total)} have a ${isLower ? "lower" : "higher"} ${name} in the last run`}
        </span>
        {(!isAll || usualSort(compared)) && (
          <a href={here({ all: isAll ? null : "", s: null, row: null })}>
            {isAll ? "Show only changed ones" : "Show all"}
          </a>
        )}
      </div>
      {rows.error.value ? (
        <Problem error={rows.error.value} retry={() => rows.retry()} />
      ) : rows.end.value === 0 ? (
        <Empty title={isAll ? "The runs have no example in common" : "No example has such a score"} />
      ) : (
        <div class="split">
          <div class="list">
            <Grid
              label="compared examples"
              columns={columns}
              count={number}
              at={(index) => rows.at(index)}
              need={(from, to) => rows.need(from, to)}
              id={(row) => keyOf(row).join()}
              href={(row) => here({ row: keyOf(row) })}
              selected={opened.length > 0 ? opened.join() : null}
              onSelect={open}
              onOpen={open}
              sort={sort}
              onSort={(next) => go(here({ s: next, row: null }))}
            />
          </div>
          {opened.length > 0 && (
            <aside class="drawer" style={{ width: 480 }} aria-label="Selected example">
              <button type="button" class="close" aria-label="Close" title="Close (Esc)" onClick={close}>
                ✕
              </button>
              <div class="scroll">
                {compared.runs.map((run, at) => (
                  <OneOfCompared
                    key={run.id}
                    project={project}
                    run={run}
                    prediction={opened[at] ?? ""}
                    hasExample={at === 0}
                  />
                ))}
              </div>
            </aside>
          )}
        </div>
      )}
    </>
  );
}

/** Metrics that have a column; the table above has all. */
const MOST_METRICS = 12;

/** Return the means of a metric in all runs. */
const meansOf = (row: ComparedRow, name: string) =>
  row.runs
    .map(({ metrics }) => metrics.find((metric) => metric.name === name)?.mean)
    .map((mean) => (mean == null ? "–" : +mean.toPrecision(3)))
    .join(" · ");

/** An example in one of the compared runs, found by its first prediction. */
function OneOfCompared({
  project,
  run,
  prediction,
  hasExample,
}: {
  project: string;
  run: Compared["runs"][number];
  prediction: string;
  hasExample: boolean;
}) {
  const query = conditionOfRows([{ field: "id", operator: "is", value: prediction }]);
  const variables = { projectId: project, evaluationCallId: run.id, query, first: 1 };
  const { data, error, retry } = useQuery(EvaluationRowsDocument, prediction ? variables : null, QUIET);
  const result = data?.evaluationResults?.nodes[0];
  return (
    <>
      {hasExample && (
        <>
          <h2>Example</h2>
          {result && <Json value={result.example} />}
        </>
      )}
      <h2>{run.displayName ?? shortId(run.id)}</h2>
      {error ? (
        <Problem error={error} retry={retry} />
      ) : result ? (
        <Trials result={result} />
      ) : (
        prediction && (data ? <p class="muted">This row does not exist any more.</p> : <Skeleton lines={2} />)
      )}
    </>
  );
}

function Difference({ value }: { value: number | null }) {
  if (!value) return null;
  return <span class="muted">{value > 0 ? `▲ ${+value.toPrecision(3)}` : `▼ ${+(-value).toPrecision(3)}`}</span>;
}
