// Actions on the marked rows of a list: delete, add to a dataset, give feedback, compare, download.

import { useState } from "preact/hooks";

import { go, there } from "./address";
import { ApiError, ask, currentKey, endpoint, key, useQuery, useRole } from "./api";
import { Dialog, Problem } from "./components";
import type { Condition } from "./filters";
import { count, exactCount } from "./formats";
import {
  CallContentsDocument,
  CreateObjectDocument,
  CreateTableDocument,
  DatasetDocument,
  DatasetsDocument,
  DeleteCallsDocument,
  ExtendTableDocument,
  GiveFeedbackToManyDocument,
} from "./generated/graphql";

/** A marked row, by the call that represents it. */
export interface Marked {
  callId: string;
  ref: string;
  traceId: string;
}

const MANY = 1_000;

export function Actions({
  project,
  marked,
  clear,
  again,
}: {
  project: string;
  marked: readonly Marked[];
  clear: () => void;
  again: () => void;
}) {
  const [isDeleting, setDeleting] = useState(false);
  const [isAdding, setAdding] = useState(false);
  const [note, setNote] = useState<string | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const mayWrite = useRole(project)("WRITER");
  const run = async (work: () => Promise<string | null>) => {
    setError(null);
    try {
      setNote(await work());
    } catch (problem) {
      setError(problem instanceof ApiError ? problem : new ApiError(String(problem), "INTERNAL"));
    }
  };
  const remove = () =>
    run(async () => {
      await ask(DeleteCallsDocument, { projectId: project, callIds: marked.map(({ callId }) => callId) });
      setDeleting(false);
      clear();
      again();
      return null;
    });
  const react = (emoji: string) =>
    run(async () => {
      const batch = marked.map(({ ref }) => ({
        projectId: project,
        weaveRef: ref,
        feedbackType: "wandb.reaction.1",
        payload: { emoji },
      }));
      await ask(GiveFeedbackToManyDocument, { batch });
      return `${emoji} is on ${exactCount(batch.length)} calls.`;
    });
  if (marked.length === 0)
    return note ? (
      <span class="muted" role="status">
        {note}
      </span>
    ) : null;
  return (
    <span class="bar" role="group" aria-label="Marked rows">
      <b>{count(marked.length)} marked</b>
      <button type="button" onClick={clear}>
        Unmark
      </button>
      {mayWrite && (
        <>
          <button type="button" aria-label="React with 👍" onClick={() => react("👍")}>
            👍
          </button>
          <button type="button" aria-label="React with 👎" onClick={() => react("👎")}>
            👎
          </button>
          <button type="button" onClick={() => setAdding(true)}>
            Add to a dataset
          </button>
        </>
      )}
      <button
        type="button"
        disabled={new Set(marked.map(({ traceId }) => traceId)).size !== 2}
        title="Mark two traces"
        onClick={() => go(there("compare", { t: [...new Set(marked.map(({ traceId }) => traceId))] }))}
      >
        Compare
      </button>
      {mayWrite && (
        <button type="button" class="error" onClick={() => setDeleting(true)}>
          Delete
        </button>
      )}
      {note && (
        <span class="muted" role="status">
          {note}
        </span>
      )}
      {error && <Problem error={error} />}
      {isDeleting && (
        <Dialog title={`Delete ${exactCount(marked.length)} calls?`} close={() => setDeleting(false)}>
          <p>The calls below them are deleted as well. This cannot be undone.</p>
          {error && <Problem error={error} />}
          <button type="button" class="error" onClick={remove}>
            Delete
          </button>
        </Dialog>
      )}
      {isAdding && (
        <AddToDataset
          project={project}
          marked={marked}
          close={() => setAdding(false)}
          done={(text) => {
            setAdding(false);
            setNote(text);
          }}
        />
      )}
    </span>
  );
}

/** Value of a new dataset without its rows, as the Weave SDK stores it. */
const DATASET = {
  _type: "Dataset",
  _class_name: "Dataset",
  _bases: ["Object", "BaseModel"],
  name: null,
  description: null,
};

/** Adds a row with the inputs and the output of each marked call to a new version of a dataset. */
export function AddToDataset({
  project,
  marked,
  close,
  done,
}: {
  project: string;
  marked: readonly Pick<Marked, "callId">[];
  close: () => void;
  done: (note: string) => void;
}) {
  const found = useQuery(DatasetsDocument, { projectId: project }, { isShown: false });
  const datasets = found.data?.objs?.nodes;
  const [name, setName] = useState("");
  const [problem, setProblem] = useState<ApiError | null>(null);
  const failed = (reason: unknown) =>
    setProblem(reason instanceof ApiError ? reason : new ApiError(String(reason), "INTERNAL"));
  const error = problem ?? found.error;
  const add = async () => {
    if (marked.length > MANY) throw new ApiError(`Mark ${exactCount(MANY)} rows at most.`, "TOO_MANY");
    const callIds = marked.map(({ callId }) => callId);
    const { calls } = await ask(CallContentsDocument, { projectId: project, callIds });
    const rows = (calls?.nodes ?? []).map(({ inputs, output }) => ({
      ...(inputs && typeof inputs === "object" && !Array.isArray(inputs) ? inputs : { inputs }),
      output,
    }));
    // Read now, so that the rows of the newest version stay.
    const { obj: existing } = await ask(DatasetDocument, { projectId: project, objectId: name });
    if (existing && existing.baseObjectClass !== DATASET._type) {
      const kind = existing.baseObjectClass ?? "object of another class";
      throw new ApiError(`${name} is a ${kind}. Choose another name.`, "NO_DATASET");
    }
    let digest: string | undefined;
    if (existing?.table) {
      const updates = rows.map((row) => ({ append: { row } }));
      digest = (await ask(ExtendTableDocument, { projectId: project, baseDigest: existing.table.digest, updates }))
        .tableUpdate?.digest;
    } else {
      digest = (await ask(CreateTableDocument, { table: { projectId: project, rows } })).tableCreate?.digest;
    }
    const val = { ...((existing?.val as object | null) ?? DATASET), rows: `weave:///${project}/table/${digest}` };
    await ask(CreateObjectDocument, { obj: { projectId: project, objectId: name, val } });
    done(`${exactCount(rows.length)} rows are in a new version of ${name}.`);
  };
  return (
    <Dialog title="Add to a dataset" close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          add().catch(failed);
        }}
      >
        <p>Each row has the inputs of a call, and its output in the column output.</p>
        <label>
          Dataset{" "}
          <input
            type="text"
            list="datasets"
            required
            value={name}
            onInput={(event) => setName(event.currentTarget.value.trim())}
          />
        </label>
        <datalist id="datasets">
          {datasets?.map(({ objectId, table }) => (
            <option key={objectId} value={objectId}>{`${exactCount(table?.count ?? 0)} rows`}</option>
          ))}
        </datalist>{" "}
        <button type="submit" disabled={!name}>
          {datasets?.some(({ objectId }) => objectId === name) ? "Add a version" : "Create the dataset"}
        </button>
        {error && <Problem error={error} />}
      </form>
    </Dialog>
  );
}

/** Links that download the calls of a list. */
export function Downloads({ project, found }: { project: string; found: Condition }) {
  const [error, setError] = useState<string | null>(null);
  const link = (format: "ndjson" | "parquet") => {
    const given = new URLSearchParams({ projectId: project, filter: JSON.stringify(found.filter), format });
    if (found.query) given.set("query", JSON.stringify(found.query));
    return new URL(`export/calls?${given}`, endpoint).href;
  };
  // A link cannot send a key, so the page reads the file itself then.
  const read = async (event: Event, href: string, name: string) => {
    if (!key.value) return;
    event.preventDefault();
    const response = await fetch(href, { headers: { Authorization: `Bearer ${await currentKey()}` } });
    if (!response.ok) return setError(await response.text());
    const address = URL.createObjectURL(await response.blob());
    Object.assign(document.createElement("a"), { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  };
  return (
    <>
      {(["ndjson", "parquet"] as const).map((format) => {
        const name = `calls.${format}`;
        return (
          <a key={format} href={link(format)} download={name} onClick={(event) => void read(event, link(format), name)}>
            {format === "ndjson" ? "Download NDJSON" : "Download Parquet"}
          </a>
        );
      })}
      {error && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
    </>
  );
}
