"""The classes of tokens and requests that providers price separately.

This table is the only list of them: stored counts, price rates, GraphQL fields and export columns follow it.

Counts of classes do not overlap. `Side.INPUT` classes add up to `prompt_tokens` and `Side.OUTPUT` classes to
`completion_tokens`. `INPUT` and `OUTPUT` are the rest that no other class covers. `Side.REQUEST` classes count
requests, not tokens. A usage entry stores the non-zero counts of every class but these two, under `classes`;
the functions below read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final


class Side(Enum):
    """The total that a class belongs to."""

    INPUT = auto()
    OUTPUT = auto()
    REQUEST = auto()


@dataclass(frozen=True, slots=True)
class TokenClass:
    """One class. A price without a rate for it charges the rate of the class `like`.

    Args:
        name: name in stored counts and rates, in snake_case.
        side: the total that it belongs to.
        like: the fallback class for rates; None if nothing is charged without a rate.
        description: a noun phrase for documentation and GraphQL.
    """

    name: str
    side: Side
    like: str | None
    description: str


INPUT: Final = "input"
OUTPUT: Final = "output"

CLASSES: Final = (
    TokenClass(INPUT, Side.INPUT, None, "Input tokens that were not cached: text, and all tokens of no other class"),
    TokenClass("cache_read", Side.INPUT, INPUT, "Input tokens read from the provider's cache"),
    TokenClass("cache_read_audio", Side.INPUT, "cache_read", "Audio input tokens read from the provider's cache"),
    TokenClass("cache_write_5m", Side.INPUT, INPUT, "Input tokens written to a cache that lives for about 5 minutes"),
    TokenClass("cache_write_1h", Side.INPUT, "cache_write_5m", "Input tokens written to a cache that lives for 1 hour"),
    TokenClass("audio_input", Side.INPUT, INPUT, "Audio input tokens that were not cached"),
    TokenClass("image_input", Side.INPUT, INPUT, "Image input tokens that were not cached"),
    TokenClass(OUTPUT, Side.OUTPUT, None, "Output tokens: text, and all tokens of no other class"),
    TokenClass("reasoning", Side.OUTPUT, OUTPUT, "Output tokens of the model's reasoning"),
    TokenClass("audio_output", Side.OUTPUT, OUTPUT, "Audio output tokens"),
    TokenClass("image_output", Side.OUTPUT, OUTPUT, "Image output tokens"),
    TokenClass("web_searches", Side.REQUEST, None, "Web searches that the provider charges per search"),
)
"""All classes; on each side the rest comes first."""

BY_NAME: Final = {each.name: each for each in CLASSES}


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
