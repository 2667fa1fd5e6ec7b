// Search over titles and headings, and buttons that copy code. Without this script the pages still link each other.

const script = document.currentScript.src;
const site = new URL("../", script);

const form = document.querySelector(".search");
const input = document.getElementById("siteSearch");
const list = document.getElementById("siteResults");
const MOST_RESULTS = 12;

let entries;

form.hidden = false;
input.addEventListener("focus", load, { once: true });
input.addEventListener("input", show);
input.addEventListener("keydown", move);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("focusout", (event) => form.contains(event.relatedTarget) || close());
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    input.focus();
    input.select();
  }
});

async function load() {
  const pages = await (await fetch(new URL("search.json", script))).json();
  entries = pages.flatMap(([title, address, headings]) => [
    entry(title, "", address),
    ...headings.map(([heading, anchor]) => entry(heading, title, `${address}#${anchor}`)),
  ]);
  show();
}

function entry(text, page, address) {
  return { text, page, address, own: text.toLowerCase(), all: `${text} ${page || address}`.toLowerCase() };
}

function show() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  if (!entries || words.length === 0) {
    close();
    return;
  }
  const found = entries.filter(({ all }) => words.every((word) => all.includes(word)));
  found.sort((one, other) => rank(one, words) - rank(other, words));
  list.replaceChildren(...found.slice(0, MOST_RESULTS).map(option));
  if (found.length === 0) {
    list.append(Object.assign(document.createElement("li"), { textContent: "No title or heading has these words." }));
  }
  list.hidden = false;
  input.setAttribute("aria-expanded", "true");
  select(list.querySelector("[role=option]"));
}

function rank({ own, page }, words) {
  const isHit = words.every((word) => own.includes(word));
  return (own.startsWith(words[0]) ? 0 : 1) + (isHit ? 0 : 4) + (page ? 2 : 0);
}

function option({ text, page, address }, position) {
  const item = document.createElement("li");
  item.id = `siteResult${position}`;
  item.role = "option";
  const link = document.createElement("a");
  link.href = new URL(address, site);
  link.tabIndex = -1;
  link.textContent = text;
  if (page) {
    link.append(Object.assign(document.createElement("small"), { textContent: page }));
  }
  link.addEventListener("click", close);
  item.append(link);
  return item;
}

function select(item) {
  list.querySelector("[aria-selected]")?.removeAttribute("aria-selected");
  input.removeAttribute("aria-activedescendant");
  if (item) {
    item.setAttribute("aria-selected", "true");
    item.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", item.id);
  }
}

function move(event) {
  const selected = list.querySelector("[aria-selected]");
  if (event.key === "Escape") {
    input.value = "";
    close();
    input.blur();
  } else if (event.key === "Enter") {
    selected?.querySelector("a").click();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    select((event.key === "ArrowDown" ? selected?.nextElementSibling : selected?.previousElementSibling) ?? selected);
  }
}

function close() {
  list.hidden = true;
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

document.querySelector(".pages [aria-current]")?.scrollIntoView({ block: "nearest" });

// A link of the contents leads to a heading, which the popover would cover.
document.getElementById("siteContents").addEventListener("click", (event) => {
  if (event.target.closest("a") && event.currentTarget.matches(":popover-open")) {
    event.currentTarget.hidePopover();
  }
});

// Browsers offer the clipboard to pages of HTTPS and of this machine only.
if (navigator.clipboard) {
  for (const code of document.querySelectorAll(".code")) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy" });
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.querySelector("pre").innerText);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 2000);
    });
    code.append(button);
  }
}
