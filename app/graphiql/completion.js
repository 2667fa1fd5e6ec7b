// Completion of a condition's operands: `getField` comes first where a field is wanted, `literal` where a value is.

import { CompletionAdapter } from "monaco-graphql/esm/languageFeatures.js";

const QUOTED = /"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|#.*/g;

// Operands of these are conditions; in the alphabetical order of their names, as the editor has them.
const OF_CONDITIONS = new Set(["and", "or", "not"]);

const OF_VALUES = new Set(["substr", "values"]);

const provide = CompletionAdapter.prototype.provideCompletionItems;

CompletionAdapter.prototype.provideCompletionItems = async function (model, position, ...rest) {
  const found = await provide.call(this, model, position, ...rest);
  if (found.suggestions.some(({ label }) => label === "getField")) {
    const before = { startLineNumber: 1, startColumn: 1, endLineNumber: position.lineNumber, endColumn: position.column };
    const first = wanted(model.getValueInRange(before));
    for (const suggestion of found.suggestions) {
      const rank = first.indexOf(suggestion.label);
      // Digits come before letters.
      if (rank >= 0) suggestion.sortText = String(rank);
    }
  }
  return found;
};

// The names to offer first at the end of the text, which is inside of an operand.
function wanted(text) {
  const plain = text.replace(QUOTED, (quoted) => (quoted.startsWith("#") ? "" : '""'));
  let outside = plain.slice(0, lastOpen(plain));
  let isFirst = true;
  const list = lastOpen(outside);
  if (outside[list] === "[") {
    isFirst = /^[\s,]*$/.test(outside.slice(list + 1));
    outside = outside.slice(0, list);
  }
  const name = /(\w+)\s*:\s*$/.exec(outside)?.[1];
  if (OF_CONDITIONS.has(name)) return [];
  return isFirst && !OF_VALUES.has(name) ? ["getField", "literal"] : ["literal", "getField"];
}

// The position of the last bracket that is open at the end of the text; -1 if there is none.
function lastOpen(text) {
  let numClosed = 0;
  for (let position = text.length - 1; position >= 0; position--) {
    if ("}])".includes(text[position])) numClosed++;
    else if ("{[(".includes(text[position]) && numClosed-- === 0) return position;
  }
  return -1;
}
