"""Tests that every flag and name in the tables of rules matters: without it, a payload of the corpus is misread."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from stores.otel import usage as span_usage
from stores.otel.usage import usage_of_stored
from stores.senders.attributes import OTHER_USAGE, PARTS, STORED_LAYOUT
from stores.usage import rules
from stores.usage.entries import kept_entry
from stores.usage.rules import CACHE, REASONING, RULES, SPAN_RULES, Rule, SpanRule, rule_of
from tests.stores.usage.test_rules import SPANS, SUMMARIES, of_span

_SIDES: Final = (("input_excludes", CACHE), ("output_excludes", REASONING))

Case = tuple[Callable[[Any], dict[str, Any]], Any, dict[str, Any]]
"""A reader, its input, and the entry that it returns."""


def _of_attributes(attributes: object) -> dict[str, Any]:
    [entry] = [kept_entry(model, usage) for model, usage in usage_of_stored(attributes).items()] or [{}]
    return entry


def _of_summary(usage: dict[str, Any]) -> dict[str, Any]:
    return kept_entry("", usage)  # a Gemini model's total would replace reasoning


@pytest.fixture(scope="module")
def summaries() -> list[tuple[str, Case]]:
    """Return the payloads of summaries, each with the sender whose rule reads it."""
    return [
        (rule_of(payload.sent).sender, (_of_summary, payload.sent, _of_summary(payload.sent))) for payload in SUMMARIES
    ]


@pytest.fixture(scope="module")
def spans() -> list[Case]:
    found: list[Case] = []
    for payload in SPANS:
        entry, attributes = of_span(payload)
        found.append((_of_attributes, attributes, entry))
    return found


def _changed_rules(rule: Rule) -> Iterator[tuple[str, Rule]]:
    """Yield the rule with one flag changed, for each flag that can matter to its sender."""
    has_parts = False
    for side, parts in _SIDES:
        excluded: tuple[str, ...] = getattr(rule, side)
        if excluded or not rule.keys.keys().isdisjoint(parts):
            has_parts = True
            turned: dict[str, Any] = {side: () if excluded else parts}
            yield f"{side} turned", replace(rule, **turned)
        for name in excluded if len(excluded) > 1 else ():
            less: dict[str, Any] = {side: tuple(other for other in excluded if other != name)}
            yield f"{side} without {name}", replace(rule, **less)
    if has_parts and "total" in rule.keys:
        yield "is_fixed turned", replace(rule, is_fixed=not rule.is_fixed)
    if rule.cost_divisor != 1:
        yield "cost_divisor of 1", replace(rule, cost_divisor=1)


def _changed_names() -> Iterator[tuple[str, tuple[Rule, ...], set[str]]]:
    """Yield the rules without one name, alone or in all rules that share it, and the changed senders."""
    for name, paths in dict.fromkeys(each for rule in RULES for each in rule.keys.items()):
        sharing = {rule.sender for rule in RULES if rule.keys.get(name) == paths}
        for path in paths:
            left = tuple(other for other in paths if other != path)
            changed = (
                replace(rule, keys={**rule.keys, name: left}) if rule.sender in sharing else rule for rule in RULES
            )
            yield f"{name} without {path}", tuple(changed), sharing


def _is_misread(cases: Sequence[Case]) -> bool:
    return any(read(sent) != entry for read, sent, entry in cases)


def test_each_rule_flag_affects_a_payloads_usage(
    summaries: list[tuple[str, Case]], spans: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    langfuse = [case for payload, case in zip(SPANS, spans, strict=True) if payload.scope == "langfuse-sdk"]
    undecided = []
    for at, rule in enumerate(RULES):
        own = [case for sender, case in summaries if sender == rule.sender] or langfuse
        for change, changed in _changed_rules(rule):
            monkeypatch.setattr(rules, "RULES", (*RULES[:at], changed, *RULES[at + 1 :]))
            rules._rules_for.cache_clear()
            if not _is_misread(own):
                undecided.append((rule.sender, change))
    monkeypatch.undo()
    rules._rules_for.cache_clear()

    assert undecided == []
    assert not _is_misread([case for _, case in summaries])


def test_each_count_name_affects_a_payloads_usage(
    summaries: list[tuple[str, Case]], spans: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    langfuse = [case for payload, case in zip(SPANS, spans, strict=True) if payload.scope == "langfuse-sdk"]
    undecided = []
    for change, changed, senders in _changed_names():
        own = [case for sender, case in summaries if sender in senders]
        monkeypatch.setattr(rules, "RULES", changed)
        rules._rules_for.cache_clear()
        if not _is_misread(own or langfuse):
            undecided.append((senders, change))
    monkeypatch.undo()
    rules._rules_for.cache_clear()

    assert undecided == []


def _changed_span_rules(rule: SpanRule) -> Iterator[tuple[str, SpanRule]]:
    yield "excludes turned", rule._replace(excludes=not rule.excludes)
    yield "is_fixed turned", rule._replace(is_fixed=not rule.is_fixed)
    if rule.without:
        yield f"not without {rule.without}", rule._replace(without=None)
    if rule.providers:
        yield "of any provider", rule._replace(providers=())
        for name in rule.providers:
            yield f"not of {name}", rule._replace(providers=tuple(set(rule.providers) - {name}))


def test_each_span_rule_flag_affects_a_spans_usage(spans: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    undecided = []
    for at, rule in enumerate(SPAN_RULES):
        for change, changed in _changed_span_rules(rule):
            monkeypatch.setattr(rules, "SPAN_RULES", (*SPAN_RULES[:at], changed, *SPAN_RULES[at + 1 :]))
            if not _is_misread(spans):
                undecided.append((rule.sender, change))

    assert undecided == []


def test_each_usage_attribute_affects_a_spans_usage(spans: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    layout = STORED_LAYOUT
    undecided = []
    for name, keys in (PARTS | OTHER_USAGE).items():
        for key in keys:
            left = [candidate for candidate in layout.found[name] if candidate.key != key]
            monkeypatch.setattr(span_usage, "STORED_LAYOUT", replace(layout, found={**layout.found, name: left}))
            if not _is_misread(spans):
                undecided.append((name, key))

    assert undecided == []
