// A model call that runs again with changes, streamed next to the original.

import { useEffect, useRef, useState } from "preact/hooks";

import { address, there } from "./address";
import { useQuery, useRole, watch } from "./api";
import { Messages } from "./chat";
import { Empty, Problem, Skeleton } from "./components";
import { count, duration, money } from "./formats";
import {
  CompleteDocument,
  type CompleteSubscription,
  type MessageFragment,
  PlaygroundCallDocument,
  type PlaygroundCallQuery,
} from "./generated/graphql";
import { AddToDataset } from "./selection";

interface Edited {
  role: string;
  content: unknown;
}

type Parameters = Record<string, unknown>;

/** Parameters of providers that the API takes, by the names that providers use. */
const NAMES: Record<string, string> = {
  temperature: "temperature",
  top_p: "topP",
  max_tokens: "maxTokens",
  max_completion_tokens: "maxCompletionTokens",
  seed: "seed",
  stop: "stop",
  presence_penalty: "presencePenalty",
  frequency_penalty: "frequencyPenalty",
  response_format: "responseFormat",
  tools: "tools",
  tool_choice: "toolChoice",
};

const textOf = (message: MessageFragment) =>
  message.parts.flatMap((part) => (part.__typename === "TextPart" ? [part.text] : [])).join("\n");

export function Playground({ project }: { project: string }) {
  const id = address.value.get("call");
  const { data, error, retry } = useQuery(PlaygroundCallDocument, id ? { projectId: project, id } : null);
  if (!id) {
    return (
      <Empty title="No call is chosen">
        <p>Open a model call of a trace, then choose “Run again with changes”.</p>
        <a href={there("traces", { m: "calls", f: ["kind:is:llm"] })}>Model calls</a>
      </Empty>
    );
  }
  if (error) return <Problem error={error} retry={retry} />;
  if (!data) return <Skeleton />;
  if (!data.call) return <Empty title="This call is deleted" />;
  return <Editor key={id} project={project} call={data.call} />;
}

type Call = NonNullable<PlaygroundCallQuery["call"]>;
type Answer = {
  text: string;
  isDone: boolean;
  error: string | null;
  call: NonNullable<CompleteSubscription["completionsCreateStream"]["call"]> | null;
};

function Editor({ project, call }: { project: string; call: Call }) {
  const inputs = (call.inputs ?? {}) as Parameters;
  const [model, setModel] = useState(String(inputs["model"] ?? call.model ?? ""));
  const [messages, setMessages] = useState<Edited[]>(() => {
    // The inputs of OpenAI's API have all that a message may have, such as the calls of tools.
    const stored = inputs["messages"];
    if (Array.isArray(stored) && stored.every((each) => each && typeof each === "object")) return stored as Edited[];
    return (call.messages ?? []).map((message) => ({ role: message.role, content: textOf(message) }));
  });
  const [parameters, setParameters] = useState(() =>
    JSON.stringify(
      Object.fromEntries(Object.entries(inputs).filter(([name, value]) => name in NAMES && value != null)),
      null,
      2,
    ),
  );
  const [isSaved, setSaved] = useState(true);
  const [isAdding, setAdding] = useState(false);
  const [note, setNote] = useState<string | null>(null);
  const [answer, setAnswer] = useState<Answer | null>(null);
  const mayWrite = useRole(project)("WRITER");
  const running = useRef<AbortController | null>(null);
  useEffect(() => () => running.current?.abort(), []);
  let parsed: Parameters | null = null;
  let problem: string | null = null;
  try {
    parsed = JSON.parse(parameters || "{}") as Parameters;
    const unknown = Object.keys(parsed).find((name) => !(name in NAMES));
    if (unknown) problem = `${unknown} is no parameter; use one of ${Object.keys(NAMES).join(", ")}`;
  } catch (error) {
    problem = (error as Error).message;
  }
  const run = () => {
    running.current?.abort();
    const abort = (running.current = new AbortController());
    setAnswer({ text: "", isDone: false, error: null, call: null });
    const given = Object.fromEntries(
      Object.entries(parsed ?? {}).map(([name, value]) => [NAMES[name] as string, value]),
    );
    let text = "";
    const variables = { projectId: project, inputs: { model, messages, ...given }, trackLlmCall: isSaved };
    watch(
      CompleteDocument,
      variables as typeof variables & { after?: null },
      abort.signal,
      ({ completionsCreateStream: event }) => {
        text += event.text ?? "";
        const failure = (event.response as { error?: string } | null)?.error ?? null;
        const isDone = event.type === "FINISHED";
        setAnswer({ text, isDone, error: failure, call: event.call });
        // The stream has ended, and another connection would ask the model again.
        if (isDone) abort.abort();
        return "";
      },
      (error) => {
        if (!error) return;
        abort.abort();
        setAnswer({ text, isDone: true, error: error.message, call: null });
      },
    );
  };
  return (
    <main class="playground">
      <div class="bar">
        <h1>Run again</h1>
        <a href={there("trace", { t: call.traceId, call: call.id })}>{call.traceName}</a>
      </div>
      <div class="columns even">
        <section aria-label="Request">
          <label>
            Model <input type="text" value={model} onInput={(event) => setModel(event.currentTarget.value)} />
          </label>
          {messages.map((message, at) => (
            <div key={at} class="edited">
              <div class="bar">
                <select
                  aria-label="Role"
                  value={message.role}
                  onChange={(event) => setMessages(messages.with(at, { ...message, role: event.currentTarget.value }))}
                >
                  {[...new Set(["system", "developer", "user", "assistant", "tool", message.role])].map((role) => (
                    <option key={role}>{role}</option>
                  ))}
                </select>
                <button type="button" class="copy" onClick={() => setMessages(messages.toSpliced(at, 1))}>
                  Remove
                </button>
              </div>
              {typeof message.content === "string" || message.content == null ? (
                <textarea
                  rows={Math.min(12, 2 + String(message.content ?? "").split("\n").length)}
                  aria-label={`Message of the ${message.role}`}
                  value={message.content ?? ""}
                  onInput={(event) =>
                    setMessages(messages.with(at, { ...message, content: event.currentTarget.value }))
                  }
                />
              ) : (
                <pre>{JSON.stringify(message.content, null, 2)}</pre>
              )}
            </div>
          ))}
          <button type="button" onClick={() => setMessages([...messages, { role: "user", content: "" }])}>
            Add a message
          </button>
          <label>
            Parameters, as JSON
            <textarea
              rows={4}
              spellcheck={false}
              value={parameters}
              onInput={(event) => setParameters(event.currentTarget.value)}
            />
          </label>
          {problem && <p class="error">{problem}</p>}
          <div class="bar">
            {!mayWrite && <span class="muted">Running a model takes the role writer.</span>}
            <button
              type="button"
              hidden={!mayWrite}
              disabled={problem !== null || !model || messages.length === 0}
              onClick={run}
            >
              Run
            </button>
            {answer && !answer.isDone && (
              <button
                type="button"
                onClick={() => {
                  running.current?.abort();
                  setAnswer({ ...answer, isDone: true });
                }}
              >
                Stop
              </button>
            )}
            <label hidden={!mayWrite}>
              <input type="checkbox" checked={isSaved} onChange={(event) => setSaved(event.currentTarget.checked)} />{" "}
              Save as a call
            </label>
          </div>
        </section>
        <section aria-label="Answers">
          <h2>
            Original{" "}
            <span class="muted">
              {duration(call.latencyMs)} · {count(call.totalTokens)} tokens · {money(call.totalCost)}
            </span>
          </h2>
          {call.exception && <p class="error">{call.exception.trim().split("\n").at(-1)}</p>}
          <Messages project={project} inputs={[]} outputs={call.outputMessages ?? []} />
          {answer && (
            <>
              <h2>
                New {!answer.isDone && <span class="running">● streams</span>}
                {answer.call && (
                  <span class="muted">
                    {" "}
                    {duration(answer.call.latencyMs)} · {count(answer.call.totalTokens)} tokens ·{" "}
                    {money(answer.call.totalCost)}{" "}
                  </span>
                )}
                {answer.call && <a href={there("trace", { t: answer.call.traceId, call: answer.call.id })}>open</a>}{" "}
                {answer.call && (
                  <button type="button" onClick={() => setAdding(true)}>
                    Add to a dataset
                  </button>
                )}
              </h2>
              {note && <p role="status">{note}</p>}
              {answer.error && (
                <p class="error" role="alert">
                  {answer.error}
                </p>
              )}
              {answer.text && (
                <pre class="plain" aria-live="polite">
                  {answer.text}
                </pre>
              )}
              {isAdding && answer.call && (
                <AddToDataset
                  project={project}
                  marked={[{ callId: answer.call.id }]}
                  close={() => setAdding(false)}
                  done={(text) => {
                    setAdding(false);
                    setNote(text);
                  }}
                />
              )}
            </>
          )}
        </section>
      </div>
    </main>
  );
}
