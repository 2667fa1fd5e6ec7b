// Requests to the GraphQL API of this server. Each view lists its requests in `shown`, for "show the query".

import { batch, computed, effect, signal, type Signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";

import { address, go } from "./address";
import { ApiError } from "./errors";
import { type Role, RoleDocument, type TypedDocumentString } from "./generated/graphql";
import type { Issuer, Session } from "./oidc";

export { ApiError };

type Document = TypedDocumentString<any, any>;

export interface Shown {
  document: Document;
  variables: Record<string, unknown>;
}

const SESSION = "loomql:session";
const meta = (name: string) => document.querySelector<HTMLMetaElement>(`meta[name="loomql-${name}"]`)?.content;
const onlyTrusted = meta("only-trusted") !== undefined;

/** Links to other pages of this server; undefined if it does not serve them. */
export const pages = { docs: meta("docs"), graphiql: meta("graphiql") };

export const endpoint = new URL("graphql", window.location.href.split(/[?#]/)[0]);

/** Key that a person entered, or token of the issuer, kept for this tab. */
const session = signal(JSON.parse(sessionStorage.getItem(SESSION) ?? "null") as Session | null);
effect(() =>
  session.value ? sessionStorage.setItem(SESSION, JSON.stringify(session.value)) : sessionStorage.removeItem(SESSION),
);
export const key = computed(() => session.value?.key ?? "");

/** True while the page asks for a key, because the server refused a request. Requests wait for the key. */
export const needsKey = signal(false);

/** Reason why the page asks; empty if the server only said that it needs a key. */
export const keyProblem = signal("");

/** Issuer at which people sign in; null if the server names none. */
export const issuer = JSON.parse(meta("oidc") ?? "null") as Issuer | null;

async function finishSignIn(issuer: Issuer): Promise<void> {
  const { finish, hrefBefore } = await import("./oidc");
  const answer = address.peek();
  go(hrefBefore(), { replace: true });
  await finish(issuer, answer).then(
    (found) => (session.value = found),
    (error: Error) => batch(() => ((keyProblem.value = error.message), (needsKey.value = true))),
  );
}

async function finishSignOut(): Promise<void> {
  const href = (await import("./oidc")).hrefBeforeSignOut(address.peek());
  if (href !== null) go(href, { replace: true });
}

async function finishAtIssuer(issuer: Issuer): Promise<void> {
  const given = address.peek();
  if (given.has("state")) await (given.has("code") || given.has("error") ? finishSignIn(issuer) : finishSignOut());
}

/** Settled once the issuer's answer, if the address is one, has become a key, an error, or the address before. */
export const signedIn = issuer ? finishAtIssuer(issuer) : Promise.resolve();

/** Use a key that a person enters. */
export function enterKey(text: string): void {
  batch(() => {
    session.value = text ? { key: text } : null;
    keyProblem.value = "";
    roles.value = {};
    needsKey.value = false;
  });
}

/** Forget the key and all that it showed. A person who signed in at the issuer signs out there, too. */
export async function signOut(): Promise<void> {
  const isOfIssuer = session.peek()?.token !== undefined;
  enterKey("");
  const hasLeft = issuer && isOfIssuer && (await (await import("./oidc")).signOutAt(issuer));
  if (!hasLeft) window.location.reload();
}

/** Return the key; a token that ends soon, or that the server `isRefused`, is renewed first if the issuer allows it. */
export async function currentKey(isRefused = false): Promise<string> {
  const found = session.peek();
  if (issuer && found?.token) {
    const next = await (await import("./oidc")).renewed(issuer, found, isRefused);
    // Meanwhile somebody may have signed out, or another request may have renewed it.
    if (session.peek() === found) session.value = next;
  }
  return key.peek();
}

/** Wait for another key than the one that the server refused at `serverTime`. */
async function nextKey(refused: string, serverTime: number, abort: AbortSignal | undefined): Promise<void> {
  if (refused !== key.peek() || refused !== (await currentKey(true))) return;
  const token = session.peek()?.token;
  if (token) keyProblem.value = (await import("./oidc")).reason(token, serverTime);
  needsKey.value = true;
  let stop = () => {};
  await new Promise<void>((resume) => {
    stop = needsKey.subscribe((isAsking) => isAsking || resume());
    if (abort?.aborted) resume();
    abort?.addEventListener("abort", () => resume(), { once: true });
  });
  stop();
  abort?.throwIfAborted();
}

/** Requests of the views on the screen. */
export const shown = signal<readonly Shown[]>([]);

interface Answer<Data> {
  data?: Data | null;
  errors?: { message: string; extensions?: { code?: string } }[];
}

const hashOf = (document: Document) => String(document.__meta__?.["hash"]);

/** Run a query or mutation, after a pause for a key if it lacks one. Throws an ApiError, also for a partial answer. */
export async function ask<Data, Variables extends object>(
  document: TypedDocumentString<Data, Variables>,
  variables: Variables,
  abort?: AbortSignal,
): Promise<Data> {
  const used = await currentKey();
  let response: Response;
  try {
    response = await fetch(endpoint, {
      method: "POST",
      headers: {
        Accept: "application/graphql-response+json, application/json",
        "Content-Type": "application/json",
        ...(used && { Authorization: `Bearer ${used}` }),
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
    if (code === "UNAUTHENTICATED") {
      await nextKey(used, Date.parse(response.headers.get("Date") ?? "") || Date.now(), abort);
      return ask(document, variables, abort);
    }
    throw new ApiError(error?.message ?? response.statusText, code, requestId);
  }
  return answer.data;
}

/** Code with which the server closes a WebSocket whose key is missing, wrong or over. */
const UNAUTHENTICATED = 4401;

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
      const used = await currentKey();
      if (abort.aborted) return;
      const connectionParams = used ? { Authorization: `Bearer ${used}` } : {};
      let isOpen = false;
      const connected = () => {
        isOpen = true;
        onState(null);
      };
      const client = createClient({ url, connectionParams, retryAttempts: 0, on: { connected } });
      let isRefused = false;
      const events = client.iterate<Data>({
        query: onlyTrusted ? "" : document.toString(),
        variables: { ...variables, after },
        ...(onlyTrusted && { extensions: { persistedQuery: { version: 1, sha256Hash: hashOf(document) } } }),
      });
      // The iteration ends before the connection, on which it would otherwise still subscribe.
      const stop = () => void events.return?.();
      abort.addEventListener("abort", stop);
      try {
        for await (const { data, errors } of events) {
          if (errors?.[0]) throw errors[0];
          if (data) {
            after = onEvent(data);
            pause = 1_000;
          }
        }
      } catch (error) {
        isRefused = (error as Partial<CloseEvent>).code === UNAUTHENTICATED;
        // Without a key nothing ran, so the form of the page is the only message.
        const isSilent = abort.aborted || (isRefused && !isOpen);
        if (!isSilent) onState(error instanceof Error ? error : new Error("the connection to the server is lost"));
      }
      abort.removeEventListener("abort", stop);
      void client.dispose();
      if (isRefused && !abort.aborted) {
        await nextKey(used, Date.now(), abort).catch(() => undefined);
        continue;
      }
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
  const isFirst = useRef(true);
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
    // The pause waits for further typing, before which there is a first answer.
    const timer = setTimeout(retry, isFirst.current ? 0 : pause);
    isFirst.current = false;
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [document, text, again]);
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

const ROLES: readonly Role[] = ["NONE", "READER", "WRITER", "ADMIN"];

/** Roles of the caller by project; null while one is read. */
const roles = signal<Readonly<Record<string, Role | null>>>({});

/** Return a function that tells if the caller has a role in a project, or a higher one. One request for each project. */
export function useRole(project: string): (role: Role) => boolean {
  const known = roles.value;
  const isKnown = project in known;
  useEffect(() => {
    if (!project || project in roles.peek()) return; // another component may have asked since this one was drawn
    const set = (role: Role | null | undefined) => (roles.value = { ...roles.value, [project]: role ?? "NONE" });
    roles.value = { ...roles.value, [project]: null };
    // If the role cannot be read, the page shows every action, and the server refuses what it must.
    ask(RoleDocument, { projectId: project }).then(
      ({ role }) => set(role),
      () => set("ADMIN"),
    );
  }, [project, isKnown]);
  return (role) => ROLES.indexOf(known[project] ?? "NONE") >= ROLES.indexOf(role);
}
