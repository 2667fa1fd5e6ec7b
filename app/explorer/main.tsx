// The Explorer: its bar, its views by the address, and its keys.

import "./style.css";

import { signal } from "@preact/signals";
import { Component, type ComponentChildren, type ComponentType, render } from "preact";
import { lazy, Suspense } from "preact/compat";
import { useEffect, useState } from "preact/hooks";

import { address, go, here, there } from "./address";
import { endpoint, key, needsKey, pages, type Shown, shown, signedIn, signOut, useQuery, useRole } from "./api";
import { Copy, Dialog, Empty, isUtc, Popover, Skeleton, useKeys, useStored } from "./components";
import { ProjectsDocument } from "./generated/graphql";
import { Projects } from "./projects";
import { Traces } from "./traces";

type View = ComponentType<{ project: string }>;

/** The views of a project by name; those with a title are in the bar. Only the list of traces is part of the first load. */
const VIEWS: Record<string, { view: View; title?: string; key?: string }> = {
  traces: { view: Traces, title: "Traces", key: "t" },
  trace: { view: later(() => import("./trace").then(({ TracePage }) => TracePage)) },
  threads: { view: later(() => import("./threads").then(({ Threads }) => Threads)), title: "Threads", key: "h" },
  charts: { view: later(() => import("./charts").then(({ Charts }) => Charts)), title: "Charts", key: "c" },
  objects: { view: later(() => import("./objects").then(({ Objects }) => Objects)), title: "Objects", key: "o" },
  evaluations: {
    view: later(() => import("./evaluations").then(({ Evaluations }) => Evaluations)),
    title: "Evaluations",
    key: "v",
  },
  compare: { view: later(() => import("./compare").then(({ Compare }) => Compare)) },
  playground: { view: later(() => import("./playground").then(({ Playground }) => Playground)) },
};

/** Return a view that loads when it is shown, or a little after the first one: then it needs no server to appear. */
function later(load: () => Promise<View>): View {
  // A failure counts only once the view is shown, which loads it again.
  setTimeout(() => void load().catch(() => undefined), 1_500);
  return lazy(load);
}

/** Views that belong to another one of the bar. */
const PARENTS: Record<string, string> = { trace: "traces", compare: "traces", playground: "traces" };
const IN_BAR = Object.entries(VIEWS).flatMap(([name, { title, key }]) => (title && key ? [{ name, title, key }] : []));

const AskForKey = lazy(() => import("./ask_for_key").then((module) => module.AskForKey));

const isHelpOpen = signal(false);

function App() {
  const project = address.value.get("p");
  const view = address.value.get("v") ?? (project ? "traces" : "projects");
  const shortcuts = Object.fromEntries(IN_BAR.map((each) => [`g ${each.key}`, () => project && go(there(each.name))]));
  useKeys({
    ...shortcuts,
    "g p": () => go("?"),
    "?": () => (isHelpOpen.value = true),
    y: () => void navigator.clipboard?.writeText(window.location.href),
  });
  useEffect(() => {
    document.title = [project, "LoomQL"].filter(Boolean).join(" · ");
  }, [project]);
  return (
    <>
      <TopBar project={project} view={view} />
      <Guard key={`${project} ${view}`}>
        <Suspense fallback={<Skeleton />}>
          <Content project={project} view={view} />
        </Suspense>
      </Guard>
      <Suspense fallback={null}>{needsKey.value && <AskForKey />}</Suspense>
      {isHelpOpen.value && <Help />}
    </>
  );
}

function Content({ project, view }: { project: string | null; view: string }) {
  useRole(project ?? "");
  if (!project || view === "projects") return <Projects />;
  const found = Object.hasOwn(VIEWS, view) && VIEWS[view];
  if (found) return <found.view key={project} project={project} />;
  return (
    <Empty title="There is no such page">
      <a href="?">All projects</a>
    </Empty>
  );
}

/** Shows an error of this program in place of the view. */
class Guard extends Component<{ children: ComponentChildren }, { error: Error | null }> {
  override state = { error: null };
  static override getDerivedStateFromError = (error: Error) => ({ error });
  override render() {
    const error: Error | null = this.state.error;
    if (!error) return this.props.children;
    return (
      <Empty title="This page failed">
        <p>{(error as Error).message}</p>
        <button type="button" onClick={() => window.location.reload()}>
          Reload
        </button>
      </Empty>
    );
  }
}

const PERIODS: readonly [string, string][] = [
  ["1h", "Last hour"],
  ["24h", "Last 24 hours"],
  ["7d", "Last 7 days"],
  ["30d", "Last 30 days"],
  ["90d", "Last 90 days"],
];

function TopBar({ project, view }: { project: string | null; view: string }) {
  return (
    <header class="top">
      <a class="logo" href="?" title="All projects">
        LoomQL
      </a>
      {project && <ProjectSwitch project={project} />}
      <nav aria-label="Views">
        {project &&
          IN_BAR.map(({ name, title, key }) => (
            <a
              key={name}
              href={there(name)}
              aria-current={(Object.hasOwn(PARENTS, view) ? PARENTS[view] : view) === name ? "page" : undefined}
              title={`g ${key}`}
            >
              {title}
            </a>
          ))}
      </nav>
      <span class="space" />
      {project && <TimeRange />}
      <ShowQuery />
      <Theme />
      {pages.graphiql !== undefined && <a href={pages.graphiql}>GraphiQL</a>}
      {pages.docs !== undefined && <a href={pages.docs}>Docs</a>}
      {key.value && (
        <button type="button" onClick={() => void signOut()}>
          Sign out
        </button>
      )}
      <button type="button" aria-label="Help" title="Keys ( ? )" onClick={() => (isHelpOpen.value = true)}>
        ?
      </button>
    </header>
  );
}

function ProjectSwitch({ project }: { project: string }) {
  return (
    <Popover
      label={
        <>
          {project} <span aria-hidden="true">▾</span>
        </>
      }
      title="Switch the project"
    >
      {(close) => <ProjectList close={close} />}
    </Popover>
  );
}

function ProjectList({ close }: { close: () => void }) {
  const { data } = useQuery(ProjectsDocument, { first: 100 }, { isShown: false });
  if (!data) return <Skeleton lines={3} />;
  return (
    <>
      {data.projects?.nodes.map(({ id }) => (
        <a key={id} href={`?p=${id}&v=traces`} onClick={close}>
          {id}
        </a>
      ))}
      <a href="?" onClick={close}>
        All projects
      </a>
    </>
  );
}

function TimeRange() {
  const [from, to] = [address.value.get("from"), address.value.get("to")];
  const known = PERIODS.find(([period]) => period === from && !to)?.[1];
  const local = (text: string | null) =>
    text && !Number.isNaN(Date.parse(text))
      ? new Date(Date.parse(text) - (isUtc() ? 0 : new Date(text).getTimezoneOffset() * 60_000))
          .toISOString()
          .slice(0, 16)
      : "";
  const parsed = (text: string) => (text ? new Date(isUtc() ? `${text}Z` : text).toISOString() : null);
  return (
    <Popover
      label={
        known ??
        (from || to ? `${local(from).replace("T", " ") || "…"} – ${local(to).replace("T", " ") || "now"}` : "All times")
      }
      title="Range of times"
      className="right"
    >
      {(close) => (
        <div class="times">
          <a href={here({ from: null, to: null })} onClick={close}>
            All times
          </a>
          {PERIODS.map(([period, title]) => (
            <a key={period} href={here({ from: period, to: null })} onClick={close}>
              {title}
            </a>
          ))}
          <label>
            From{" "}
            <input
              type="datetime-local"
              value={local(from)}
              onChange={(event) => go(here({ from: parsed(event.currentTarget.value) }))}
            />
          </label>
          <label>
            To{" "}
            <input
              type="datetime-local"
              value={local(to)}
              onChange={(event) => go(here({ to: parsed(event.currentTarget.value) }))}
            />
          </label>
          <a href={here({ utc: isUtc() ? null : "" })}>{isUtc() ? "Show local times" : "Show times in UTC"}</a>
        </div>
      )}
    </Popover>
  );
}

const THEMES = ["system", "light", "dark"] as const;

function Theme() {
  const [theme, setTheme] = useStored<(typeof THEMES)[number]>("theme", "system");
  useEffect(() => {
    if (theme === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
  return (
    <button
      type="button"
      title={`Theme: ${theme}. Click for ${next}`}
      aria-label={`Theme: ${theme}`}
      onClick={() => setTheme(next)}
    >
      {{ system: "◐", light: "☀", dark: "☾" }[theme]}
    </button>
  );
}

/** The requests behind the view, each ready for GraphiQL, curl and Python. */
function ShowQuery() {
  const [isOpen, setOpen] = useState(false);
  useKeys({ ".": () => setOpen(true) });
  const unique = new Map(shown.value.map((each) => [each.document.toString() + JSON.stringify(each.variables), each]));
  return (
    <>
      <button type="button" title="Show the queries of this view ( . )" onClick={() => setOpen(true)}>
        {"{ }"}
      </button>
      {isOpen && (
        <Dialog title="Queries of this view" close={() => setOpen(false)}>
          {unique.size === 0 && <p class="muted">This view asks nothing.</p>}
          {[...unique.values()].map((each) => (
            <QueryText key={each.document.toString()} shown={each} />
          ))}
        </Dialog>
      )}
    </>
  );
}

const queryText = ({ document }: Shown) => document.toString().replace(/^ {4}/gm, "").trim();

function QueryText({ shown }: { shown: Shown }) {
  const query = queryText(shown);
  const variables = JSON.stringify(shown.variables, null, 2);
  const name = /(query|subscription) (\w+)/.exec(query)?.[2];
  const link = pages.graphiql && `${pages.graphiql}?${new URLSearchParams({ query, variables })}`;
  return (
    <section class="query">
      <h3>{name}</h3>
      <div class="bar">
        {link && (
          <a href={link} target="_blank" rel="noopener noreferrer">
            Open in GraphiQL
          </a>
        )}
        <Copy text={() => asCurl(query, shown.variables)} title="Copy as curl">
          Copy as curl
        </Copy>
        <Copy text={() => asPython(query, shown.variables)} title="Copy as Python">
          Copy as Python
        </Copy>
      </div>
      <pre>{query}</pre>
      <pre>{variables}</pre>
    </section>
  );
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
const asCurl = (query: string, variables: object) =>
  [
    `curl ${endpoint.href} -H 'Content-Type: application/json'`,
    ...(key.peek() ? [`  -H "Authorization: Bearer $LOOMQL_KEY"`] : []),
    `  -d ${quoted(JSON.stringify({ query, variables }))}`,
  ].join(" \\\n");
const asPython = (query: string, variables: object) =>
  `import json
import os
from urllib.request import Request, urlopen

query = ${JSON.stringify(query)}
variables = json.loads(${JSON.stringify(JSON.stringify(variables))})
headers = {"Content-Type": "application/json"}
if key := os.environ.get("LOOMQL_KEY"):
    headers["Authorization"] = f"Bearer {key}"
body = json.dumps({"query": query, "variables": variables}).encode()
with urlopen(Request(${JSON.stringify(endpoint.href)}, body, headers)) as response:
    print(json.dumps(json.load(response), indent=2))
`;

const KEYS: readonly [string, string][] = [
  ["/", "filter"],
  ["j k", "next and previous row"],
  ["Enter", "open the selected row"],
  ["Esc", "close"],
  ["h l", "fold and unfold a call"],
  ["e", "next error"],
  ["[ ]", "newer and older trace"],
  ["g p", "projects"],
  ...IN_BAR.map(({ key, title }): [string, string] => [`g ${key}`, title.toLowerCase()]),
  [".", "show the queries"],
  ["y", "copy a link"],
  ["?", "this help"],
];

function Help() {
  return (
    <Dialog title="Keys" close={() => (isHelpOpen.value = false)}>
      <dl class="keys">
        {KEYS.map(([keys, title]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{title}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

const root = document.getElementById("root") as HTMLElement;
void signedIn.finally(() => render(<App />, root));
