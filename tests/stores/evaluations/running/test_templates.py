"""Tests of message templates: placeholders, literal braces, and refused texts."""

from typing import Any

import pytest

from stores.errors import BadInputError
from stores.evaluations.running import completion_models as templates
from stores.evaluations.running.completion_models import RowError, Template

VALUES: dict[str, Any] = {
    "question": "Why?",
    "number": 1.5,
    "nothing": None,
    "yes": True,
    "deep": {"a": [{"b": "found"}], "0": "zero"},
    "two words": 2,
    "größe": "ü",
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("", ""),
        ("No placeholder.", "No placeholder."),
        ("{question} {question}", "Why? Why?"),
        ("{number}, {nothing}, {yes}", "1.5, null, true"),
        ("{deep.a}", '[{"b":"found"}]'),
        ("{deep[a][0].b}{deep.a.0[b]}{deep[0]}", "foundfoundzero"),
        ("{two words}{größe}", "2ü"),
        ('{{"answer": {number}}}', '{"answer": 1.5}'),
        ("{{question}}", "{question}"),
    ],
)
def test_placeholders_are_replaced(text: str, filled: str) -> None:
    assert Template.parse(text).fill(VALUES) == filled


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "}",
        "{}",
        "a } b",
        '{"answer": 1}',
        "{question!r}",
        "{number:.2f}",
        "{number:9999999999}",
        "{.x}",
        "{x[}",
        "{x",
    ],
)
def test_brace_outside_a_placeholder_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=r"is not a placeholder such as \{question\}; double a literal brace"):
        Template.parse(text)


@pytest.mark.parametrize("piece", ["{{", "{a}", "a{b}"])
def test_too_many_placeholders_are_refused(piece: str) -> None:
    with pytest.raises(BadInputError, match="it has more than 20,000 placeholders, braces and texts between them"):
        Template.parse(piece * 1_000_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{answer}", r"the placeholder \{answer\}; the row has question, number, "),
        ("{deep.a.7}", r"\{deep\[a\]\[7\]\}: nothing is at '7'"),
        ("{deep.a.x}", "nothing is at 'x'"),
        ("{question.upper}", "nothing is at 'upper'"),
        ("{question.__class__.__init__.__globals__}", "nothing is at '__class__'"),
        ("{deep.a.99999999999999999999999999}", "nothing is at"),
        ("{deep.a.²}", "nothing is at"),
    ],
)
def test_missing_value_is_reported(text: str, expected: str) -> None:
    with pytest.raises(RowError, match=expected):
        Template.parse(text).fill(VALUES)


def test_too_long_text_is_reported_before_it_is_built() -> None:
    template = Template.parse("{long}" * 1000)

    with pytest.raises(RowError, match="longer than 10,000,000 characters"):
        template.fill({"long": "x" * (templates.MAX_CHARACTERS // 10)})
