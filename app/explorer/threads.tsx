// Conversations: a table of threads, and one thread turn by turn.

import { useState } from "preact/hooks";

import { address, go, here, there } from "./address";
import { ask, useQuery, useShown } from "./api";
import { Copy, Empty, Problem, Skeleton, Status, Time } from "./components";
import { Messages } from "./chat";
import { bound, sortOf } from "./filters";
import { count, duration, exactCount, money } from "./formats";
import {
  type MessageFragment,
  ThreadDocument,
  type ThreadQuery,
  ThreadsCountDocument,
  ThreadsDocument,
  type ThreadsQuery,
} from "./generated/graphql";
import { type Column, Grid, useRows } from "./grid";

type Row = NonNullable<ThreadsQuery["threads"]>["nodes"][number];

const COLUMNS: readonly Column<Row>[] = [
  { id: "turns", title: "Turns", width: 64, isNumber: true, sort: "turn_count", cell: (row) => count(row.turnCount) },
  { id: "thread", title: "Thread", width: 240, cell: (row) => row.threadId, text: (row) => row.threadId },
  { id: "updated", title: "Last turn", width: 132, sort: "last_updated", cell: (row) => <Time at={row.lastUpdated} /> },
  { id: "start", title: "Started", width: 132, sort: "start_time", cell: (row) => <Time at={row.startTime} /> },
  {
    id: "p50",
    title: "p50 of turns",
    width: 92,
    isNumber: true,
    sort: "p50_turn_duration_ms",
    cell: (row) => duration(row.p50TurnDurationMs),
  },
  {
    id: "p99",
    title: "p99 of turns",
    width: 92,
    isNumber: true,
    sort: "p99_turn_duration_ms",
    cell: (row) => duration(row.p99TurnDurationMs),
  },
  { id: "calls", title: "Calls", width: 68, isNumber: true, sort: "num_calls", cell: (row) => count(row.numCalls) },
  {
    id: "errors",
    title: "Errors",
    width: 68,
    isNumber: true,
    sort: "num_errors",
    cell: (row) => (row.numErrors ? <span class="error">{count(row.numErrors)}</span> : ""),
  },
  {
    id: "tokens",
    title: "Tokens",
    width: 84,
    isNumber: true,
    sort: "total_tokens",
    cell: (row) => count(row.totalTokens),
  },
  { id: "cost", title: "Cost", width: 84, isNumber: true, sort: "total_cost", cell: (row) => money(row.totalCost) },
  { id: "users", title: "Users", width: 140, cell: (row) => row.users.join(", "), text: (row) => row.users.join(", ") },
];

export function Threads({ project }: { project: string }) {
  const threadId = address.value.get("thread");
  return threadId === null ? (
    <ThreadList project={project} />
  ) : (
    <ThreadPage key={threadId} project={project} threadId={threadId} />
  );
}

function ThreadList({ project }: { project: string }) {
  const state = address.value;
  const [listedAt] = useState(() => Date.now());
  const [from, to] = [bound(state.get("from"), listedAt), bound(state.get("to"), listedAt)];
  const filter = { afterDatetime: from, beforeDatetime: to };
  const sort = state.get("s") ?? "-last_updated";
  const identity = JSON.stringify([project, filter, sort]);
  const total = useQuery(ThreadsCountDocument, { projectId: project, filter }, { isShown: false });
  return (
    <ThreadTable
      key={identity}
      project={project}
      filter={filter}
      sort={sort}
      total={total.data?.threads?.totalCount ?? null}
    />
  );
}

function ThreadTable({
  project,
  filter,
  sort,
  total,
}: {
  project: string;
  filter: { afterDatetime: string | undefined; beforeDatetime: string | undefined };
  sort: string;
  total: number | null;
}) {
  const sortBy = sortOf(sort);
  const rows = useRows<Row>(
    async (page, abort) => (await ask(ThreadsDocument, { projectId: project, filter, sortBy, ...page }, abort)).threads,
    [],
  );
  useShown(ThreadsDocument, { projectId: project, filter, sortBy, first: 100 });
  const open = (row: Row) => go(there("threads", { thread: row.threadId }));
  return (
    <main class="traces">
      <div class="bar">
        <h1>Threads</h1>
        <span class="muted" role="status">
          {total === null ? "…" : exactCount(total)}
        </span>
      </div>
      {rows.error.value && <Problem error={rows.error.value} retry={() => rows.retry()} />}
      {rows.end.value === 0 ? (
        <Empty title="No threads">
          <p>
            A thread is a conversation: calls with a session id, of which a turn has ended. Widen the range of times, or{" "}
            send a session id, for example the attribute session.id of OpenTelemetry.
          </p>
        </Empty>
      ) : (
        <Grid
          label="threads"
          columns={COLUMNS}
          count={rows.end.value ?? total ?? 40}
          at={(index) => rows.at(index)}
          need={(from, to) => rows.need(from, to)}
          id={(row) => row.threadId}
          href={(row) => there("threads", { thread: row.threadId })}
          selected={null}
          onSelect={open}
          onOpen={open}
          sort={sort}
          onSort={(next) => go(here({ s: next }))}
        />
      )}
    </main>
  );
}

type Thread = NonNullable<ThreadQuery["thread"]>;
type Turn = Thread["turns"]["nodes"][number];
const TURNS = 50;

/**
 * Return what the user said in a turn, and the last answer: of the turn's calls of models if it has some, since the
 * inputs of the turn itself may begin with the whole history.
 */
function said(turn: Turn, thread: Thread): [MessageFragment[], MessageFragment[]] {
  const messages = (thread.conversation ?? []).flatMap(({ call, message }) =>
    call?.turnId === turn.id ? [message] : [],
  );
  const asked = messages.find(({ role }) => role === "user");
  const answered = messages.findLast(
    ({ role, parts }) => role === "assistant" && parts.some(({ __typename }) => __typename === "TextPart"),
  );
  return [asked ? [asked] : (turn.messages ?? []), answered ? [answered] : (turn.outputMessages ?? [])];
}

function ThreadPage({ project, threadId }: { project: string; threadId: string }) {
  const { data, error, retry } = useQuery(ThreadDocument, { projectId: project, threadId, first: TURNS });
  const [more, setMore] = useState<{ turns: Turn[]; after: string | null } | null>(null);
  if (error) return <Problem error={error} retry={retry} />;
  if (!data) return <Skeleton />;
  const { thread } = data;
  if (!thread) {
    return (
      <Empty title="There is no such thread">
        <p>Its turns may be deleted, or none of them has ended yet.</p>
        <a href={there("threads")}>All threads</a>
      </Empty>
    );
  }
  const turns = [...thread.turns.nodes, ...(more?.turns ?? [])];
  const after = more
    ? more.after
    : thread.turns.pageInfo.hasNextPage
      ? (thread.turns.pageInfo.endCursor ?? null)
      : null;
  const load = async () => {
    const next = (await ask(ThreadDocument, { projectId: project, threadId, first: TURNS, after })).thread?.turns;
    setMore({
      turns: [...(more?.turns ?? []), ...(next?.nodes ?? [])],
      after: next?.pageInfo.hasNextPage ? (next.pageInfo.endCursor ?? null) : null,
    });
  };
  return (
    <main class="thread">
      <header class="totals">
        <h1>
          <a href={there("threads")}>Threads</a> / {threadId} <Copy text={threadId} title="Copy the id of the thread" />
        </h1>
        <dl>
          {(
            [
              ["Turns", count(thread.turnCount)],
              ["p50 of turns", duration(thread.p50TurnDurationMs)],
              ["p99 of turns", duration(thread.p99TurnDurationMs)],
              ["Calls", count(thread.numCalls)],
              ["Errors", count(thread.numErrors)],
              ["Tokens", count(thread.totalTokens)],
              ["Cost", money(thread.totalCost)],
              ["Started", <Time key="start" at={thread.startTime} />],
              ["Users", thread.users.join(", ") || "–"],
            ] as const
          ).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      </header>
      {turns.map((turn, at) => (
        <section key={turn.id} class="turn" aria-label={`Turn ${at + 1}`}>
          <aside>
            <a href={there("trace", { t: turn.traceId, call: turn.id })}>Turn {at + 1}</a>{" "}
            <Status status={turn.status} />
            <div class="muted">
              {duration(turn.latencyMs)}
              <br />
              {money(turn.traceCost)}
              <br />
              <Time at={turn.startedAt} />
            </div>
            {turn.feedback.nodes.map((each) => (
              <span key={each.id} title={each.feedbackType}>
                {(each.payload as { emoji?: string } | null)?.emoji ?? "✎"}{" "}
              </span>
            ))}
          </aside>
          <div>
            <Messages project={project} inputs={said(turn, thread)[0]} outputs={said(turn, thread)[1]} />
            {turn.exception && <p class="error">{turn.exception.trim().split("\n").at(-1)}</p>}
          </div>
        </section>
      ))}
      {after !== null && (
        <button type="button" onClick={load}>
          More turns
        </button>
      )}
    </main>
  );
}
