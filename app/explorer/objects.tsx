// Versioned objects: names, versions, their difference, and what used one; prompts as chats and datasets as tables.

import { address, go, here, there } from "./address";
import { ask, endpoint, useQuery, useShown } from "./api";
import { Copy, Empty, Problem, Skeleton, Status, Time, useKeys, useTyped } from "./components";
import { lineDifferences, sortedText } from "./differences";
import { sortOf } from "./filters";
import { bytes, count, exactCount, shortId } from "./formats";
import {
  ObjectDocument,
  type ObjectQuery,
  ObjectsDocument,
  ObjectValueDocument,
  TableRowsDocument,
} from "./generated/graphql";
import { type Column, Grid, useRows } from "./grid";
import { Json, stepOf } from "./json";

export function Objects({ project }: { project: string }) {
  const [name, digest] = [address.value.get("o"), address.value.get("d")];
  return name === null ? (
    <ObjectList project={project} />
  ) : (
    <ObjectPage key={`${name} ${digest}`} project={project} name={name} digest={digest ?? "latest"} />
  );
}

const PAGE = 200;

function ObjectList({ project }: { project: string }) {
  const asked = address.value.get("class");
  const filter = { latestOnly: true, isOp: false, ...(asked && { baseObjectClasses: [asked] }) };
  const { data, error, retry } = useQuery(ObjectsDocument, { projectId: project, filter, first: PAGE });
  const [typed, setTyped] = useTyped("name");
  if (error) return <Problem error={error} retry={retry} />;
  if (!data) return <Skeleton />;
  const objects = (data.objs?.nodes ?? []).filter(({ objectId }) =>
    objectId.toLowerCase().includes((typed ?? "").toLowerCase()),
  );
  const classes = [...new Set(data.objs?.nodes.flatMap(({ baseObjectClass }) => baseObjectClass ?? []))].sort();
  return (
    <main>
      <div class="bar">
        <h1>Objects</h1>
        <span class="muted">{exactCount(data.objs?.totalCount ?? 0)}</span>
        <input
          type="search"
          aria-label="Filter by name"
          placeholder="Filter by name"
          value={typed ?? ""}
          onInput={(event) => setTyped(event.currentTarget.value)}
        />
        <span class="tabs" role="group" aria-label="Classes">
          <a href={here({ class: null })} aria-current={asked === null}>
            all
          </a>
          {[...new Set([...classes, ...(asked ? [asked] : [])])].map((each) => (
            <a key={each} href={here({ class: each })} aria-current={asked === each}>
              {each}
            </a>
          ))}
        </span>
      </div>
      {objects.length === 0 ? (
        <Empty title="No objects">
          <p>Programs store prompts, datasets, models and evaluations with objCreate, or with the Weave SDK.</p>
        </Empty>
      ) : (
        <table>
          <thead>
            <tr>
              <th>Name</th>
              <th>Class</th>
              <th class="number">Version</th>
              <th class="number">Size</th>
              <th>Created</th>
              <th>By</th>
            </tr>
          </thead>
          <tbody>
            {objects.map((object) => (
              <tr key={object.objectId}>
                <td>
                  <a href={there("objects", { o: object.objectId })}>{object.objectId}</a>
                </td>
                <td>{object.leafObjectClass ?? object.baseObjectClass}</td>
                <td class="number">v{object.versionIndex}</td>
                <td class="number">{bytes(object.sizeBytes)}</td>
                <td>
                  <Time at={object.createdAt} />
                </td>
                <td>{object.wbUserId}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {data.objs?.pageInfo.hasNextPage && <p class="muted">Only the newest {PAGE} are listed; choose a class.</p>}
    </main>
  );
}

type Obj = NonNullable<ObjectQuery["obj"]>;

function ObjectPage({ project, name, digest }: { project: string; name: string; digest: string }) {
  const { data, error, retry } = useQuery(ObjectDocument, { projectId: project, objectId: name, digest });
  if (error) return <Problem error={error} retry={retry} />;
  if (!data) return <Skeleton />;
  const object = data.obj;
  if (!object) {
    return (
      <Empty title={`There is no object ${name}`}>
        <p>This version may be deleted.</p>
        <a href={there("objects")}>All objects</a>
      </Empty>
    );
  }
  const compared = address.value.get("with");
  return (
    <main class="object">
      <h1>
        <a href={there("objects")}>Objects</a> / {object.objectId} v{object.versionIndex}{" "}
        <Copy text={object.ref} title="Copy the ref" />
      </h1>
      <div class="muted">
        {object.leafObjectClass ?? object.baseObjectClass ?? "object"} · <Time at={object.createdAt} /> ·{" "}
        {bytes(object.sizeBytes)} · <code>{shortId(object.digest)}</code>
        {object.wbUserId && ` · by ${object.wbUserId}`}
      </div>
      <div class="columns">
        <section>
          {compared !== null ? (
            <Difference project={project} object={object} other={compared} />
          ) : (
            <Value project={project} object={object} />
          )}
        </section>
        <aside>
          <h2>Versions</h2>
          <ul class="versions">
            {[...object.versions.nodes].reverse().map((version) => (
              <li key={version.digest} aria-current={version.digest === object.digest}>
                <a href={there("objects", { o: name, d: version.digest })}>v{version.versionIndex}</a>{" "}
                <span class="muted">
                  <Time at={version.createdAt} />
                </span>{" "}
                {version.digest !== object.digest && (
                  <a href={here({ d: object.digest, with: version.digest })}>compare</a>
                )}
              </li>
            ))}
          </ul>
          {object.versions.totalCount > object.versions.nodes.length && (
            <p class="muted">Only the newest {object.versions.nodes.length} versions are listed.</p>
          )}
          {object.usedBy.nodes.length > 0 && <h2>Used by</h2>}
          <ul class="versions">
            {object.usedBy.nodes.map((call) => (
              <li key={call.id}>
                <Status status={call.status} />{" "}
                <a href={there("trace", { t: call.traceId, call: call.id })}>{call.traceName}</a>{" "}
                <span class="muted">
                  <Time at={call.startedAt} />
                </span>
              </li>
            ))}
          </ul>
          {object.usedBy.pageInfo.hasNextPage && (
            <p class="muted">Only {object.usedBy.nodes.length} calls are listed.</p>
          )}
          {object.evaluationRuns.nodes.length > 0 && <h2>Evaluation runs</h2>}
          <ul class="versions">
            {object.evaluationRuns.nodes.map((run) => (
              <li key={run.id}>
                <a href={there("evaluations", { run: run.id })}>{run.displayName ?? shortId(run.id)}</a>{" "}
                <span class="muted">
                  <Time at={run.startedAt} />
                </span>
              </li>
            ))}
          </ul>
          {object.evaluationRuns.pageInfo.hasNextPage && (
            <p class="muted">Only {object.evaluationRuns.nodes.length} runs are listed.</p>
          )}
        </aside>
      </div>
    </main>
  );
}

interface Template {
  role?: unknown;
  content?: unknown;
}

/** Return the messages of a prompt's value; null if it is no prompt. */
function templatesOf(value: unknown): Template[] | null {
  const { messages, content } = (value ?? {}) as { messages?: unknown; content?: unknown };
  if (Array.isArray(messages) && messages.every((each) => each && typeof each === "object"))
    return messages as Template[];
  return typeof content === "string" ? [{ role: "prompt", content }] : null;
}

function Value({ project, object }: { project: string; object: Obj }) {
  const templates = templatesOf(object.val);
  return (
    <>
      {templates?.map(({ role, content }, at) => (
        <article key={at} class={`message ${String(role)}`}>
          <header>{String(role ?? "message")}</header>
          {typeof content === "string" ? <pre class="plain">{content}</pre> : <Json value={content} />}
        </article>
      ))}
      {object.files.map(({ name, digest, file }) => {
        const source = new URL(`files/${project}/${digest}`, endpoint).href;
        return (
          <p key={name}>
            <a href={source} target="_blank" rel="noopener noreferrer">
              {name}
            </a>{" "}
            <span class="muted">{bytes(file?.sizeBytes)}</span>
            {file?.contentType.startsWith("image/") && <img class="thumbnail" src={source} alt={name} loading="lazy" />}
          </p>
        );
      })}
      {object.table && <TableView project={project} digest={object.table.digest} number={object.table.count} />}
      <details class="data" open={!templates && !object.table}>
        <summary>Value</summary>
        <Copy text={() => JSON.stringify(object.val, null, 2)} title="Copy the value" />
        <Json value={object.val} />
      </details>
    </>
  );
}

function Difference({ project, object, other }: { project: string; object: Obj; other: string }) {
  const { data, error } = useQuery(ObjectValueDocument, {
    projectId: project,
    objectId: object.objectId,
    digest: other,
  });
  if (error) return <Problem error={error} />;
  if (!data) return <Skeleton />;
  const isNewer = (data.obj?.versionIndex ?? 0) > object.versionIndex;
  const [before, after] = [data.obj?.val, object.val].map(sortedText) as [string, string];
  const lines = isNewer ? lineDifferences(after, before) : lineDifferences(before, after);
  const [low, high] = [data.obj?.versionIndex ?? 0, object.versionIndex].sort((a, b) => a - b);
  return (
    <>
      <div class="bar">
        <span>
          From v{low} to v{high}
        </span>
        <a href={here({ with: null })}>Close</a>
      </div>
      {lines.every(([sign]) => sign === " ") && <p class="muted">The values are equal.</p>}
      <pre class="difference">
        {lines.map(([sign, text], at) => (
          <div key={at} class={sign === "+" ? "added" : sign === "-" ? "removed" : undefined}>
            {sign} {text.replaceAll("\\n", "\n  ")}
          </div>
        ))}
      </pre>
    </>
  );
}

interface TableRow {
  digest: string;
  val: unknown;
  originalIndex: number | null;
}

/** The rows of a table; its columns are the keys of the first rows. */
function TableView({ project, digest, number }: { project: string; digest: string; number: number }) {
  const sort = address.value.get("s");
  const sortBy = sort ? sortOf(sort) : undefined;
  const selected = address.value.get("row");
  const rows = useRows<TableRow>(
    async (page, abort) =>
      (await ask(TableRowsDocument, { projectId: project, digest, sortBy, ...page }, abort)).tableRows,
    [project, digest, sort],
  );
  useShown(TableRowsDocument, { projectId: project, digest, sortBy, first: 100 });
  const placeOf = (row: TableRow) => `${row.originalIndex} ${row.digest}`;
  const opened = rows.find((row) => placeOf(row) === selected);
  const open = (row: TableRow) => go(here({ row: placeOf(row) }), { replace: selected !== null });
  useKeys({ Escape: () => selected !== null && go(here({ row: null })) });
  const names = new Set<string>();
  for (let at = 0; at < 20; at++) {
    const value = rows.at(at)?.val;
    if (value && typeof value === "object") for (const name of Object.keys(value)) names.add(name);
  }
  const text = (row: TableRow, name: string) => {
    const value = (row.val as Record<string, unknown> | null)?.[name];
    return value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);
  };
  const columns: Column<TableRow>[] = [
    {
      id: "#",
      title: "#",
      width: 64,
      isNumber: true,
      cell: (row) => (row.originalIndex == null ? "" : count(row.originalIndex)),
    },
    ...[...names].slice(0, 30).map((name) => ({
      id: name,
      title: name,
      width: 220,
      sort: stepOf(name),
      cell: (row: TableRow) => text(row, name).slice(0, 300),
      text: (row: TableRow) => text(row, name).slice(0, 1_000),
    })),
  ];
  if (columns.length === 1)
    columns.push({ id: "value", title: "Value", width: 400, cell: (row) => JSON.stringify(row.val)?.slice(0, 300) });
  return (
    <div class="table">
      <div class="bar">
        <h2>Rows</h2>
        <span class="muted">{exactCount(number)}</span>
      </div>
      {rows.error.value && <Problem error={rows.error.value} retry={() => rows.retry()} />}
      <Grid
        label="rows of the table"
        columns={columns}
        count={number}
        at={(index) => rows.at(index)}
        need={(from, to) => rows.need(from, to)}
        id={placeOf}
        href={(row) => here({ row: placeOf(row) })}
        selected={selected}
        onSelect={open}
        onOpen={open}
        sort={sort}
        onSort={(next) => go(here({ s: next }))}
      />
      {opened && <Json value={opened.val} />}
    </div>
  );
}
