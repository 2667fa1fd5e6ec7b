// The form for a key, and the way to the issuer. Loaded only when the server asks for a key.

import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { enterKey, issuer, key, keyProblem, pages } from "./api";
import { Copy } from "./components";

const COMMAND = "loomql key create --project ENTITY/PROJECT --role reader";

/**
 * Form for a key, which the page keeps for this tab; it also leads to the issuer, if the server names one. The view below
 * stays as it is, with what somebody wrote in it.
 */
export function AskForKey() {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => dialog.current?.showModal(), []);
  const [text, setText] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    enterKey(text.trim());
  };
  const start = async () => {
    try {
      if (issuer) await (await import("./oidc")).signIn(issuer);
    } catch (error) {
      keyProblem.value = (error as Error).message;
    }
  };
  const refusal = key.value && "The server did not accept the key. It may be wrong, revoked or expired.";
  return (
    <dialog
      ref={dialog}
      aria-label="Key"
      onCancel={(event) => event.preventDefault()}
      onClose={() => dialog.current?.showModal()}
    >
      <form onSubmit={submit}>
        <h2>{issuer ? "Sign in" : "This server requires a key"}</h2>
        {(keyProblem.value || refusal) && (
          <p class="error" role="alert">
            {keyProblem.value || refusal}
          </p>
        )}
        {issuer && (
          <p>
            <button type="button" onClick={start}>
              Sign in at {new URL(issuer.issuer).host}
            </button>
          </p>
        )}
        <p>
          {issuer && "A key works, too. "}An administrator creates one with the command below. The page keeps it until
          this tab closes.
          {pages.docs !== undefined && (
            <>
              {" "}
              <a href={`${pages.docs}/how-to/keys`}>More on keys</a>
            </>
          )}
        </p>
        <pre>
          {COMMAND} <Copy text={COMMAND} title="Copy the command" />
        </pre>
        <label>
          Key{" "}
          <input
            type="password"
            autofocus={!issuer}
            autocomplete="off"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>{" "}
        <button type="submit" disabled={!text.trim()}>
          Use this key
        </button>
      </form>
    </dialog>
  );
}
