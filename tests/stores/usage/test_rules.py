"""Tests that usage of every sender gives the manually counted token classes, and that counts add up for any input."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stores.calls.documents import stored_part
from stores.otel import protobuf
from stores.otel.mapping import call_of
from stores.otel.spans import Origin
from stores.otel.usage import usage_of_stored
from stores.usage.classes import CLASSES, INPUT, OUTPUT, Side
from stores.usage.entries import COUNTS, kept_entry, kept_usage, stated_entry
from stores.usage.rules import CLASS_COUNTS, MOST, RULES, SPAN_RULES, Rule, SpanRule, rule_of
from tests.stores.otel.messages import span
from tests.stores.usage.corpus import PAYLOADS, Payload

SUMMARIES = [payload for payload in PAYLOADS if payload.scope is None]
SPANS = [payload for payload in PAYLOADS if payload.scope is not None]
TOTALS = {"prompt_tokens": Side.INPUT, "completion_tokens": Side.OUTPUT}

_STEPS = sorted({step for rule in RULES for paths in rule.keys.values() for path in paths for step in path.split(".")})
_MARKS = sorted({path.split(".")[0] for rule in RULES for path in rule.marks} | {CLASS_COUNTS})
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(0, 100)
    | st.floats()
    | st.sampled_from(["", "12", "NaN", MOST, 2**63, -1, 1e300, math.inf])
)
_KEYS = st.sampled_from([*_STEPS, *(each.name for each in CLASSES), "modality", "tokenCount", "ttl", "inputTokens"])
_HOSTILE = st.recursive(
    _SCALARS | st.sampled_from(["AUDIO", "IMAGE", "1h"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=12,
)
HOSTILE = st.dictionaries(_KEYS | st.sampled_from(_MARKS), _HOSTILE, max_size=10)


def ids(payload: Payload) -> str:
    return payload.name


def kept(summary: object) -> dict[str, Any]:
    [entry] = kept_usage(summary)["usage"]
    return dict(entry)


def of_span(payload: Payload) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entry that a span's call stores, and its attributes."""
    message = span(1, payload.sent)
    origin = Origin("acme/spans", {}, {"name": payload.scope})
    start, end = (
        stored_part(part).fields for part in call_of(protobuf.span_of(message.SerializeToString()), origin) if part
    )
    [entry] = end["usage"]
    assert kept(json.loads(end["json"]["summary"])) == entry
    return dict(entry), json.loads(start["json"]["attributes"])


@pytest.mark.parametrize("payload", SUMMARIES, ids=ids)
def test_real_summary_gives_the_manually_counted_usage(payload: Payload) -> None:
    assert kept({"usage": {payload.model: payload.sent}}) == {"model": payload.model, **payload.entry}


@pytest.mark.parametrize("payload", SPANS, ids=ids)
def test_real_span_gives_the_manually_counted_usage(payload: Payload) -> None:
    entry, attributes = of_span(payload)

    assert entry == {"model": payload.model, **payload.entry}
    assert kept({"usage": usage_of_stored(attributes)}) == entry


def test_corpus_has_uniquely_named_payloads_for_every_rule() -> None:
    assert len({payload.name for payload in PAYLOADS}) == len(PAYLOADS) >= 200
    assert {rule_of(payload.sent).sender for payload in SUMMARIES} >= {
        rule.sender for rule in RULES if not rule.sender.startswith("Langfuse")
    }


def test_tables_of_rules_have_the_types_of_their_fields() -> None:
    assert TypeAdapter(tuple[Rule, ...]).validate_python(RULES, strict=True)
    assert TypeAdapter(tuple[SpanRule, ...]).validate_python(SPAN_RULES, strict=True)


@pytest.mark.parametrize("mistake", [{"keys": {"inputs": ("a",)}}, {"input_excludes": ("reasonings",)}])
def test_rule_with_an_unknown_count_is_refused(mistake: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Mistaken has unknown counts: (inputs|reasonings)"):
        Rule("Mistaken", "https://mistaken.example", **mistake)


@given(HOSTILE)
@example({"prompt_tokens": MOST, "completion_tokens": MOST, "completion_tokens_details": {"reasoning_tokens": MOST}})
@example({"cacheReadInputTokens": MOST, "inputTokens": MOST, "cacheWriteInputTokens": MOST})
@example({"input_tokens": math.nan, "cache_read_input_tokens": math.inf, "cost": math.nan})
@example({"promptTokensDetails": [None, {"modality": "AUDIO", "tokenCount": 2**80}], "promptTokenCount": "7"})
@example({"token_classes": {"input": -1, "cache_read": 2**63, "output": MOST, "reasoning": MOST}})
def test_token_class_counts_add_up_for_any_input(usage: dict[str, Any]) -> None:
    for model in ("m", "gemini-2.5-pro"):
        check_sums(kept({"usage": {model: usage}}))


def check_sums(entry: dict[str, Any]) -> None:
    """Check that an entry's counts are whole numbers of 64 bits, and its classes no more than their totals."""
    classes = entry.get("classes", {})
    counts = [entry[name] for name in (*TOTALS, "requests", "total_tokens")]
    assert all(type(count) is int and 0 <= count <= MOST for count in counts)
    assert all(type(count) is int and 0 < count <= MOST for count in classes.values())
    assert classes.keys() <= {each.name for each in CLASSES} - {INPUT, OUTPUT}
    for total, side in TOTALS.items():
        assert sum(classes.get(each.name, 0) for each in CLASSES if each.side is side) <= entry[total]
    assert 0 <= entry.get("stated_cost", 1.0) < math.inf


@pytest.mark.parametrize("payload", SUMMARIES, ids=ids)
def test_stored_entry_is_read_back(payload: Payload) -> None:
    entry = kept_entry(payload.model, payload.sent)

    assert kept_entry(payload.model, stated_entry(entry)) == entry


@given(st.dictionaries(st.sampled_from(COUNTS), _SCALARS))
def test_plain_usage_is_read_as_its_rule_reads_it(usage: dict[str, Any]) -> None:
    assert kept_entry("m", usage) == kept_entry("m", {**usage, "a_key_without_a_rule": 1})


@given(HOSTILE)
def test_stored_entry_of_any_usage_is_read_back(usage: dict[str, Any]) -> None:
    entry = kept_entry("m", usage)

    assert kept_entry("m", stated_entry(entry)) == entry


@given(HOSTILE)
def test_span_with_any_langfuse_usage_is_read(usage: dict[str, Any]) -> None:
    attributes = {"langfuse": {"observation": {"usage_details": usage, "cost_details": usage}}}

    found = usage_of_stored({"otel_span": {"attributes": attributes}})

    assert found == {} or kept({"usage": found})["model"] == "usage"


@pytest.mark.parametrize("attributes", [None, [], {}, {"otel_span": 1}, {"otel_span": {"attributes": []}}])
def test_unrelated_attributes_state_no_usage(attributes: object) -> None:
    assert usage_of_stored(attributes) == {}
