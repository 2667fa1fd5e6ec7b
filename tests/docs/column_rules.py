"""The tables of `reference/column-rules.md`: where the normalised columns of a call come from."""

from collections.abc import Iterator
from typing import Any, Final

from strawberry.utils.str_converters import to_camel_case

from stores.calls.fields import CALL_COLUMNS
from stores.senders.attributes import COLUMN_RULES
from stores.senders.columns import END_WINS, MAX_MEMBERS, MAX_MS, MAX_TAGS, MAX_TEXT, TEXT_LIMITS

_SOURCES: Final = {
    "attributes": "attribute",
    "events": "first event of this name",
    "resource": "resource attribute",
    "inputs": "inputs",
    "output": "output",
    "summary": "summary",
}
"""Sources in the order in which LoomQL reads them, by their keys in the rules."""

_OF_END: Final = frozenset({"output", "summary"})

_Row = tuple[str, str, str]
"""A source, the key or path in it, and the sender."""

_BEFORE: Final[dict[str, list[_Row]]] = {
    "model": [("usage", "the model, if the call's own usage names exactly one", "any sender")],
}
"""Sources of a call's end that LoomQL reads before its output."""

_AFTER: Final[dict[str, list[_Row]]] = {
    "kind": [
        ("op", "[Ops](#ops); an op of another kind also replaces LLM", "Weave's integrations"),
        ("usage", "LLM, if the call has usage of its own", "any sender"),
    ],
    "provider": [("op", "[Ops](#ops)", "Weave's integrations")],
    "error_type": [
        ("event", "`exception.type` of the last event `exception`, if the status is an error", "OpenTelemetry"),
        ("exception", "`type` of JSON, the last class of a traceback, or the class before a colon", "any sender"),
    ],
}
"""Sources outside of the rules, which LoomQL reads last."""

_LISTS: Final = frozenset({"tags", "finish_reasons"})

_LIMITS: Final = {
    "kind": "LoomQL ignores words that are not in the table.",
    "provider": f"LoomQL ignores a name of more than {MAX_TEXT} characters.",
    "tags": f"LoomQL keeps the first {MAX_TAGS} different tags and ignores tags of more than {MAX_TEXT} characters.",
    "time_to_first_token_ms": f"LoomQL ignores negative numbers, and numbers from {MAX_MS:,.0f} milliseconds.",
    "finish_reasons": (
        f"LoomQL keeps the first {MAX_TAGS} different reasons and ignores reasons of more than {MAX_TEXT} characters."
    ),
}


def column_rules() -> str:
    """Return the tables of columns: their sources in order of precedence, and the words of senders."""
    about = {column.name: column.description for column in CALL_COLUMNS}
    lines: list[str] = []
    for name, rules in COLUMN_RULES.items():
        lines += [f"## {to_camel_case(name)}", "", about[name], "", *_limits(name), ""]
        lines += [_row("", "Source", "Key or path", "Sender"), _line(4)]
        lines += (_row(f"{place}", *row) for place, row in enumerate(_rows(name, rules), 1))
        lines += ["", *_words(name, rules)]
    ops = COLUMN_RULES["kind"]["ops"]
    lines += ["## Ops", "", "The first pattern that fits the name of the op applies.", ""]
    lines += [_row("Op", "Kind", "Provider"), _line(3)]
    lines += (_row(f"`{pattern}`", kind.upper(), f"`{of}`" if of else "") for pattern, kind, of in ops)
    return "\n".join(lines)


def _rows(name: str, rules: dict[str, Any]) -> Iterator[_Row]:
    of_start = [row for source in _SOURCES if source not in _OF_END for row in _declared(source, rules)]
    of_end = [row for source in _SOURCES if source in _OF_END for row in _declared(source, rules)]
    of_end = _BEFORE.get(name, []) + of_end
    yield from of_end + of_start if name in END_WINS else of_start + of_end
    yield from _AFTER.get(name, [])


def _declared(source: str, rules: dict[str, Any]) -> Iterator[_Row]:
    for key, sender, *unit in rules.get(source, ()):
        yield _SOURCES[source], f"`{key}`" + "".join(f", {_UNITS[each]}" for each in unit), sender


_UNITS: Final = {
    "milliseconds": "in milliseconds",
    "seconds": "in seconds",
    "mixed": "a fraction in seconds or a whole number in milliseconds",
    "time": "a time in ISO 8601",
}


def _limits(name: str) -> Iterator[str]:
    limit = TEXT_LIMITS.get(name, MAX_TEXT)
    yield _LIMITS.get(name) or f"LoomQL ignores a text of more than {limit:,} characters."
    if name in _LISTS:
        yield f"It reads the first {MAX_MEMBERS:,} members of a list."


def _words(name: str, rules: dict[str, Any]) -> Iterator[str]:
    if "words" in rules:
        yield from (_row("Value", "Words of senders"), _line(2))
        for value, words in rules["words"].items():
            shown = value.upper() if name == "kind" else f"`{value}`"
            yield _row(shown, ", ".join(f"`{word}`" for word in words))
        yield ""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _line(columns: int) -> str:
    return "|" + " --- |" * columns
