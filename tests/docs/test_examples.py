"""Tests that every query of README and the pages is valid, and that the server returns the answer on the page."""

from typing import Any

import httpx
import pytest
from graphql import OperationDefinitionNode, OperationType, build_schema, parse, validate

from app.demo import PROJECT_ID
from tests.docs.conftest import answer
from tests.docs.pages import PAGES, Page
from tests.installation import ROOT

SCHEMA = build_schema((ROOT / "graphql_schema" / "schema.graphql").read_text())
TESTED_ELSEWHERE = [
    ("how-to/actions", "llm_judge"),
    ("how-to/completions", "completionsCreateStream"),
    ("how-to/evaluations", "LLMAsAJudgeScorer"),
    ("how-to/evaluations", "evaluateModel("),
    ("how-to/evaluations", "evaluationProgress("),
    ("how-to/files-and-images", "imageCreate("),
    ("how-to/live", "after: $after"),
    ("how-to/retention", "retentionSet("),
    ("how-to/send-traces", "otel/weaver"),
    ("how-to/send-traces", "otel/claude-code"),
    ("how-to/send-traces", "acme/weave-demo"),
]
"""Pages, and texts in documents without a response, which need more than the demo and which other tests run."""


def of_demo(document: str) -> bool:
    return PROJECT_ID in document


def is_query(document: str) -> bool:
    return all(
        isinstance(each, OperationDefinitionNode) and each.operation is OperationType.QUERY
        for each in parse(document).definitions
    )


LONE = [(page, document) for page in PAGES for document in page.lone_queries]
OF_DEMO = [(page, text) for page, text in LONE if of_demo(text) and is_query(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if page.examples], ids=str)
def test_documented_responses_match_the_server(page: Page, client: httpx.Client, exploring: httpx.Client) -> None:
    for document, expected in page.examples:
        found = answer(exploring if of_demo(document) else client, document)
        if "extensions" not in expected:  # pages show the cost only in explanations of it
            del found["extensions"]
        assert found == expected


@pytest.mark.parametrize(("page", "document"), OF_DEMO, ids=lambda value: " ".join(str(value).split())[:40])
def test_query_without_a_response_returns_demo_rows(page: Page, document: str, exploring: httpx.Client) -> None:
    found = answer(exploring, document)

    assert "errors" not in found, f"{page}: {found['errors']}"
    assert [name for name, value in found["data"].items() if is_empty(value)] == []


def is_empty(value: Any) -> bool:
    rows = [value.get(name, [...]) for name in ("nodes", "rows")] if isinstance(value, dict) else [value]
    return value is None or not all(row if isinstance(row, list) else True for row in rows)


def test_other_documents_are_run_by_other_tests() -> None:
    others = [(page, text) for page, text in LONE if (page, text) not in OF_DEMO]

    named = [
        (page, text) for page, text in others for name, part in TESTED_ELSEWHERE if name == str(page) and part in text
    ]
    assert named == others
    assert len(named) == len(TESTED_ELSEWHERE)


@pytest.mark.parametrize("page", [page for page in PAGES if page.examples or page.lone_queries], ids=str)
def test_documents_on_a_page_are_valid(page: Page) -> None:
    for document in [*page.lone_queries, *(text for text, _ in page.examples)]:
        assert validate(SCHEMA, parse(document)) == []
