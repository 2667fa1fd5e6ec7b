"""Counts of a usage entry by class, and their names in rows and GraphQL fields."""

from collections.abc import Mapping
from typing import Any, Final

from stores.usage.classes import BY_NAME, CLASSES, INPUT, OUTPUT, Side, TokenClass

PARTS: Final = {
    side: tuple(each.name for each in CLASSES if each.side is side and each.name not in (INPUT, OUTPUT))
    for side in Side
}
"""The classes that entries store under `classes`, by side."""

REQUESTS: Final = PARTS[Side.REQUEST]
STORED: Final = (*PARTS[Side.INPUT], *PARTS[Side.OUTPUT], *REQUESTS)


def _field(each: TokenClass) -> str:
    if each.side is Side.REQUEST:
        return each.name
    return "uncached_input_tokens" if each.name == INPUT else f"{each.name}_tokens"


FIELDS: Final = {each.name: _field(each) for each in CLASSES if each.name != OUTPUT}
"""Row field of each class's count. Rows have no field for the rest of the output."""

_UNCACHED: Final = FIELDS[INPUT]
_NONE: Final = dict.fromkeys(FIELDS.values(), 0)


def by_class(entry: Mapping[str, Any]) -> dict[str, int]:
    """Return the non-zero counts of all classes of an entry, in table order."""
    prompt, completion = entry["prompt_tokens"], entry["completion_tokens"]
    classes: Mapping[str, int] | None = entry.get("classes")
    if not classes:  # true for most entries
        counts = {INPUT: prompt, OUTPUT: completion}
        return counts if prompt > 0 and completion > 0 else {name: count for name, count in counts.items() if count > 0}
    counts = {
        INPUT: _rest(prompt, classes, Side.INPUT),
        OUTPUT: _rest(completion, classes, Side.OUTPUT),
        **classes,
    }
    return {name: counts[name] for name in BY_NAME if counts.get(name, 0) > 0}


def _rest(total: int, classes: Mapping[str, int], side: Side) -> int:
    """Return the tokens of a side's total that belong to none of its other classes."""
    for name, count in classes.items():
        if BY_NAME[name].side is side:
            total -= count
    return max(0, total)


def class_fields(prompt_tokens: int, classes: Mapping[str, int] | None) -> dict[str, int]:
    """Return the counts of classes by row field, 0 for missing ones."""
    if not classes:  # true for most entries
        return _NONE | {_UNCACHED: prompt_tokens}
    fields = _NONE | {FIELDS[name]: count for name, count in classes.items()}
    fields[_UNCACHED] = _rest(prompt_tokens, classes, Side.INPUT)
    return fields


def added(some: Mapping[str, int], more: Mapping[str, int]) -> Mapping[str, int]:
    """Add two mappings of counts."""
    if not (some and more):
        return some or more
    return {name: some.get(name, 0) + more.get(name, 0) for name in {**some, **more}}
