"""Rules that read each sender's token counts into the classes of `stores.usage.classes`.

Senders differ in the names of counts, in whether input includes cached tokens, and in whether output includes
reasoning. `rules.toml` has one rule per format of a model's usage, and the rules that depend on the program that made a
span. If a rule leaves inclusion open, the total decides: it is the sum either with the parts or without them.

A path such as `a.b` selects the key `b` of the object `a`. In a list it selects the entry with that modality or time to
live: `promptTokensDetails.AUDIO` is the count of `{"modality": "AUDIO", "tokenCount": 5}`.
"""

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from stores.json.bson_copy import INT64
from stores.usage.classes import CLASSES, INPUT, OUTPUT, Side

MOST: Final = INT64 - 1
"""Largest count that can be stored."""

CLASS_COUNTS: Final = "token_classes"
"""Key of a model's usage with the counts of all classes, which LoomQL writes for spans."""

STATED_COST: Final = "stated_cost"

CACHE: Final = ("cache_read", "cache_write")
THOUGHTS: Final = "reasoning"
REASONING: Final = (THOUGHTS,)

_TOTALS: Final = frozenset({"input", "output", "total"})
_NAMES: Final = (
    _TOTALS
    | {each.name for each in CLASSES}
    | {"input_beside", "output_beside", "cache_write", "cache_read_image", STATED_COST}
)
"""Names of counts in rules."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Defines how one format of a model's usage is read.

    Args:
        sender: name of the sender.
        source: URL of the document that defines the format.
        marks: paths of which at least one must exist; empty for the last rule, which reads every other format.
        keys: paths by name of the count; the first path with a count above 0 applies. Names are those of classes, and:
            `input`, `output`, `total` as sent; `input_beside` and `output_beside`, tokens that those never include;
            `cache_write`, all tokens written; `cache_read_image`; `stated_cost`. `cache_read`, `audio_input` and
            `image_input` include cached audio and images.
        also: paths of which one must count more than 0 as well.
        without: paths that must not exist.
        input_excludes: counts that `input` does not include.
        output_excludes: counts that `output` does not include.
        is_fixed: true if the sender never deviates; otherwise the total, if sent, decides.
        cost_divisor: units of `stated_cost` per US dollar.
        note: a sentence for the documentation.
    """

    sender: str
    source: str
    marks: tuple[str, ...] = ()
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    input_excludes: tuple[str, ...] = ()
    output_excludes: tuple[str, ...] = ()
    is_fixed: bool = False
    cost_divisor: int = 1
    note: str = ""

    def __post_init__(self) -> None:
        """Check the names of counts."""
        if unknown := {*self.keys, *self.input_excludes, *self.output_excludes} - _NAMES:
            raise ValueError(f"{self.sender} has unknown counts: {', '.join(sorted(unknown))}")

    def reduced_to(self, members: frozenset[str]) -> "Rule | None":
        """Return the rule without paths that start at other keys than `members`; None if then it cannot fit."""
        marks, also, without = (_starting_at(members, paths) for paths in (self.marks, self.also, self.without))
        if bool(marks) != bool(self.marks) or bool(also) != bool(self.also):
            return None
        keys = {name: left for name, paths in self.keys.items() if (left := _starting_at(members, paths))}
        return replace(self, marks=marks, also=also, without=without, keys=keys)

    def fits(self, usage: dict[str, Any]) -> bool:
        """Return True if the rule fits a model's usage."""
        return (
            (not self.marks or _has_one(usage, self.marks))
            and (not self.also or any(whole_count(_at(usage, path)) for path in self.also))
            and not _has_one(usage, self.without)
        )

    def counts(self, usage: dict[str, Any]) -> dict[str, int]:
        """Return the non-zero counts of a model's usage, by their names in `keys`."""
        counts: dict[str, int] = {}
        for name, paths in self.keys.items():
            for path in paths if name != STATED_COST else ():
                if count := whole_count(_at(usage, path)):
                    counts[name] = count
                    break
        return counts

    def cost(self, usage: dict[str, Any]) -> float | None:
        """Return the cost in US dollars that the sender states; None if there is none."""
        cost = first_cost(cost_in_usd(_at(usage, path)) for path in self.keys.get(STATED_COST, ()))
        return None if cost is None else cost / self.cost_divisor


class SpanRule(NamedTuple):
    """Defines whether the input count of spans excludes cached tokens.

    Args:
        sender: the program that makes the spans.
        source: URL of the document or code that defines this.
        begins: prefix of the instrumentation scope's name, or of the attribute that states the input.
        providers: substrings of provider names, one of which must occur; empty for any provider.
        without: a count that must be missing.
        excludes: true if the input excludes cached tokens.
        is_fixed: true if the sender never deviates; otherwise the total, if sent, decides.
    """

    sender: str
    source: str
    begins: str = ""
    providers: tuple[str, ...] = ()
    without: str | None = None
    excludes: bool = True
    is_fixed: bool = True


_TABLE: Final = tomllib.loads((files("stores.usage") / "rules.toml").read_text("utf-8"))


def _row(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a rule in the table, with tuples for lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _rule(*, base: str = "", keys: Mapping[str, Any] = MappingProxyType({}), **fields: Any) -> Rule:
    """Build a rule of the table; its keys extend those of its base."""
    inherited = _TABLE["bases"][base] if base else {}
    return Rule(keys=_row({**inherited, **keys}), **_row(fields))


_PLAIN_KEYS: Final = frozenset({"requests"}).union(*_TABLE["bases"]["totals"].values())
"""Keys of a usage that needs no rule."""

RULES: Final = tuple(_rule(**fields) for fields in _TABLE["rules"])
"""Formats of a model's usage, specific ones first."""

SPAN_RULES: Final = tuple(SpanRule(**_row(fields)) for fields in _TABLE["span_rules"])
"""Programs that make spans, specific ones first."""

_MEMBERS: Final = frozenset(
    path.partition(".")[0]
    for rule in RULES
    for paths in (rule.marks, rule.also, rule.without, *rule.keys.values())
    for path in paths
)
"""First keys of all paths in rules."""


@lru_cache(1024)
def _rules_for(members: frozenset[str]) -> list[Rule]:
    """Return the rules that may fit a usage with these `_MEMBERS`. Cached, because senders use few sets of keys."""
    return [reduced for rule in RULES if (reduced := rule.reduced_to(members))]


def rule_of(usage: dict[str, Any]) -> Rule:
    """Return the rule for the format of a model's usage, reduced to its keys."""
    return next(rule for rule in _rules_for(_MEMBERS.intersection(usage)) if rule.fits(usage))


def span_rule_of(names: Iterable[str], provider: str, counts: Mapping[str, int]) -> SpanRule:
    """Return the rule for a span.

    Args:
        names: names of its instrumentation scope and of the attribute that states its input.
        provider: names of its provider.
        counts: its counts.
    """
    provider_text, names = provider.lower(), tuple(names)
    return next(
        rule
        for rule in SPAN_RULES
        if any(name.startswith(rule.begins) for name in names)
        and (not rule.providers or any(part in provider_text for part in rule.providers))
        and (rule.without is None or rule.without not in counts)
    )


_GEMINI: Final = re.compile(r"(?:^|[/:])gemini-", re.IGNORECASE)


def totals_thoughts(model: str) -> bool:
    """Return True if a model's total beyond input and output is reasoning, unless reasoning is reported.

    Gemini counts reasoning only in the total. Some clients that pass on its counts do the same, such as Weave's client
    (`weave/integrations/google_genai/gemini_utils.py`).
    """
    return _GEMINI.search(model) is not None


class Split(NamedTuple):
    """Consistent counts of tokens.

    Args:
        prompt: all input tokens.
        completion: all output tokens.
        total: the total as sent, unless it is less than prompt plus completion and excludes some tokens.
        is_sum: true if no total was sent, so the total is the sum of both.
        classes: non-zero counts of all classes except the rest of each side.
    """

    prompt: int
    completion: int
    total: int
    is_sum: bool
    classes: dict[str, int]


def split_usage(usage: dict[str, Any]) -> tuple[Split, float | None]:
    """Return the counts of a model's usage in any sender's format, and the cost in US dollars that it states.

    It never raises: values that are not integers from 0 to `MOST` count as missing.
    """
    if usage.keys() <= _PLAIN_KEYS:  # true for most calls
        return _plain_split(usage), None
    stated = usage.get(CLASS_COUNTS)
    if isinstance(stated, dict):
        return _stated_split(stated, whole_count(usage.get("total_tokens"))), cost_in_usd(usage.get("cost"))
    rule = rule_of(usage)
    parts = split(rule.counts(usage), rule.input_excludes, rule.output_excludes, is_fixed=rule.is_fixed)
    return parts, rule.cost(usage)


def _plain_split(usage: dict[str, Any]) -> Split:
    """Return the split of a usage with only `_PLAIN_KEYS`, several times as fast as by its rule."""
    prompt = whole_count(usage.get("prompt_tokens")) or whole_count(usage.get("input_tokens"))
    completion = whole_count(usage.get("completion_tokens")) or whole_count(usage.get("output_tokens"))
    return _split_from_totals(prompt, completion, whole_count(usage.get("total_tokens")))


def _split_from_totals(prompt: int, completion: int, total: int) -> Split:
    both = min(prompt + completion, MOST)
    return Split(prompt, completion, total or both, both > 0 and not total, {})


def split(
    counts: Mapping[str, int],
    input_excludes: Iterable[str] = (),
    output_excludes: Iterable[str] = (),
    *,
    is_fixed: bool = False,
) -> Split:
    """Convert counts by the names of `Rule.keys` to consistent classes.

    Args:
        counts: integers from 0 to `MOST`.
        input_excludes: counts that `input` does not include.
        output_excludes: counts that `output` does not include.
        is_fixed: true if that is certain. Otherwise the total decides, and parts larger than the input or output are
            not included in it.
    """
    get = counts.get
    sent_in, sent_out, total = get("input", 0), get("output", 0), get("total", 0)
    if counts.keys() <= _TOTALS:
        return _split_from_totals(sent_in, sent_out, total)
    parts = _sent_parts(counts)
    beside, beside_out = get("input_beside", 0), get("output_beside", 0)
    apart_in, apart_out = _sum_of_parts(parts, input_excludes, CACHE), _sum_of_parts(parts, output_excludes, REASONING)
    prompt = sent_in + beside
    outputs = {sent_out + beside_out, sent_out + beside_out + apart_out}
    if _excludes_parts(sent_in, apart_in, total - beside, outputs, excludes=bool(input_excludes), is_fixed=is_fixed):
        prompt += apart_in
    completion = sent_out + beside_out
    if _excludes_parts(
        sent_out, apart_out, total - beside_out, {prompt}, excludes=bool(output_excludes), is_fixed=is_fixed
    ):
        completion += apart_out
    return _split_from_parts(counts, parts, prompt, completion)


def _sent_parts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the parts of input and output as sent; cached audio and images count as cached only."""
    get = counts.get
    read_audio, read_image = get("cache_read_audio", 0), get("cache_read_image", 0)
    return {
        "cache_read": max(get("cache_read", 0), read_audio + read_image),
        "cache_write": max(get("cache_write", 0), get("cache_write_5m", 0) + get("cache_write_1h", 0)),
        "audio_input": max(get("audio_input", 0) - read_audio, 0),
        "image_input": max(get("image_input", 0) - read_image, 0),
        "reasoning": get("reasoning", 0),
        "audio_output": get("audio_output", 0),
        "image_output": get("image_output", 0),
    }


def _split_from_parts(counts: Mapping[str, int], parts: dict[str, int], prompt: int, completion: int) -> Split:
    get = counts.get
    audio, image, read = parts["audio_input"], parts["image_input"], parts["cache_read"]
    read_audio, written_1h = get("cache_read_audio", 0), get("cache_write_1h", 0)
    # If cached audio or images are counted twice, so that parts exceed the input, the excess was cached.
    twice = min(max(read + parts["cache_write"] + audio + image - prompt, 0), read - read_audio)
    of_image = min(image, twice)
    of_audio = min(audio, twice - of_image)
    inputs = {
        "cache_read": read - read_audio - of_audio,
        "cache_read_audio": read_audio + of_audio,
        "cache_write_5m": parts["cache_write"] - written_1h,
        "cache_write_1h": written_1h,
        "audio_input": audio - of_audio,
        "image_input": image - of_image,
    }
    outputs = {name: parts[name] for name in (*REASONING, "audio_output", "image_output")}
    prompt, inputs = _clamped(prompt, inputs)
    completion, outputs = _clamped(completion, outputs)
    sent_total, both = get("total", 0), min(prompt + completion, MOST)
    is_as_sent = prompt == get("input", 0) and completion == get("output", 0)
    total = sent_total if sent_total and is_as_sent else max(sent_total, both)
    requests = {"web_searches": get("web_searches", 0)}
    classes = {name: count for name, count in (inputs | outputs | requests).items() if count}
    return Split(prompt, completion, total, total > 0 and not sent_total, classes)


def _stated_split(stated: dict[str, Any], total: int) -> Split:
    """Build the split from counts of all classes."""
    counts = {each.name: whole_count(stated.get(each.name)) for each in CLASSES}
    sides = {side: {each.name: counts[each.name] for each in CLASSES if each.side is side} for side in Side}
    prompt, inputs = _clamped(0, sides[Side.INPUT])
    completion, outputs = _clamped(0, sides[Side.OUTPUT])
    classes_by_name = inputs | outputs | sides[Side.REQUEST]
    classes = {name: count for name, count in classes_by_name.items() if count and name not in (INPUT, OUTPUT)}
    both = min(prompt + completion, MOST)
    return Split(prompt, completion, max(total, both), both > 0 and not total, classes)


def whole_count(value: object) -> int:
    """Return an integer from 0 to `MOST`; 0 for any other value."""
    if type(value) is int:  # true for nearly all
        return value if 0 <= value <= MOST else 0
    if isinstance(value, float) and value == value // 1 and 0 <= value < INT64:
        return int(value)
    return 0


def cost_in_usd(value: object) -> float | None:
    """Return a stated cost; None if it is not a finite number from 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return float(value) if value < INT64 else None


def first_cost(costs: Iterable[float | None]) -> float | None:
    """Return the first positive cost, else 0 if any is 0, because senders also write 0 if they computed none."""
    zero = None
    for cost in costs:
        if cost:
            return cost
        zero = zero if cost is None else cost
    return zero


def _sum_of_parts(parts: dict[str, int], excluded: Iterable[str], uncertain: tuple[str, ...]) -> int:
    return sum(parts[name] for name in tuple(excluded) or uncertain)


def _excludes_parts(sent: int, parts: int, total: int, others: set[int], *, excludes: bool, is_fixed: bool) -> bool:
    """Return True if a count excludes its parts, by the rule or by the total of it and one of the others."""
    if is_fixed or not parts:
        return excludes
    if parts > sent:
        return True
    with_parts, without = total - sent in others, total - sent - parts in others
    return without if with_parts != without else excludes


def _clamped(total: int, parts: dict[str, int]) -> tuple[int, dict[str, int]]:
    """Return the total, raised to at least the sum of its parts, and the parts, clamped to 64 bits."""
    total = min(max(total, sum(parts.values())), MOST)
    left = total
    cut: dict[str, int] = {}
    for name, count in parts.items():
        cut[name] = min(count, left)
        left -= cut[name]
    return total, cut


def _starting_at(members: frozenset[str], paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(path for path in paths if path.partition(".")[0] in members)


def _has_one(usage: dict[str, Any], paths: tuple[str, ...]) -> bool:
    return any(_at(usage, path) is not None for path in paths)


def _at(usage: dict[str, Any], path: str) -> object:
    """Return the value at a path; None if it does not exist."""
    value: object = usage
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list):
            value = _in_list(value, step)
        else:
            return None
    return value


def _in_list(entries: list[object], step: str) -> int | None:
    """Sum the counts of the entries with a modality or time to live; None if there is no such entry."""
    counts = [
        sum(whole_count(entry.get(name)) for name in ("tokenCount", "token_count", "inputTokens"))
        for entry in entries
        if isinstance(entry, dict) and step in (entry.get("modality"), entry.get("ttl"))
    ]
    return min(sum(counts), MOST) if counts else None
