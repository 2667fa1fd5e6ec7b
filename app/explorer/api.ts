// Requests to the GraphQL API of this server. Each view lists its requests in `shown`, for "show the query".

import { effect, signal, type Signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";

import { ApiError } from "./errors";
import type { TypedDocumentString } from "./generated/graphql";

export { ApiError };

// biome-ignore lint/suspicious/noExplicitAny: a document of any type
export type Document = TypedDocumentString<any, any>;

export interface Shown {
  document: Document;
  variables: Record<string, unknown>;
}

const KEY = "loomql:key";
const meta = (name: string) => document.querySelector<HTMLMetaElement>(`meta[name="loomql-${name}"]`)?.content;
const onlyTrusted = meta("only-trusted") !== undefined;

/** Links to other pages of this server; undefined if it does not serve them. */
export const pages = { docs: meta("docs"), graphiql: meta("graphiql") };

export const endpoint = new URL("graphql", window.location.href.split(/[?#]/)[0]);

/** Key of the caller, kept for this tab. */
export const key = signal(sessionStorage.getItem(KEY) ?? "");
effect(() => (key.value ? sessionStorage.setItem(KEY, key.value) : sessionStorage.removeItem(KEY)));

/** True once the server has refused a request without a valid key. */
export const needsKey = signal(false);

/** Requests of the views on the screen. */
export const shown = signal<readonly Shown[]>([]);

interface Answer<Data> {
  data?: Data | null;
  errors?: { message: string; extensions?: { code?: string; argument?: string } }[];
}

const hashOf = (document: Document) => String(document.__meta__?.["hash"]);

/** Run a query or mutation. Throws an ApiError, also if only a part of the answer is missing. */
export async function ask<Data, Variables extends object>(
  document: TypedDocumentString<Data, Variables>,
  variables: Variables,
  abort?: AbortSignal,
): Promise<Data> {
  let response: Response;
  try {
    response = await fetch(endpoint, {
      method: "POST",
      headers: {
        Accept: "application/graphql-response+json, application/json",
        "Content-Type": "application/json",
        ...(key.value && { Authorization: `Bearer ${key.value}` }),
      },
      body: JSON.stringify({
        ...(onlyTrusted ? { documentId: hashOf(document) } : { query: document.toString() }),
        variables,
      }),
      signal: abort ?? null,
    });
  } catch (error) {
    if (abort?.aborted) throw error;
    throw new ApiError("The server does not answer. It may be stopped, or the network may be down.", "UNREACHABLE");
  }
  const requestId = response.headers.get("X-Request-ID");
  let answer: Answer<Data>;
  try {
    answer = (await response.json()) as Answer<Data>;
  } catch (error) {
    if (abort?.aborted) throw error;
    throw new ApiError(`The server answered ${response.status} without JSON.`, `HTTP_${response.status}`, requestId);
  }
  const [error] = answer.errors ?? [];
  if (error || !answer.data) {
    const code = error?.extensions?.code ?? `HTTP_${response.status}`;
    if (code === "UNAUTHENTICATED") needsKey.value = true;
    throw new ApiError(error?.message ?? response.statusText, code, requestId, error?.extensions?.argument ?? null);
  }
  return answer.data;
}

/** Subscribe until the abort. A lost connection resumes after the last event; `onState` tells if it is open. */
export function watch<Data, Variables extends { after?: string | null | undefined }>(
  document: TypedDocumentString<Data, Variables>,
  variables: Variables,
  abort: AbortSignal,
  onEvent: (data: Data) => string,
  onState: (error: Error | null) => void,
): void {
  let after = variables.after;
  const run = async () => {
    const { createClient } = await import("graphql-ws");
    for (let pause = 1_000; !abort.aborted; pause = Math.min(2 * pause, 30_000)) {
      const url = endpoint.href.replace(/^http/, "ws");
      const connectionParams = key.value ? { Authorization: `Bearer ${key.value}` } : {};
      const client = createClient({ url, connectionParams, retryAttempts: 0 });
      const stop = () => void client.dispose();
      abort.addEventListener("abort", stop);
      try {
        const payload = {
          query: onlyTrusted ? "" : document.toString(),
          variables: { ...variables, after },
          ...(onlyTrusted && { extensions: { persistedQuery: { version: 1, sha256Hash: hashOf(document) } } }),
        };
        for await (const { data, errors } of client.iterate<Data>(payload)) {
          if (errors?.[0]) throw errors[0];
          if (data) {
            after = onEvent(data);
            pause = 1_000;
            onState(null);
          }
        }
      } catch (error) {
        if (!abort.aborted) onState(error instanceof Error ? error : new Error("the connection to the server is lost"));
      }
      abort.removeEventListener("abort", stop);
      stop();
      await new Promise((resume) => setTimeout(resume, pause));
    }
  };
  void run();
}

/** State of a query: the data stay while newer ones load. */
export interface Query<Data> {
  data: Data | null;
  error: ApiError | null;
  isLoading: boolean;
  retry: () => void;
}

/**
 * Run a query while a component is on the screen, again when its variables change. A superseded request is aborted.
 * `variables` null means that there is nothing to ask yet; another `again` asks again.
 */
export function useQuery<Data, Variables extends object>(
  document: TypedDocumentString<Data, Variables>,
  variables: Variables | null,
  { isShown = true, pause = 0, again = 0 } = {},
): Query<Data> {
  const text = JSON.stringify(variables);
  const state: Signal<Query<Data>> = useMemo(
    () => signal({ data: null, error: null, isLoading: true, retry: () => undefined }),
    [document],
  );
  useEffect(() => {
    if (variables === null) return;
    const abort = new AbortController();
    const retry = () => {
      state.value = { ...state.value, error: null, isLoading: true, retry };
      ask(document, variables, abort.signal).then(
        (data) => (state.value = { data, error: null, isLoading: false, retry }),
        (error: unknown) => {
          if (abort.signal.aborted) return;
          const known = error instanceof ApiError ? error : new ApiError(String(error), "INTERNAL");
          state.value = { ...state.value, error: known, isLoading: false, retry };
        },
      );
    };
    state.value = { ...state.value, isLoading: true };
    const timer = setTimeout(retry, pause);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [document, text, key.value, again]);
  useShown(isShown && variables ? document : null, variables ?? {});
  return state.value;
}

/** List a request in `shown` while a component is on the screen. */
export function useShown(document: Document | null, variables: object): void {
  const text = JSON.stringify(variables);
  useEffect(() => {
    if (!document) return;
    const entry: Shown = { document, variables: JSON.parse(text) as Record<string, unknown> };
    shown.value = [...shown.value, entry];
    return () => {
      shown.value = shown.value.filter((each) => each !== entry);
    };
  }, [document, text]);
}
