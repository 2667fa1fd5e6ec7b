"""The classes of tokens and requests that providers price separately.

This table is the only list of them: stored counts, price rates, GraphQL fields and export columns follow it.

Counts of classes do not overlap. `Side.INPUT` classes add up to `prompt_tokens` and `Side.OUTPUT` classes to
`completion_tokens`. `INPUT` and `OUTPUT` are the rest that no other class covers. `Side.REQUEST` classes count
requests, not tokens. A usage entry stores the non-zero counts of every class but these two, under `classes`.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


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
