// JSON as a tree that opens step by step, so that a value of any size and depth costs only what is shown.

import { useState } from "preact/hooks";

import { Copy } from "./components";
import { count } from "./formats";
import { RefLink, refLink } from "./refs";

const STEP = 100;
/** Characters of a string that are shown at first, and further ones that a click adds. */
const LONG = 400;
const LONGER = 100_000;
/** Depth up to which small values are open at first. */
const OPEN = 3;

interface Props {
  value: unknown;
  /** Path of the value, with which its parts can be copied or filtered by. */
  path?: string | undefined;
  onFilter?: ((path: string, value: unknown) => void) | undefined;
}

export function Json({ value, path, onFilter }: Props) {
  return (
    <div class="json">
      <Value value={value} path={path} onFilter={onFilter} depth={0} />
    </div>
  );
}

/** Return a name as a step of a path of the API. */
export const stepOf = (name: string) => name.replaceAll("\\", "\\\\").replaceAll(".", "\\.");

const pathOf = (path: string | undefined, name: string) => path && `${path}.${stepOf(name)}`;

function Value({ value, path, onFilter, depth }: Props & { depth: number }) {
  if (value === null || typeof value !== "object") return <Leaf value={value} path={path} onFilter={onFilter} />;
  return <Branch value={value} path={path} onFilter={onFilter} depth={depth} />;
}

function Branch({ value, path, onFilter, depth }: Props & { value: object; depth: number }) {
  const isList = Array.isArray(value);
  const names = isList ? null : Object.keys(value);
  const size = isList ? value.length : (names as string[]).length;
  const [isOpen, setOpen] = useState(depth < OPEN && size <= 20);
  const [shown, setShown] = useState(STEP);
  if (size === 0) return <span class="muted">{isList ? "[]" : "{}"}</span>;
  const number = Math.min(size, shown);
  return (
    <>
      <button type="button" class="toggle" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        {isOpen ? "▾" : "▸"} <span class="muted">{isList ? `[${count(size)}]` : `{${count(size)}}`}</span>
      </button>
      {isOpen && (
        <ul>
          {Array.from({ length: number }, (_, at) => {
            const name = isList ? String(at) : ((names as string[])[at] as string);
            const member = (value as Record<string, unknown>)[name];
            return (
              <li key={name}>
                <span class="name">{name}</span>:{" "}
                <Value value={member} path={pathOf(path, name)} onFilter={onFilter} depth={depth + 1} />
              </li>
            );
          })}
          {number < size && (
            <li>
              <button type="button" onClick={() => setShown(shown + STEP)}>
                {count(size - number)} more
              </button>
            </li>
          )}
        </ul>
      )}
    </>
  );
}

function Leaf({ value, path, onFilter }: Props) {
  const [length, setLength] = useState(LONG);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const type = value === null ? "null" : typeof value;
  const shown = text.length <= length ? text : `${text.slice(0, length)}…`;
  return (
    <span class="leaf">
      {type === "string" && text.length < LONG && refLink(text) ? (
        <RefLink to={text} />
      ) : (
        <bdi class={`is-${type}`}>{type === "string" ? `"${shown}"` : shown}</bdi>
      )}
      {length < text.length && (
        <button type="button" onClick={() => setLength(length + LONGER)}>
          more of {count(text.length)}
        </button>
      )}
      {path && (
        <span class="actions">
          <Copy text={path} title={`Copy the path ${path}`} />
          {onFilter && text.length <= 1_000 && value !== null && (
            <button
              type="button"
              class="copy"
              title={`Calls with this value at ${path}`}
              onClick={() => onFilter(path, value)}
            >
              =
            </button>
          )}
        </span>
      )}
    </span>
  );
}
