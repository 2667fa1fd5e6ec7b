// Messages with a model as a chat.

import { lazy, Suspense } from "preact/compat";
import { useState } from "preact/hooks";

import { endpoint } from "./api";
import { Copy, Status } from "./components";
import { count } from "./formats";
import type { MessageFragment } from "./generated/graphql";
import { Json } from "./json";

const Markdown = lazy(() => import("./markdown"));

type Part = MessageFragment["parts"][number];

/** The messages of a call's inputs and of its output. */
export function Messages({
  project,
  inputs,
  outputs,
}: {
  project: string;
  inputs: readonly MessageFragment[];
  outputs: readonly MessageFragment[];
}) {
  const messages = [...inputs, ...outputs];
  const results = new Map<string, Part>();
  for (const { parts } of messages)
    for (const part of parts)
      if (part.__typename === "ToolResultPart" && part.resultId) results.set(part.resultId, part);
  const calls = new Set(
    messages.flatMap(({ parts }) =>
      parts.flatMap((part) => (part.__typename === "ToolCallPart" && part.callId ? [part.callId] : [])),
    ),
  );
  return (
    <div class="chat">
      {messages.map((message, at) => {
        // The result of a tool is shown with its call.
        const parts = message.parts.filter(
          (part) => !(part.__typename === "ToolResultPart" && part.resultId && calls.has(part.resultId)),
        );
        if (parts.length === 0 && message.parts.length > 0) return null;
        return (
          <article key={at} class={`message ${message.role}`}>
            <header>
              {message.role}
              {message.name && <span class="muted"> {message.name}</span>}
              {at === inputs.length && inputs.length > 1 && <span class="muted"> output</span>}
            </header>
            <div>
              {message.role === "system" ? (
                <details>
                  <summary>{firstText(message)}</summary>
                  {parts.map((part, place) => (
                    <PartView key={place} project={project} part={part} results={results} />
                  ))}
                </details>
              ) : (
                parts.map((part, place) => <PartView key={place} project={project} part={part} results={results} />)
              )}
              {message.finishReason && message.finishReason !== "stop" && (
                <div class="muted">ended by {message.finishReason}</div>
              )}
            </div>
          </article>
        );
      })}
    </div>
  );
}

const firstText = (message: MessageFragment) => {
  const text = message.parts.find((part) => part.__typename === "TextPart")?.text ?? "";
  return text.length > 160 ? `${text.slice(0, 160)}…` : text || "(no text)";
};

/** Characters of a text that are shown at first, and further ones that a click adds; a browser takes seconds for more. */
const LONG = 20_000;
const STEP = 200_000;

/** Text of a message; a very long one is cut until somebody asks for more. */
function Text({ text }: { text: string }) {
  const [length, setLength] = useState(LONG);
  const shown = text.slice(0, length);
  if (text.length < STEP && /^\s*[[{]/.test(text)) {
    try {
      return <Json value={JSON.parse(text) as unknown} />;
    } catch {
      // It only begins like JSON.
    }
  }
  return (
    <>
      {shown.length > LONG ? (
        <pre class="plain">{shown}</pre>
      ) : (
        <Suspense fallback={<pre class="plain">{shown}</pre>}>
          <Markdown text={shown} />
        </Suspense>
      )}
      {shown.length < text.length && (
        <>
          <button type="button" onClick={() => setLength(length + STEP)}>
            Show more of {count(text.length)} characters
          </button>{" "}
          <Copy text={text} title="Copy the whole text">
            Copy all
          </Copy>
        </>
      )}
    </>
  );
}

function PartView({ project, part, results }: { project: string; part: Part; results: ReadonlyMap<string, Part> }) {
  switch (part.__typename) {
    case "TextPart":
      return <Text text={part.text} />;
    case "RefusalPart":
      return <p class="refusal">Refusal: {part.text}</p>;
    case "ReasoningPart":
      return (
        <details class="reasoning">
          <summary>Reasoning · {count(part.text.length)} characters</summary>
          <Text text={part.text} />
        </details>
      );
    case "ImagePart":
      return <Media project={project} part={part} name={part.imageName} data={part.data} />;
    case "AudioPart":
      return <Media project={project} part={part} name={part.audioName} data={null} />;
    case "FilePart":
      return <Media project={project} part={part} name={part.fileName ?? part.fileId} data={null} />;
    case "ToolCallPart": {
      const found = part.callId ? results.get(part.callId) : undefined;
      const result = found?.__typename === "ToolResultPart" ? found.result : undefined;
      return (
        <details class="tool">
          <summary>
            <Status status="SUCCESS" /> Tool call <b>{part.toolName}</b>
          </summary>
          <h4>Arguments</h4>
          <Json value={part.arguments} />
          {found && <h4>Result</h4>}
          {found && <Json value={result} />}
        </details>
      );
    }
    case "ToolResultPart":
      return (
        <details class="tool" open>
          <summary>Tool result</summary>
          <Json value={part.result} />
        </details>
      );
  }
}

/** An image of a stored file or of inline data; the address of a remote one is only text. */
function Media({
  project,
  part,
  name,
  data,
}: {
  project: string;
  part: { url: string | null; ref: string | null; mediaType: string | null };
  name: string | null | undefined;
  data: string | null;
}) {
  const [isBroken, setBroken] = useState(false);
  const digest = part.ref?.split("/").at(-1);
  const stored = digest ? new URL(`files/${project}/${digest}`, endpoint).href : null;
  const inline = data && part.mediaType?.startsWith("image/") ? `data:${part.mediaType};base64,${data}` : null;
  const source = inline ?? stored;
  const isImage = part.mediaType?.startsWith("image/") ?? false;
  if (source && isImage && !isBroken) {
    const image = (
      <img class="thumbnail" src={source} alt={name ?? "image"} loading="lazy" onError={() => setBroken(true)} />
    );
    return stored ? (
      <a href={stored} target="_blank" rel="noopener noreferrer">
        {image}
      </a>
    ) : (
      image
    );
  }
  return (
    <p class="muted">
      {isBroken ? "This image cannot be shown: " : `${part.mediaType ?? "file"}: `}
      {stored ? (
        <a href={stored} target="_blank" rel="noopener noreferrer">
          {name ?? digest}
        </a>
      ) : (
        (part.url ?? name ?? "no content")
      )}
    </p>
  );
}
