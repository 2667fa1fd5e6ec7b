"""Normalised columns of calls, such as `kind`, `model` and `user_id`, by the rules of `columns.toml`.

A start and an end arrive separately, so each gives the columns that it knows. Both may give those of `SHARED`:
documents keep both values, so that the result does not depend on the order of arrival.

Telemetry may contain anything: a value of an unusable type, or one that exceeds a limit, counts as missing, and the
next source applies. Nothing here rejects a call.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import translate
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Final

from stores import times
from stores.errors import BadInputError, StoreError
from stores.input_checks import MAX_NAME
from stores.json import codec
from stores.senders.attributes import (
    ATTRIBUTE_RULES,
    COLUMN_RULES,
    MEMBERS,
    ROLES,
    STORED_LAYOUT,
    Attributes,
    indexed_list,
    layout_of,
)
from stores.usage.entries import OWN, SUM

Columns = dict[str, Any]
"""Values by column; a column that the part does not know is absent."""

KINDS: Final = tuple(COLUMN_RULES["kind"]["words"])
"""All kinds of calls."""

SHARED: Final = ("kind", "model", "error_type", "time_to_first_token_ms", "finish_reasons")
"""Columns that a start and an end may both give; see `merged`."""

END_WINS: Final = frozenset({"model"})
"""Columns of which the end's value wins: its response states the exact model. Of the others the start's value wins."""

OF_USAGE: Final = frozenset({"kind", "model"})
"""Columns that an end may derive from usage; ignored if the start has `SUMS_UP`."""

OF_START: Final = ("provider", "user_id", "tags", "environment", "release")
"""Columns that only a start gives, besides `thread_id`."""

STARTS_TURN: Final = "starts_turn"
"""Key in a start's columns, true if the call starts a turn of its thread."""

SUMS_UP: Final = "sums_up"
"""Key in a start's columns, true if the call's usage may be that of its descendants."""

MAX_TEXT: Final = 256
"""Characters of a word, such as a model, an environment or a tag."""

MAX_TAGS: Final = 100
"""Tags of one call; further tags are left out."""

MAX_MEMBERS: Final = 1_000
"""Members of a list that are read."""

MAX_MS: Final = 1e12
"""Milliseconds from here on are ignored."""

TEXT_LIMITS: Final = {"user_id": MAX_NAME, "thread_id": MAX_NAME}
"""Characters of a text by column, if not `MAX_TEXT`."""

_MAX_NUMBER: Final = 1e100
_MAX_JSON: Final = 262_144
_MAX_DIGITS: Final = 24
_MAX_TIME: Final = 40
_MODEL_KINDS: Final = frozenset({"llm", "embedding", "reranker"})
_SUMMING_SOURCE: Final = "js-sdk"
"""Weave's client for TypeScript, whose calls sum up the usage of their descendants without saying so."""

_UNNAMED: Final = "usage"
"""Name of an unnamed model in the usage of a span."""

_RESPONSE_MARKS: Final = frozenset(
    {
        "choices",
        "candidates",
        "stop_reason",
        "usage",
        "usage_metadata",
        "usageMetadata",
        "object",
        "generations",
        "outputs",
    }
)
"""Members of which a model's response has at least one; `model` of any other output may be anything."""

_EXCEPTION_NAME: Final = re.compile(
    r"(?:Uncaught )?([A-Za-z_$][\w$.]*?(?:Error|Exception|Interrupt|Exit|Warning|Timeout|Failure|Fault|Group))"
    r"(?=:|\s*$|\n)"
)
_TRACEBACK: Final = "Traceback (most recent call last)"
_TRACEBACK_END: Final = re.compile(r"^ +File .*\n(?:(?! +File )[ \t].*\n)*([\w.$]+)", re.MULTILINE)
"""The name after the last frame. A match ends before the next frame, so that the search is linear."""
_TYPE_NAME: Final = re.compile(r"(?:<class ')?(?:[\w$]+\.)+([A-Z][\w$]*)(?:'>)?")
"""A class with its module, also as Python prints it."""
_UNKNOWN_ERROR: Final = "_OTHER"

_Convert = Callable[[Any], Any]
"""Returns the usable form of a value; None if it has none."""

_Get = Callable[[Any], Any]
"""Returns the value at a path, or a list of values if the path leads through a list; None if there is none."""


def columns_of_start(
    op_name: str,
    attributes: object,
    inputs: object,
    started_at: int,
    *,
    is_root: bool,
    span_attributes: Attributes | None = None,
) -> Columns:
    """Return the columns that the start of a call gives, with `thread_id`, `STARTS_TURN` and `SUMS_UP`.

    Args:
        op_name: the op's plain name.
        attributes: the call's attributes; those of a span have it as `otel_span`.
        inputs: the call's inputs.
        started_at: start time in microseconds since the epoch.
        is_root: true if the call has no parent.
        span_attributes: the span's attributes, if they are laid out already.
    """
    columns: Columns = {}
    attributes = attributes if isinstance(attributes, dict) else {}
    span = attributes.get("otel_span")
    if isinstance(span, dict) and isinstance(stored := span.get("attributes"), dict):
        read = span_attributes or Attributes(STORED_LAYOUT, [stored])
        _add_attributes(columns, read, started_at, is_root=is_root)
        _add_span(columns, span, started_at)
    else:
        if known := _known(attributes):
            _add_attributes(columns, known, started_at, is_root=is_root)
        _add_op(columns, op_name, attributes.get("weave"))
    if columns.get("kind") in _MODEL_KINDS and isinstance(inputs, dict):
        _add_paths(columns, _INPUTS, inputs)
    return columns


def columns_of_end(output: object, summary: object, exception: str | None, usage: Columns) -> Columns:
    """Return the columns that the end of a call gives.

    Args:
        output: the call's output.
        summary: the call's summary.
        exception: the call's exception.
        usage: the stored fields of the call's usage, `usage` and `usage_scope`.
    """
    columns: Columns = {}
    if (entries := usage.get("usage")) and (scope := usage.get("usage_scope")) != SUM:
        if len(entries) == 1 and (name := entries[0]["model"]) != _UNNAMED and (name := _text(name)):
            columns["model"] = name
        if scope == OWN:
            columns["kind"] = "llm"
    payload = output
    if isinstance(payload, dict) and len(payload) == 1:
        # The output of a span is under the key of its attribute, such as `output.value`.
        ((key, value),) = payload.items()
        payload = value if "." in key else payload
    if isinstance(payload, list):
        payload = {MEMBERS: payload}
    if isinstance(payload, dict) and not _OUTPUT_KEYS.isdisjoint(payload):
        _add_paths(columns, _OUTPUT, payload)
        if "model" not in columns and not _RESPONSE_MARKS.isdisjoint(payload):
            _add_paths(columns, _OUTPUT_MODEL, payload)
    if exception and (name := error_type_of(exception)):
        columns["error_type"] = name
    if isinstance(summary, dict) and not _SUMMARY_KEYS.isdisjoint(summary):
        _add_paths(columns, _SUMMARY, summary)
    return columns


def merged(of_start: Columns, of_end: Columns) -> Columns:
    """Return the `SHARED` columns of a call from those of its start and its end."""
    if SUMS_UP in of_start:
        of_end = {name: value for name, value in of_end.items() if name not in OF_USAGE}
    found = of_end | of_start
    found.pop(SUMS_UP, None)
    for name in END_WINS:
        if name in of_end:
            found[name] = of_end[name]
    return found


def spelling(column: str, text: str) -> str:
    """Return a text in the spelling that a column has for it; unchanged if the column has one spelling of each text."""
    convert = _SPELLINGS.get(column)
    return (convert and convert(text)) or text


def error_type_of(exception: str) -> str | None:
    """Return the name of the exception's class; None if the text names none.

    The text is JSON of Weave with a `type`, a traceback of Python, or a text that begins with the name of a class.
    """
    if exception.startswith("{") and len(exception) <= _MAX_JSON:
        with suppress(StoreError, UnicodeEncodeError):
            value = codec.loads(exception.encode())
            if isinstance(value, dict) and (name := _error_name(value.get("type"))):
                return name
    if exception.startswith(_TRACEBACK):
        name = None
        for match in _TRACEBACK_END.finditer(exception):
            name = match[1]
        return _error_name(name)
    found = _EXCEPTION_NAME.match(exception)
    return _error_name(found[1]) if found else None


def _known(attributes: dict[str, Any]) -> Attributes | None:
    """Lay out the attributes that a rule names; None if there are none, as for most calls."""
    keys = [key for key in attributes if key in _PREFIXES]
    return Attributes(layout_of(tuple(keys)), [attributes[key] for key in keys]) if keys else None


def _add_attributes(columns: Columns, read: Attributes, started_at: int, *, is_root: bool) -> None:
    values = read.values
    for number, candidate in read.layout.columns:
        column, get, convert, is_time = _ATTRIBUTES[number]
        if column in columns:
            continue
        key, at, rest = candidate
        value = values[at] if type(at) is int and not rest else candidate.value(values)
        if value is not None and get:
            value = get(value)
        if value is not None and (value := _since(value, started_at) if is_time else convert(value)) is not None:
            columns[column] = value
            if column == "thread_id":
                columns[STARTS_TURN] = bool(read.pick("turn")) if key in _OWN_TURNS else is_root


def _add_op(columns: Columns, op_name: str, sent: object) -> None:
    """Add columns by the attributes of Weave's client and by the op, which may belong to an integration of Weave."""
    weave = sent if isinstance(sent, dict) else {}
    if "kind" not in columns and (kind := _CONVERT["kind"](weave.get("kind"))):
        columns["kind"] = kind
    kind, provider = _of_op(op_name)
    if kind and columns.get("kind", "llm") == "llm":  # Weave marks embeddings as models too
        columns["kind"] = kind
    if provider:
        columns.setdefault("provider", provider)
    if "kind" not in columns and weave.get("source") == _SUMMING_SOURCE:
        columns[SUMS_UP] = True


def _add_span(columns: Columns, span: dict[str, Any], started_at: int) -> None:
    """Add columns that a span states outside of its attributes."""
    resource = span.get("resource")
    stored = resource.get("attributes") if isinstance(resource, dict) else None
    if isinstance(stored, dict):
        _add_paths(columns, _RESOURCE, stored)
    events = span.get("events")
    if not isinstance(events, list) or not events:
        return
    named = [event for event in events if isinstance(event, dict) and str(event.get("name")) in _EVENTS]
    status = span.get("status")
    if "error_type" not in columns and isinstance(status, dict) and status.get("code") == "ERROR":
        recorded = [event for event in named if event["name"] == _EXCEPTION]
        if recorded and (name := _error_name(_EXCEPTION_TYPE(recorded[-1]))):
            columns["error_type"] = name
    if "time_to_first_token_ms" not in columns:
        for event in named:
            if event["name"] != _EXCEPTION:
                if (value := _since(event.get("timestamp"), started_at)) is not None:
                    columns["time_to_first_token_ms"] = value
                break


def _add_paths(columns: Columns, rules: "_PathRules", payload: dict[str, Any]) -> None:
    for column, paths in rules:
        if column in columns:
            continue
        for first, get, convert in paths:
            value = payload.get(first)
            if value is not None and get:
                value = get(value)
            if value is not None and (value := convert(value)) is not None:
                columns[column] = value
                break


@lru_cache(4_096)  # programs call few distinct ops
def _of_op(op_name: str) -> tuple[str, str]:
    """Return kind and provider of an op of Weave's integrations; empty if unknown."""
    for pattern, kind, provider in _OPS:
        if pattern.match(op_name):
            return kind, provider
    return "", ""


def _text(value: object, limit: int = MAX_TEXT) -> str | None:
    """Return a text that is not blank, or a number as text; None if it is too long: a cut text would be another one."""
    if isinstance(value, str):
        return value if 0 < len(value) <= limit and not value.isspace() else None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_NUMBER:
        return str(value)
    return None


def _word(words: dict[str, str], value: object) -> str | None:
    """Return the word of a vocabulary for a sender's word; None if it is unknown."""
    return words.get(_folded(value)) if isinstance(value, str) and len(value) <= MAX_TEXT else None


@lru_cache(4_096)
def _folded(text: str) -> str:
    return text.strip().lower().replace("-", "_").replace(" ", "_").replace("/", "_")


def _provider(value: object) -> str | None:
    return _provider_of(name) if isinstance(value, str) and (name := _text(value)) else None


@lru_cache(1_024)
def _provider_of(text: str) -> str:
    name = _folded(text)
    while name not in _PROVIDERS and "." in name:
        name = name.rpartition(".")[0]
    return _PROVIDERS.get(name) or text.strip().lower()


def _tags(value: object) -> list[str] | None:
    """Return tags: texts and numbers of a list, texts between commas, or the members of an object as `key:value`.

    Only a text that is the whole value is split at commas or read as JSON; a member of a list is one tag.
    """
    if isinstance(value, str):
        value = _json_list(value) or [tag.strip() for tag in value.split(",", MAX_MEMBERS)]
    value = indexed_list(value)
    if isinstance(value, dict):
        value = [f"{key}:{text}" for key, member in islice(value.items(), MAX_MEMBERS) if (text := _tag(member))]
    members = value if isinstance(value, list) else [value]
    tags = dict.fromkeys(tag for member in islice(members, MAX_MEMBERS) if (tag := _tag(member)))
    return [*islice(tags, MAX_TAGS)] or None


def _json_list(text: str) -> list[Any] | None:
    if text.startswith("[") and len(text) <= _MAX_JSON:
        with suppress(StoreError, UnicodeEncodeError):
            value = codec.loads(text.encode())
            return value if isinstance(value, list) else None
    return None


def _tag(value: object) -> str | None:
    return str(value).lower() if isinstance(value, bool) else _text(value)


def _reasons(value: object) -> list[str] | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return [reason] if (reason := _reason(value)) else None
    value = indexed_list(value)
    members = value if isinstance(value, list) else [value]
    reasons = dict.fromkeys(reason for member in islice(members, MAX_MEMBERS) if (reason := _reason(member)))
    return [*islice(reasons, MAX_TAGS)] or None


def _reason(value: object) -> str | None:
    return _reason_of(value) if isinstance(value, str) and value and len(value) <= MAX_TEXT else None


@lru_cache(1_024)
def _reason_of(text: str) -> str | None:
    # Python's text of an enum's member begins with the enum's name, as in FinishReason.STOP.
    word = _folded(text).removeprefix("finishreason.")
    return _REASONS.get(word) or word or None


def _error_name(value: object) -> str | None:
    """Return the name of a class without its module, or an error code; None for OpenTelemetry's `_OTHER`."""
    name = _text(value)
    if name is None or name == _UNKNOWN_ERROR:
        return None
    qualified = _TYPE_NAME.fullmatch(name)
    return qualified[1] if qualified else name


def _milliseconds(unit: str, value: object) -> float | None:
    if isinstance(value, str) and len(value) <= _MAX_DIGITS:
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if unit == "seconds" or (unit == "mixed" and isinstance(value, float)):
        value = value * 1000 if abs(value) < MAX_MS else MAX_MS
    return round(float(value), 3) if 0 <= value < MAX_MS else None


def _since(value: object, started_at: int) -> float | None:
    """Return the milliseconds from the call's start to a time in ISO 8601; None if it is earlier."""
    if not isinstance(value, str) or len(value) > _MAX_TIME:
        return None
    with suppress(BadInputError):
        micros = times.parse(value.strip('"')) - started_at
        return micros / 1000 if micros >= 0 else None
    return None


_CONVERT: Final[dict[str, _Convert]] = {
    **{column: partial(_text, limit=limit) for column, limit in TEXT_LIMITS.items()},
    "kind": partial(_word, {word: kind for kind, words in COLUMN_RULES["kind"]["words"].items() for word in words}),
    "provider": _provider,
    "tags": _tags,
    "error_type": _error_name,
    "finish_reasons": _reasons,
}
"""Conversions by column; others are texts."""

_SPELLINGS: Final[dict[str, _Convert]] = {
    "provider": _provider,
    "error_type": _error_name,
    "finish_reasons": _reason,
}
"""Conversions of single texts, by columns with one spelling for several texts."""


def _steps(path: str) -> list[str]:
    return path.replace(MEMBERS, f".{MEMBERS}").strip(".").split(".") if path else []


def _getter(steps: Sequence[str]) -> _Get | None:
    """Compile a path, which is much faster than to follow it step by step; None for an empty one."""
    if not steps:
        return None
    first, inner = steps[0], _getter(steps[1:])
    if first == MEMBERS:
        return partial(_members, inner)
    if inner is None:
        return lambda value: value.get(first) if isinstance(value, dict) else None
    return lambda value: inner(value.get(first)) if isinstance(value, dict) else None


def _members(inner: _Get | None, value: object) -> list[Any] | None:
    if isinstance(value, dict):
        # Members under the keys 0, 1, ... are those of a list in the attributes of a stored span.
        value = [*value.values()]
    if not isinstance(value, list):
        return None
    found: list[Any] = []
    for member in value if len(value) <= MAX_MEMBERS else value[:MAX_MEMBERS]:
        each = inner(member) if inner else member
        if isinstance(each, list):
            found += each
        elif each is not None:
            found.append(each)
    return found


def _convert(column: str, rule: list[str]) -> _Convert:
    _key, _sender, *unit = rule
    return partial(_milliseconds, *unit) if unit else _CONVERT.get(column, _text)


_PathRules = tuple[tuple[str, tuple[tuple[str, _Get | None, _Convert], ...]], ...]


def _path_rules(source: str) -> _PathRules:
    """Return the paths of a source by column, in order of precedence: first step, getter of the rest, conversion."""
    return tuple(
        (column, tuple(_path_rule(column, rule) for rule in rules[source]))
        for column, rules in COLUMN_RULES.items()
        if source in rules
    )


def _path_rule(column: str, rule: list[str]) -> tuple[str, _Get | None, _Convert]:
    steps = _steps(rule[0])
    # A payload that is a list is read as the only member of an object.
    return steps[0], _getter(steps if steps[0] == MEMBERS else steps[1:]), _convert(column, rule)


def _attribute_rule(column: str, rule: list[str]) -> tuple[str, _Get | None, _Convert, bool]:
    """Return the column, the getter inside the attribute's value, the conversion, and whether the value is a time."""
    rest = "".join(rule[0].partition(MEMBERS)[1:])
    return column, _getter(_steps(rest)), _convert(column, rule), "time" in rule[2:]


_ATTRIBUTES: Final = [_attribute_rule(column, rule) for column, rule in ATTRIBUTE_RULES]
"""The rules of `ATTRIBUTE_RULES`, compiled."""

_INPUTS: Final = _path_rules("inputs")
_RESOURCE: Final = _path_rules("resource")
_SUMMARY: Final = _path_rules("summary")
_SUMMARY_KEYS: Final = frozenset(first for _, paths in _SUMMARY for first, _, _ in paths)
_OUTPUT: Final = tuple(rule for rule in _path_rules("output") if rule[0] != "model")
_OUTPUT_MODEL: Final = tuple(rule for rule in _path_rules("output") if rule[0] == "model")
_OUTPUT_KEYS: Final = frozenset(first for _, paths in (*_OUTPUT, *_OUTPUT_MODEL) for first, _, _ in paths)

_EXCEPTION: Final = "exception"
_EXCEPTION_TYPE: Final = _getter(("attributes", "exception", "type")) or (lambda _event: None)
_EVENTS: Final = frozenset({_EXCEPTION, *(rule[0] for rule in COLUMN_RULES["time_to_first_token_ms"]["events"])})
_OWN_TURNS: Final = frozenset(COLUMN_RULES["thread_id"]["own_turns"])
_OPS: Final = [
    (re.compile(translate(pattern)), kind, provider) for pattern, kind, provider in COLUMN_RULES["kind"]["ops"]
]
_PROVIDERS: Final = {word: name for name, words in COLUMN_RULES["provider"]["words"].items() for word in words}
_REASONS: Final = {word: name for name, words in COLUMN_RULES["finish_reasons"]["words"].items() for word in words}
_PREFIXES: Final = frozenset(
    ".".join(steps[:length])
    for key in (*(candidate.key for _, candidate in STORED_LAYOUT.columns), *ROLES["turn"])
    if key != "weave.kind"
    for steps in [key.split(".")]
    for length in range(1, len(steps) + 1)
) - {"weave"}
"""Keys of attributes that contain an attribute of the rules or a part of its path, except those of Weave's own client,
which most calls have.
"""
