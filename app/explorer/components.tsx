// Small parts of several views.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { address, go, here } from "./address";
import type { ApiError } from "./api";
import { absoluteTime, relativeTime } from "./formats";
import type { CallKind, TraceStatus } from "./generated/graphql";

/** The current time in milliseconds; it moves every few seconds, so that relative times stay right. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 5_000);

export const isUtc = () => address.value.get("utc") !== null;

const STATUS: Record<TraceStatus, [sign: string, name: string, className: string]> = {
  SUCCESS: ["✓", "success", "ok"],
  ERROR: ["✕", "error", "error"],
  RUNNING: ["●", "running", "running"],
  DESCENDANT_ERROR: ["!", "error below", "warn"],
};

/** Sign of a status, with its name for screen readers. */
export function Status({ status }: { status: TraceStatus | null | undefined }) {
  if (!status) return null;
  const [sign, name, className] = STATUS[status];
  return (
    <span class={`status ${className}`} title={name}>
      <span aria-hidden="true">{sign}</span>
      <span class="unseen">{name}</span>
    </span>
  );
}

const KIND_LETTERS: Record<CallKind, string> = {
  LLM: "L",
  AGENT: "A",
  TOOL: "T",
  RETRIEVER: "R",
  RERANKER: "K",
  EMBEDDING: "E",
  CHAIN: "C",
  GUARDRAIL: "G",
  EVALUATOR: "V",
  PROMPT: "P",
  OTHER: "O",
};

/** Letter of a kind in its colour. */
export function Kind({ kind }: { kind: CallKind | null | undefined }) {
  const name = (kind ?? "CHAIN").toLowerCase();
  return (
    <span class={`kind kind-${name}`} title={kind ? name : "no kind"}>
      <span aria-hidden="true">{kind ? KIND_LETTERS[kind] : "·"}</span>
      <span class="unseen">{kind ? name : "no kind"}</span>
    </span>
  );
}

/** Time relative to now, with the absolute one on hover. */
export function Time({ at }: { at: string | null | undefined }) {
  if (!at) return <>–</>;
  return (
    <time dateTime={at} title={absoluteTime(at, isUtc(), { isExact: true })}>
      {relativeTime(at, now.value, isUtc())}
    </time>
  );
}

/** Button that copies a text and says so. */
export function Copy({
  text,
  children,
  title,
}: {
  text: string | (() => string);
  children?: ComponentChildren;
  title?: string;
}) {
  const [state, setState] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "string" ? text : text());
      setState("Copied");
    } catch {
      setState("The browser does not allow copying on this page");
    }
    setTimeout(() => setState(""), 1_500);
  };
  return (
    <button type="button" class="copy" title={title ?? "Copy"} aria-label={title ?? "Copy"} onClick={copy}>
      {state || (children ?? <CopySign />)}
    </button>
  );
}

function CopySign() {
  return (
    <svg width="11" height="11" viewBox="0 0 11 11" fill="none" stroke="currentColor" aria-hidden="true">
      <rect x="0.5" y="2.5" width="7" height="8" rx="1" />
      <path d="M3.5 2.5v-1a1 1 0 0 1 1-1h5a1 1 0 0 1 1 1v6a1 1 0 0 1-1 1h-2" />
    </svg>
  );
}

/** Error of a request, with its code and id, and a button that tries again. */
export function Problem({ error, retry }: { error: ApiError; retry?: () => void }) {
  return (
    <div class="problem" role="alert">
      <strong>{error.message}</strong>
      <div class="muted">
        {error.code}
        {error.requestId && (
          <>
            {" · request "}
            <code>{error.requestId}</code> <Copy text={error.requestId} title="Copy the id of the request" />
          </>
        )}
      </div>
      {retry && (
        <button type="button" onClick={retry}>
          Retry
        </button>
      )}
    </div>
  );
}

/** Lines in place of content that loads. */
export function Skeleton({ lines = 6 }: { lines?: number }) {
  return (
    <div class="skeleton" aria-hidden="true">
      {Array.from({ length: lines }, (_, line) => (
        <div key={line} />
      ))}
    </div>
  );
}

/** State without content: why, and what to do. */
export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** Panel below its button; Escape and a click elsewhere close it. */
export function Popover({
  label,
  title,
  children,
  className = "",
}: {
  label: ComponentChildren;
  title?: string;
  children: (close: () => void) => ComponentChildren;
  className?: string;
}) {
  const [isOpen, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const close = () => setOpen(false);
  useEffect(() => {
    if (!isOpen) return;
    const onPointer = (event: Event) => root.current?.contains(event.target as Node) || close();
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close();
      root.current?.querySelector("button")?.focus();
    };
    document.addEventListener("pointerdown", onPointer);
    document.addEventListener("keydown", onKey, true);
    return () => {
      document.removeEventListener("pointerdown", onPointer);
      document.removeEventListener("keydown", onKey, true);
    };
  }, [isOpen]);
  return (
    <div class={`popover ${className}`} ref={root}>
      <button type="button" aria-expanded={isOpen} title={title} onClick={() => setOpen(!isOpen)}>
        {label}
      </button>
      {isOpen && <div class="panel">{children(close)}</div>}
    </div>
  );
}

/** Dialog over the page; Escape closes it. */
export function Dialog({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog}
      aria-label={title}
      onClose={close}
      onClick={(event) => event.target === dialog.current && close()}
    >
      <header>
        <h2>{title}</h2>
        <button type="button" aria-label="Close" onClick={close}>
          ✕
        </button>
      </header>
      {children}
    </dialog>
  );
}

/** Width and height of an element in pixels, as they change. */
export function useSize<E extends HTMLElement>(): [{ current: E | null }, { width: number; height: number }] {
  const element = useRef<E>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => {
      const box = entry?.contentRect;
      if (box) setSize({ width: Math.round(box.width), height: Math.round(box.height) });
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, size];
}

/** Run a function for keys pressed outside of inputs. A key is `j`, or after another one `g t`. */
export function useKeys(keys: Record<string, (event: KeyboardEvent) => void>): void {
  const latest = useRef(keys);
  latest.current = keys;
  useEffect(() => {
    let first = "";
    const onKey = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented) return;
      if (target.closest("input, textarea, select, [contenteditable]") && event.key !== "Escape") return;
      if (document.querySelector("dialog[open]")) return;
      const action = latest.current[`${first} ${event.key}`] ?? latest.current[event.key];
      first = event.key === "g" ? "g" : "";
      if (!action) return;
      event.preventDefault();
      action(event);
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

/** Zone of the times on the page. */
export const timezone = () => (isUtc() ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone);

/** Return a state that this browser keeps. */
export function useStored<T>(name: string, initial: T): [T, (value: T) => void] {
  const stored = `loomql:explorer:${name}`;
  const [value, setValue] = useState<T>(() => {
    try {
      return (JSON.parse(localStorage.getItem(stored) ?? "null") as T | null) ?? initial;
    } catch {
      return initial;
    }
  });
  const set = (next: T) => {
    setValue(next);
    try {
      localStorage.setItem(stored, JSON.stringify(next));
    } catch {
      // A browser without storage forgets it, which costs nothing else.
    }
  };
  return [value, set];
}

/** Pause in milliseconds after which a value that changes fast is in the address; browsers refuse a change for each key. */
const SETTLED = 250;

/**
 * Return a value of the address, and a function that changes it while somebody types or drags: at once on the screen, and
 * in the address after a pause, without an entry in the history.
 */
export function useTyped(name: string): [string | null, (value: string | null) => void] {
  const given = address.value.get(name);
  const [typed, setTyped] = useState<{ value: string | null } | null>(null);
  const written = useRef(given);
  useEffect(() => {
    // A new value of the address is the one that was written, after which somebody may have typed on, or that of another
    // entry of the history.
    const isWritten = given === written.current;
    setTyped((latest) => (isWritten && latest?.value !== given ? latest : null));
  }, [given]);
  useEffect(() => {
    if (!typed) return;
    const timer = setTimeout(() => {
      written.current = typed.value || null;
      go(here({ [name]: written.current }), { replace: true });
    }, SETTLED);
    return () => clearTimeout(timer);
  }, [typed]);
  return [typed ? typed.value : given, (value) => setTyped({ value })];
}

/** Follow the pointer from the start of a drag; `onMove` gets its horizontal place in the window. */
export function onDrag(event: PointerEvent, onMove: (x: number) => void): void {
  event.preventDefault();
  const handle = event.currentTarget as HTMLElement;
  handle.setPointerCapture(event.pointerId);
  const move = (moved: PointerEvent) => onMove(moved.clientX);
  handle.addEventListener("pointermove", move);
  handle.addEventListener("lostpointercapture", () => handle.removeEventListener("pointermove", move), { once: true });
}
