// The state of the page, which is the query string of its address. Every state is a link.

import { signal } from "@preact/signals";

const read = () => new URLSearchParams(window.location.search);

/** The current state. */
export const address = signal(read());
window.addEventListener("popstate", () => (address.value = read()));

/** A change of the state: a null removes a value, a list repeats it. */
export type Change = Record<string, string | readonly string[] | null>;

/** Names of values that stay when a link leads to another view: the project and the range of times. */
const KEPT = ["p", "from", "to", "utc"];

/** Names of values that end when another value changes: those within a trace, and the marks of a list. */
const ENDED: Record<string, string[]> = { t: ["call", "find", "fold", "zoom"] };
for (const name of ["m", "q", "f", "dsl", "from", "to"]) ENDED[name] = ["mark"];

const changed = (start: URLSearchParams, change: Change): URLSearchParams => {
  const next = new URLSearchParams(start);
  for (const [name, value] of Object.entries(change)) {
    if (String(value ?? "") !== start.getAll(name).join()) for (const each of ENDED[name] ?? []) next.delete(each);
  }
  for (const [name, value] of Object.entries(change)) {
    next.delete(name);
    for (const each of typeof value === "string" ? [value] : (value ?? [])) next.append(name, each);
  }
  return next;
};

const text = (state: URLSearchParams) => `?${state.toString().replaceAll("%2F", "/").replaceAll("%3A", ":")}`;

/** Return the address of the current view after a change. */
export const here = (change: Change) => text(changed(address.value, change));

/** Return the address of another view, with the project and the range of times. */
export const there = (view: string, change: Change = {}) => {
  const kept = new URLSearchParams([...address.value].filter(([name]) => KEPT.includes(name)));
  return text(changed(kept, { v: view, ...change }));
};

/** Go to an address of this page; `replace` leaves no entry in the history. */
export function go(href: string, { replace = false } = {}): void {
  if (replace) window.history.replaceState(null, "", href);
  else window.history.pushState(null, "", href);
  address.value = read();
}

/** Follow links of this page without loading it again. */
document.addEventListener("click", (event) => {
  const link = (event.target as Element).closest("a");
  const isPlain =
    !event.defaultPrevented &&
    event.button === 0 &&
    !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  const href = link?.getAttribute("href");
  if (isPlain && href?.startsWith("?") && !link?.target) {
    event.preventDefault();
    go(href);
  }
});
