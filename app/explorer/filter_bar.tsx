// The bar of filters: chips, a field that suggests fields and values, full text, and the query language for experts.

import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";

import { address, go, here } from "./address";
import { useQuery } from "./api";
import { Popover, useKeys } from "./components";
import { type Chip, chipText, type Condition, type Mode, NUMBERS, negated, OPERATORS, type Operator } from "./filters";
import { count } from "./formats";
import { AnnotationFormsDocument, FacetsDocument, PathsDocument } from "./generated/graphql";

const FIELDS = [
  "status",
  "kind",
  "name",
  "model",
  "provider",
  "user_id",
  "tags",
  "environment",
  "release",
  "error_type",
  "thread_id",
  "finish_reasons",
  "latency_ms",
  "total_tokens",
  "total_cost",
  "time_to_first_token_ms",
  "exception",
];
/** Numbers of calls, which have ranges with counts. */
const OF_NUMBERS = new Set(["latency_ms", "total_tokens", "total_cost", "time_to_first_token_ms"]);
/** Fields of feedback besides those of the project's annotation forms. */
const OF_FEEDBACK = ["feedback.[wandb.reaction.1].payload.emoji", "feedback.[wandb.note.1].payload.note"];
/** Fields of traces that calls lack. */
const OF_TRACES = ["num_calls", "num_errors"];
const WITH_FACETS = new Set([
  "status",
  "kind",
  "model",
  "provider",
  "user_id",
  "tags",
  "environment",
  "release",
  "error_type",
  "finish_reasons",
  "op_name",
  "thread_id",
]);

/** Suggests fields and values of calls or traces, and searches their text. */
export function CallFilterBar({
  project,
  mode,
  chips,
  found,
  dsl,
}: {
  project: string;
  mode: Mode;
  chips: readonly Chip[];
  found: Condition;
  dsl: unknown;
}) {
  const [isExpert, setExpert] = useState(dsl !== null);
  const words = address.value.get("q")?.trim() || null;
  return (
    <FilterBar
      chips={chips}
      onWords={(found) => go(here({ q: found, t: null, call: null }))}
      fields={(typed, onChoose) => <Fields project={project} mode={mode} typed={typed} onChoose={onChoose} />}
      values={(field, typed, onChoose, onRange) => (
        <Values {...{ project, field, typed, found, mode, onChoose, onRange }} />
      )}
      before={
        words !== null && (
          <span class="chip">
            <span class="text">text contains {words}</span>
            <button
              type="button"
              aria-label="Remove the text search"
              title="Remove"
              onClick={() => go(here({ q: null }))}
            >
              ✕
            </button>
          </span>
        )
      }
      after={
        <>
          <button type="button" aria-pressed={isExpert} onClick={() => setExpert(!isExpert)}>
            Advanced
          </button>
          {isExpert && <Expert dsl={dsl} />}
        </>
      }
    />
  );
}

type Choose = (text: string) => void;
type ChooseRange = (from: number, to: number) => void;

/** Chips of the address, and a field that adds one: `field = value`, or words if there is a search for them. */
export function FilterBar({
  chips,
  onWords,
  fields,
  values,
  before,
  after,
}: {
  chips: readonly Chip[];
  onWords?: Choose;
  fields: (typed: string, onChoose: Choose) => ComponentChildren;
  values: (field: string, typed: string, onChoose: Choose, onRange: ChooseRange) => ComponentChildren;
  before?: ComponentChildren;
  after?: ComponentChildren;
}) {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState("");
  const [isOpen, setOpen] = useState(false);
  useKeys({ "/": () => input.current?.focus() });
  const set = (next: readonly Chip[]) => go(here({ f: next.map(chipText), t: null, call: null }));
  // A field may contain spaces and signs, such as inputs.user name, if the operator is between spaces.
  const typed =
    /^\s*(\S.*?)\s+(!=|>=|<=|=|>|<|~)(?:\s+(.*))?$/s.exec(text) ??
    /^\s*([^\s=<>~!]+)(!=|>=|<=|=|>|<|~)\s*(.*)$/s.exec(text);
  const signs: Record<string, Operator> = {
    "=": "is",
    "!=": "is-not",
    ">": "gt",
    ">=": "gte",
    "<": "lt",
    "<=": "lte",
    "~": "contains",
  };
  const field = typed?.[1];
  const add = (...added: Chip[]) => {
    setText("");
    setOpen(false);
    set([...chips, ...added]);
  };
  const submit = (event: Event) => {
    event.preventDefault();
    if (typed?.[1] && typed[2] && typed[3])
      add({ field: typed[1], operator: signs[typed[2]] as Operator, value: typed[3] });
    else if (onWords && !typed && text.trim()) {
      // Words without an operator are a full-text search.
      setText("");
      setOpen(false);
      onWords(text.trim());
    }
  };
  return (
    <form class="filters" onSubmit={submit}>
      {before}
      {chips.map((chip, at) => (
        <ChipButton
          key={chipText(chip)}
          chip={chip}
          onChange={(next) => set(chips.flatMap((each, place) => (place === at ? (next ?? []) : each)))}
        />
      ))}
      <div
        class="typing"
        onFocusOut={(event) =>
          (event.currentTarget as HTMLElement).contains(event.relatedTarget as Node) || setOpen(false)
        }
      >
        <input
          ref={input}
          type="text"
          role="combobox"
          aria-expanded={isOpen}
          aria-label="Add a filter"
          placeholder={`field = value${onWords ? ", or words to search for" : ""}   ( / )`}
          value={text}
          onFocus={() => setOpen(true)}
          onInput={(event) => {
            setText(event.currentTarget.value);
            setOpen(true);
          }}
          onKeyDown={(event) => {
            if (event.key === "Escape") {
              setOpen(false);
              event.currentTarget.blur();
            } else if (event.key === "Backspace" && !text && chips.length > 0) set(chips.slice(0, -1));
          }}
        />
        {isOpen && (
          <div class="panel" role="listbox">
            {field
              ? values(
                  field,
                  typed?.[3] ?? "",
                  (value) => add({ field, operator: signs[typed?.[2] ?? "="] as Operator, value }),
                  (from, to) =>
                    add({ field, operator: "gte", value: String(from) }, { field, operator: "lt", value: String(to) }),
                )
              : fields(text.trim(), (name) => {
                  setText(`${name} ${NUMBERS.has(name) ? ">" : "="} `);
                  input.current?.focus();
                })}
          </div>
        )}
      </div>
      {after}
    </form>
  );
}

function ChipButton({ chip, onChange }: { chip: Chip; onChange: (next: Chip | null) => void }) {
  const opposite = negated(chip);
  const [value, setValue] = useState(chip.value);
  return (
    <span class="chip">
      <Popover
        label={
          <>
            {chip.field} <i>{OPERATORS[chip.operator]}</i> {chip.value}
          </>
        }
        title="Edit this condition"
      >
        {(close) => (
          <div class="edit">
            <select
              aria-label="Operator"
              value={chip.operator}
              onChange={(event) => onChange({ ...chip, operator: event.currentTarget.value as Operator })}
            >
              {Object.entries(OPERATORS).map(([operator, name]) => (
                <option key={operator} value={operator}>
                  {name}
                </option>
              ))}
            </select>
            <input
              type="text"
              aria-label="Value"
              value={value}
              onInput={(event) => setValue(event.currentTarget.value)}
              onKeyDown={(event) => {
                if (event.key !== "Enter") return;
                event.preventDefault();
                close();
                onChange({ ...chip, value });
              }}
            />
            {opposite && (
              <button type="button" onClick={() => onChange(opposite)}>
                Negate
              </button>
            )}
          </div>
        )}
      </Popover>
      <button type="button" aria-label={`Remove ${chip.field}`} title="Remove" onClick={() => onChange(null)}>
        ✕
      </button>
    </span>
  );
}

function Fields({ project, mode, typed, onChoose }: { project: string; mode: Mode; typed: string; onChoose: Choose }) {
  const { data } = useQuery(PathsDocument, typed.includes(".") ? { projectId: project } : null, { isShown: false });
  const paths = data?.callsPaths?.paths.map(({ path }) => path) ?? ["inputs.", "output.", "attributes.", "summary."];
  const forms = useQuery(AnnotationFormsDocument, { projectId: project }, { isShown: false });
  const ofForms = (forms.data?.objs?.nodes ?? []).map(
    ({ objectId }) => `feedback.[wandb.annotation.${objectId}].payload.value`,
  );
  const names = [...FIELDS, ...(mode === "traces" ? OF_TRACES : []), ...OF_FEEDBACK, ...ofForms, ...paths]
    .filter((name) => name.toLowerCase().includes(typed.toLowerCase()))
    .slice(0, 60);
  return (
    <>
      <Names names={names} onChoose={onChoose} />
      {typed && <p class="muted">Enter searches all calls for “{typed}”.</p>}
    </>
  );
}

/** Buttons that each choose a field. */
export const Names = ({ names, onChoose }: { names: readonly string[]; onChoose: Choose }) => (
  <>
    {names.map((name) => (
      <button key={name} type="button" role="option" onClick={() => onChoose(name)}>
        {name}
      </button>
    ))}
  </>
);

function Values({
  project,
  field,
  typed,
  found,
  mode,
  onChoose,
  onRange,
}: {
  project: string;
  field: string;
  typed: string;
  found: Condition;
  mode: Mode;
  onChoose: Choose;
  onRange: ChooseRange;
}) {
  const name = field === "name" ? "op_name" : field;
  const isPath = /^(inputs|output|attributes|summary|feedback)\./.test(name);
  // The numbers of a trace are totals, which calls do not have.
  const hasRanges = OF_NUMBERS.has(name) && mode !== "traces";
  const asks = WITH_FACETS.has(name) || hasRanges || isPath;
  const filter = mode === "calls" ? found.filter : { ...found.filter, traceRootsOnly: true };
  const { data, error, isLoading } = useQuery(
    FacetsDocument,
    asks ? { projectId: project, fields: [name], filter, query: found.query, limit: 50 } : null,
    { isShown: false, pause: 150 },
  );
  const values = (data?.callsFacets?.[0]?.values ?? []).filter(({ value }) =>
    String(value).toLowerCase().includes(typed.toLowerCase()),
  );
  if (!asks)
    return (
      <p class="muted">
        Type a value, then Enter{NUMBERS.has(field) ? ". Durations are milliseconds, and costs US dollars" : ""}.
      </p>
    );
  if (error) return <p class="error">{error.message}</p>;
  const ranges = hasRanges ? (data?.callsFacets?.[0]?.histogram ?? []).filter((bin) => bin.count) : [];
  return (
    <>
      {ranges.map(({ from, to, count: number }) => (
        <button key={from} type="button" role="option" onClick={() => onRange(from, to)}>
          <span>
            {from} to {to}
          </span>{" "}
          <span class="muted">{count(number)}</span>
        </button>
      ))}
      {ranges.length === 0 &&
        values.map(({ value, count: number }) => (
          <button
            key={String(value)}
            type="button"
            role="option"
            onClick={() => onChoose(typeof value === "string" ? value : JSON.stringify(value))}
          >
            <span>{String(value)}</span> <span class="muted">{count(number)}</span>
          </button>
        ))}
      {values.length === 0 && (
        <p class="muted">{isLoading ? "…" : "No value contains this text. Enter takes it as it is."}</p>
      )}
    </>
  );
}

/** The query language as JSON, for experts. */
function Expert({ dsl }: { dsl: unknown }) {
  const [text, setText] = useState(
    () => address.peek().get("dsl") ?? '{"$gt": [{"$getField": "latency_ms"}, {"$literal": 1000}]}',
  );
  let problem: string | null = dsl instanceof Error ? dsl.message : null;
  try {
    JSON.parse(text);
  } catch (error) {
    problem = (error as Error).message;
  }
  return (
    <div class="expert">
      <label>
        Condition below <code>$expr</code>, as JSON
        <textarea rows={3} spellcheck={false} value={text} onInput={(event) => setText(event.currentTarget.value)} />
      </label>
      <button type="button" disabled={problem !== null} onClick={() => go(here({ dsl: text }))}>
        Apply
      </button>
      <button type="button" onClick={() => go(here({ dsl: null }))}>
        Remove
      </button>
      {problem && <span class="error">{problem}</span>}
    </div>
  );
}
