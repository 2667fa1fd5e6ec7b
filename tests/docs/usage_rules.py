"""The tables of `reference/usage-rules.md`: how LoomQL reads the token counts of each sender."""

from collections.abc import Iterable, Iterator

from stores.senders.attributes import COUNTS, OTHER_USAGE, PARTS
from stores.usage.classes import CLASSES
from stores.usage.rules import CACHE, REASONING, RULES, SPAN_RULES, Rule


def sender_rules() -> str:
    """Return the tables of token classes, of rules for summaries, and of rules for spans."""
    return "\n".join([*_classes(), *_summaries(), *_spans()]).rstrip()


def _classes() -> Iterator[str]:
    yield from ("## Classes", "", "| Class | Part of | Without a rate of its own priced as | Counts |", _line(4))
    for each in CLASSES:
        yield _row(
            f"`{each.name}`", each.side.name.lower(), f"`{each.like}`" if each.like else "nothing", each.description
        )
    yield ""


def _summaries() -> Iterator[str]:
    yield from ("## A model's usage in a summary", "", "The first rule that fits applies.", "")
    yield from ("| Sender | Input | Output | Source |", _line(4))
    for rule in RULES:
        sides = (rule.input_excludes, CACHE), (rule.output_excludes, REASONING)
        yield _row(rule.sender, *(_inclusion(rule, *side) for side in sides), f"<{rule.source}>")
    yield ""
    for rule in RULES:
        yield from (f"### {rule.sender}", "")
        if rule.marks:
            also = f", together with {_keys(rule.also)} above 0" if rule.also else ""
            without = f", without {_keys(rule.without)}" if rule.without else ""
            yield f"- Applies to usage with {_keys(rule.marks, ' or ')}{also}{without}."
        else:
            yield "- Applies to all other usage."
        if rule.note:
            yield f"- {rule.note}"
        yield from ("", "| Count | Keys |", _line(2))
        for name, keys in rule.keys.items():
            yield _row(f"`{name}`", _keys(keys))
        yield ""


def _spans() -> Iterator[str]:
    yield from ("## Attributes of spans", "", "The first rule that fits applies.", "")
    yield from ("| Sender | Input | Source |", _line(3))
    for rule in SPAN_RULES:
        does = "excludes the cache" if rule.excludes else "includes the cache"
        yield _row(rule.sender, does + ("" if rule.is_fixed else ", unless the total differs"), f"<{rule.source}>")
    yield from ("", "| Count | Attributes |", _line(2))
    for name, keys in (COUNTS | PARTS | OTHER_USAGE).items():
        yield _row(f"`{name}`", _keys(keys))
    yield ""


def _inclusion(rule: Rule, excluded: tuple[str, ...], parts: tuple[str, ...]) -> str:
    named = excluded or tuple(part for part in parts if part in rule.keys)
    if not named:
        return "has no such parts"
    is_certain = rule.is_fixed or "total" not in rule.keys
    does = f"{'excludes' if excluded else 'includes'} {_keys(named)}"
    return does if is_certain else f"{does}, unless the total differs"


def _keys(keys: Iterable[str], between: str = ", ") -> str:
    return between.join(f"`{key}`" for key in keys)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _line(columns: int) -> str:
    return "|" + " --- |" * columns
