// The projects of the server, or of the caller's key.

import { there } from "./address";
import { endpoint, useQuery } from "./api";
import { Copy, Empty, now, Problem, Skeleton, Time } from "./components";
import { count, exactCount, money, percent } from "./formats";
import { ProjectActivityDocument, ProjectsDocument, type ProjectsQuery } from "./generated/graphql";

const DAYS = 14;
const DAY = 86_400_000;

type Project = NonNullable<ProjectsQuery["projects"]>["nodes"][number];

export function Projects() {
  const { data, error, retry } = useQuery(ProjectsDocument, { first: 100 });
  if (error) return <Problem error={error} retry={retry} />;
  if (!data) return <Skeleton />;
  const projects = data.projects?.nodes ?? [];
  if (projects.length === 0) return <FirstTrace project="my-team/my-project" />;
  return (
    <main class="projects">
      <h1>Projects</h1>
      <table>
        <thead>
          <tr>
            <th>Project</th>
            <th class="number">All calls</th>
            <th>Last {DAYS} days</th>
            <th class="number">Calls</th>
            <th class="number">Errors</th>
            <th class="number">Cost</th>
            <th>Last activity</th>
          </tr>
        </thead>
        <tbody>
          {projects.map((project) => (
            <ProjectRow key={project.id} project={project} />
          ))}
        </tbody>
      </table>
      {data.projects?.pageInfo.hasNextPage && (
        <p class="muted">Only the {projects.length} projects with the latest activity are listed.</p>
      )}
    </main>
  );
}

function ProjectRow({ project }: { project: Project }) {
  const today = Math.floor(now.value / DAY) * DAY;
  const filter = { startedAfter: new Date(today - (DAYS - 1) * DAY).toISOString() };
  const { data } = useQuery(
    ProjectActivityDocument,
    { projectId: project.id, filter, timezone: "UTC" },
    { isShown: false },
  );
  const rows = data?.callsAggregate?.rows ?? [];
  const counts = new Map(rows.map((row) => [Date.parse(row.bucketStart ?? ""), row]));
  const days = Array.from({ length: DAYS }, (_, day) => counts.get(today - (DAYS - 1 - day) * DAY));
  const calls = rows.reduce((sum, row) => sum + row.count, 0);
  const errors = rows.reduce((sum, row) => sum + row.errorCount, 0);
  const costs = rows.flatMap((row) => row.cost ?? []);
  return (
    <tr>
      <td>
        <a href={there("traces", { p: project.id, from: null, to: null })}>{project.id}</a>
      </td>
      <td class="number" title={exactCount(project.callCount)}>
        {count(project.callCount)}
      </td>
      <td>
        <Sparkline counts={days.map((row) => row?.count ?? 0)} errors={days.map((row) => row?.errorCount ?? 0)} />
      </td>
      <td class="number">{data ? count(calls) : ""}</td>
      <td class="number">{data ? (calls ? percent(errors / calls) : "–") : ""}</td>
      <td class="number">{data ? money(costs.length ? costs.reduce((sum, cost) => sum + cost, 0) : null) : ""}</td>
      <td>
        <Time at={project.lastActivityAt} />
      </td>
    </tr>
  );
}

/** Bars of counts, with their errors at the bottom. */
function Sparkline({ counts, errors }: { counts: number[]; errors: number[] }) {
  const [width, height] = [6, 22];
  const most = Math.max(1, ...counts);
  const bar = (value: number) => (value ? Math.max(1, (value / most) * height) : 0);
  return (
    <svg
      class="sparkline"
      width={counts.length * width}
      height={height}
      role="img"
      aria-label={`Calls by day: ${counts.join(", ")}`}
    >
      {counts.map((value, day) => (
        <>
          <rect class="bar" x={day * width} y={height - bar(value)} width={width - 1} height={bar(value)} />
          <rect
            class="bar-error"
            x={day * width}
            y={height - bar(errors[day] ?? 0)}
            width={width - 1}
            height={bar(errors[day] ?? 0)}
          />
        </>
      ))}
    </svg>
  );
}

/** How to send the first trace of a project, in several ways. */
export function FirstTrace({ project }: { project: string }) {
  const base = endpoint.href.replace(/\/graphql$/, "");
  const [entity, name] = project.split("/");
  const examples: [string, string][] = [
    [
      "OpenTelemetry",
      `export OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=${base}/v1/traces\nexport OTEL_EXPORTER_OTLP_TRACES_HEADERS=project_id=${project}\nexport OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf`,
    ],
    [
      "Weave",
      `export WF_TRACE_SERVER_URL=${base}/weave\nexport WANDB_BASE_URL=${base}/weave\nexport WANDB_API_KEY=${"0".repeat(40)}\n# in Python: weave.init("${entity}/${name}")`,
    ],
    [
      "curl",
      `curl ${endpoint.href} -H 'Content-Type: application/json' -d '${JSON.stringify({
        query: "mutation ($call: CompletedCallSchemaForInsert!) { callCreate(call: $call) { id } }",
        variables: {
          call: {
            projectId: project,
            opName: "hello",
            startedAt: new Date(now.peek() - 1_000).toISOString(),
            endedAt: new Date(now.peek()).toISOString(),
            inputs: { question: "Is anybody there?" },
            output: "Yes.",
          },
        },
      })}'`,
    ],
  ];
  return (
    <Empty title={`No calls in ${project} yet`}>
      <p>Send the first trace in one of these ways. It appears here when it arrives.</p>
      {examples.map(([title, text]) => (
        <section key={title}>
          <h3>
            {title} <Copy text={text} title={`Copy the commands for ${title}`} />
          </h3>
          <pre>{text}</pre>
        </section>
      ))}
    </Empty>
  );
}
