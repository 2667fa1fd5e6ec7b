// The selected call of a trace: its messages as a chat, its data, usage, feedback and facts.

import { useState } from "preact/hooks";

import { address, go, here, there } from "./address";
import { ask, useQuery, useRole } from "./api";
import { Messages } from "./chat";
import { Copy, isUtc, Problem, Skeleton, Status, Time } from "./components";
import { chipText, valueText } from "./filters";
import { absoluteTime, count, duration, money } from "./formats";
import {
  AnnotationFormsDocument,
  CallDetailsDocument,
  type CallDetailsQuery,
  GiveFeedbackDocument,
  RemoveFeedbackDocument,
} from "./generated/graphql";
import { Json } from "./json";
import { RefLink } from "./refs";
import type { Step } from "./timeline";

type Call = NonNullable<CallDetailsQuery["call"]>;

const TABS = ["chat", "data", "usage", "feedback", "facts"] as const;
type Tab = (typeof TABS)[number];

export function CallDetails({
  project,
  id,
  step,
  usage,
}: {
  project: string;
  id: string;
  step: Step | undefined;
  /** Tokens and cost of the call with those below it, as text; null if there are none. */
  usage: string | null;
}) {
  // A call that ends meanwhile is read again; a note that somebody is typing stays.
  const again = step?.isRunning ? 0 : 1;
  const { data, error, retry } = useQuery(CallDetailsDocument, { projectId: project, id }, { again });
  const asked = address.value.get("tab");
  const tab: Tab = TABS.find((each) => each === asked) ?? "chat";
  if (!data) return error ? <Problem error={error} retry={retry} /> : <Skeleton />;
  const call = data.call;
  if (!call) return <p class="muted">This call is deleted.</p>;
  return (
    <>
      {error && <Problem error={error} retry={retry} />}
      <header>
        <h2>
          <Status status={call.status} /> {call.traceName}
        </h2>
        <div class="muted">
          {duration(call.latencyMs)}
          {step && step.children.length > 0 && ` · self ${duration(step.self)}`}
          {call.model && ` · ${call.model}`}
          {usage && ` · ${usage}`}
        </div>
        {call.exception && <Exception call={call} />}
        <nav class="tabs" role="tablist" aria-label="Details">
          {TABS.map((each) => (
            <a key={each} role="tab" aria-selected={each === tab} href={here({ tab: each === "chat" ? null : each })}>
              {each[0]?.toUpperCase()}
              {each.slice(1)}
              {each === "feedback" && call.feedback.nodes.length > 0 && ` ${call.feedback.nodes.length}`}
            </a>
          ))}
        </nav>
      </header>
      <div role="tabpanel">
        {tab === "chat" && <Chat project={project} call={call} />}
        {tab === "data" && <Data call={call} />}
        {tab === "usage" && <UsageTable call={call} />}
        {tab === "feedback" && <Feedback project={project} call={call} again={retry} />}
        {tab === "facts" && <Facts call={call} />}
      </div>
    </>
  );
}

function Exception({ call }: { call: Call }) {
  const text = call.exception ?? "";
  const [first = "", ...rest] = text.trim().split("\n");
  const last = rest.at(-1) ?? first;
  const summary = first.startsWith("Traceback") ? last : first;
  return (
    <details class="exception">
      <summary>
        <span class="error">✕</span> {summary}
      </summary>
      <pre>{text}</pre>
    </details>
  );
}

function Chat({ project, call }: { project: string; call: Call }) {
  const mayWrite = useRole(project)("WRITER");
  const [inputs, outputs] = [call.messages ?? [], call.outputMessages ?? []];
  return (
    <>
      {inputs.length + outputs.length === 0 && <p class="muted">This call has no inputs and no output.</p>}
      <Messages project={project} inputs={inputs} outputs={outputs} />
      {!call.endedAt && <p class="running">● still running</p>}
      {call.kind === "LLM" && mayWrite && <a href={there("playground", { call: call.id })}>Run again with changes</a>}
    </>
  );
}

function Data({ call }: { call: Call }) {
  const filterBy = (path: string, value: unknown) => {
    const chip = { field: path, operator: "is" as const, value: valueText(value) };
    go(there("traces", { m: "calls", f: [chipText(chip)] }));
  };
  const parts: [string, unknown][] = [
    ["inputs", call.inputs],
    ["output", call.output],
    ["attributes", call.attributes],
    ["summary", call.summary],
  ];
  return (
    <>
      {parts.map(([name, value]) => (
        <details key={name} class="data" open={name !== "attributes" && name !== "summary"}>
          <summary>{name}</summary>
          <Copy text={() => JSON.stringify(value, null, 2)} title={`Copy ${name}`} />
          <Json value={value} path={name} onFilter={filterBy} />
        </details>
      ))}
    </>
  );
}

function UsageTable({ call }: { call: Call }) {
  const rows = call.costs.length
    ? call.costs
    : call.usage.map((usage) => ({
        ...usage,
        totalCost: null,
        uncachedInputTokens: null,
        cacheWrite5mTokens: null,
        cacheWrite1hTokens: null,
      }));
  if (rows.length === 0) return <p class="muted">This call reports no usage.</p>;
  return (
    <table class="usage">
      <thead>
        <tr>
          <th>Model</th>
          <th class="number">Input</th>
          <th class="number">From cache</th>
          <th class="number">To cache</th>
          <th class="number">Output</th>
          <th class="number">Reasoning</th>
          <th class="number">Total</th>
          <th class="number">Cost</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.model}>
            <td>{row.model}</td>
            <td class="number">{count(row.uncachedInputTokens)}</td>
            <td class="number">{count(row.cacheReadTokens)}</td>
            <td class="number">{count((row.cacheWrite5mTokens ?? 0) + (row.cacheWrite1hTokens ?? 0))}</td>
            <td class="number">{count(row.outputTokens)}</td>
            <td class="number">{count(row.reasoningTokens)}</td>
            <td class="number">{count(row.totalTokens)}</td>
            <td class="number">{money(row.totalCost)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

interface Schema {
  type?: string;
  enum?: unknown[];
  minimum?: number;
  maximum?: number;
  maxLength?: number;
}

interface Form {
  name?: string | null;
  description?: string | null;
  field_schema?: Schema;
  op_scope?: string[] | null;
}

/** The project's annotation forms that fit the op of a call: a field each, by its JSON Schema. */
function Annotations({
  project,
  call,
  give,
}: {
  project: string;
  call: Call;
  give: (feedbackType: string, payload: object, annotationRef: string) => void;
}) {
  const { data } = useQuery(AnnotationFormsDocument, { projectId: project }, { isShown: false });
  const forms = (data?.objs?.nodes ?? []).map(({ ref, objectId, val }) => ({
    ref,
    objectId,
    form: (val ?? {}) as Form,
  }));
  return (
    <>
      {forms
        .filter(({ form: { op_scope: ops } }) => !ops?.length || ops.includes(call.opName))
        .map(({ ref, objectId, form }) => (
          <label key={ref} class="annotation">
            <span title={form.description ?? undefined}>{form.name ?? objectId}</span>{" "}
            <Field
              schema={form.field_schema ?? {}}
              onValue={(value) => give(`wandb.annotation.${objectId}`, { value }, ref)}
            />
          </label>
        ))}
    </>
  );
}

function Field({ schema, onValue }: { schema: Schema; onValue: (value: unknown) => void }) {
  const options = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  if (options) {
    return (
      <select
        value=""
        onChange={(event) => {
          const chosen = options[event.currentTarget.selectedIndex - 1];
          if (chosen !== undefined) onValue(chosen);
        }}
      >
        <option value="">…</option>
        {options.map((option) => (
          <option key={String(option)}>{option === true ? "yes" : option === false ? "no" : String(option)}</option>
        ))}
      </select>
    );
  }
  const onKeyDown = (read: (text: string) => unknown) => (event: preact.TargetedKeyboardEvent<HTMLInputElement>) => {
    const input = event.currentTarget;
    if (event.key === "Enter" && input.value && input.reportValidity()) onValue(read(input.value));
  };
  if (schema.type === "integer" || schema.type === "number") {
    const { minimum: min, maximum: max } = schema;
    const bounds = { ...(min !== undefined && { min }), ...(max !== undefined && { max }) };
    return (
      <input type="number" step={schema.type === "integer" ? 1 : "any"} {...bounds} onKeyDown={onKeyDown(Number)} />
    );
  }
  return <input type="text" maxLength={schema.maxLength ?? 10_000} onKeyDown={onKeyDown(String)} />;
}

const REACTION = "wandb.reaction.1";
const NOTE = "wandb.note.1";

function Feedback({ project, call, again }: { project: string; call: Call; again: () => void }) {
  const [note, setNote] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const mayWrite = useRole(project)("WRITER");
  const run = (work: Promise<unknown>) =>
    work.then(
      () => {
        setProblem(null);
        again();
      },
      (error: unknown) => setProblem(error instanceof Error ? error.message : String(error)),
    );
  const give = (feedbackType: string, payload: object, annotationRef: string | null = null) =>
    run(ask(GiveFeedbackDocument, { projectId: project, weaveRef: call.ref, feedbackType, payload, annotationRef }));
  const remove = (id: string) =>
    run(
      ask(RemoveFeedbackDocument, {
        projectId: project,
        query: { json: { $expr: { $eq: [{ $getField: "id" }, { $literal: id }] } } },
      }),
    );
  return (
    <div class="feedback">
      <div class="bar" hidden={!mayWrite}>
        {["👍", "👎", "🎉", "❓"].map((emoji) => (
          <button
            key={emoji}
            type="button"
            aria-label={`React with ${emoji}`}
            onClick={() => give(REACTION, { emoji })}
          >
            {emoji}
          </button>
        ))}
      </div>
      <form
        hidden={!mayWrite}
        onSubmit={(event) => {
          event.preventDefault();
          void give(NOTE, { note }).then(() => setNote(""));
        }}
      >
        <textarea
          rows={2}
          aria-label="Note"
          placeholder="Write a note"
          value={note}
          onInput={(event) => setNote(event.currentTarget.value)}
        />
        <button type="submit" disabled={!note.trim()}>
          Add the note
        </button>
      </form>
      <Annotations project={project} call={call} give={give} />
      {problem && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
      {call.feedback.nodes.map((each) => {
        const payload = each.payload as { emoji?: string; note?: string; value?: unknown } | null;
        const value = payload?.value;
        return (
          <article key={each.id}>
            <div class="muted">
              {each.creator ?? each.wbUserId ?? "unknown"} · <Time at={each.createdAt} />{" "}
              <button
                type="button"
                class="copy"
                hidden={!mayWrite}
                onClick={() => remove(each.id)}
                title="Delete this feedback"
              >
                Delete
              </button>
            </div>
            {payload?.emoji ??
              payload?.note ??
              (value === undefined || typeof value === "object" ? (
                <Json value={each.payload} />
              ) : (
                <b>{String(value)}</b>
              ))}
            {each.feedbackType !== REACTION && each.feedbackType !== NOTE && (
              <div class="muted">{each.feedbackType}</div>
            )}
          </article>
        );
      })}
    </div>
  );
}

/** A value that leads to the calls that have it. */
const withLink = (field: string, value: string | null | undefined) =>
  value && <a href={there("traces", { m: "calls", f: [chipText({ field, operator: "is", value })] })}>{value}</a>;

function Facts({ call }: { call: Call }) {
  const facts: [string, preact.ComponentChildren][] = [
    [
      "Id",
      <>
        <code>{call.id}</code> <Copy text={call.id} title="Copy the id of the call" />
      </>,
    ],
    ["Op", call.opName],
    ["Kind", call.kind?.toLowerCase()],
    ["Started", absoluteTime(call.startedAt, isUtc(), { isExact: true })],
    ["Ended", call.endedAt ? absoluteTime(call.endedAt, isUtc(), { isExact: true }) : "still running"],
    ["First token", call.timeToFirstTokenMs == null ? null : duration(call.timeToFirstTokenMs)],
    ["Model", withLink("model", call.model)],
    ["Provider", withLink("provider", call.provider)],
    [
      "Prompt",
      call.prompt && (
        <a
          href={there("objects", { o: call.prompt.objectId, d: call.prompt.digest })}
        >{`${call.prompt.objectId} v${call.prompt.versionIndex}`}</a>
      ),
    ],
    ["User", withLink("user_id", call.userId)],
    ["Thread", call.threadId && <a href={there("threads", { thread: call.threadId })}>{call.threadId}</a>],
    ["Environment", withLink("environment", call.environment)],
    ["Release", withLink("release", call.release)],
    ["Tags", call.tags?.map((tag) => <span key={tag}>{withLink("tags", tag)} </span>)],
    ["Error type", withLink("error_type", call.errorType)],
    ["Finish reasons", call.finishReasons?.join(", ")],
    [
      "Refs",
      [...call.inputRefs, ...call.outputRefs].map(({ ref }) => (
        <div key={ref}>
          <RefLink to={ref} />
        </div>
      )),
    ],
  ];
  return (
    <dl class="facts">
      {facts.map(([name, value]) =>
        value == null || value === "" || (Array.isArray(value) && value.length === 0) ? null : (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ),
      )}
    </dl>
  );
}
