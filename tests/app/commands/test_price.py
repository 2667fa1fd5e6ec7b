"""Tests of `loomql price`: the resolution of a model name, and its rates."""

from collections.abc import Callable

import pytest

from app.cli import main
from stores import times
from stores.costs import CostsStore, NewCost
from stores.costs.model_names import UNPRICED
from stores.database import Database

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def price(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs the command in this process and returns its exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["price", *arguments])
        return code, *capsys.readouterr()

    return run


def table(output: str) -> dict[str, list[str]]:
    """Return the cells of each row by the row's class of tokens."""
    rows = [line.split() for line in output.partition("Rates in ")[2].splitlines()[2:]]
    return {name: cells for name, *cells in rows}


def test_router_name_is_explained_with_rules_tiers_and_sources(price: Command) -> None:
    code, output, error = price("openrouter/anthropic/claude-sonnet-4", "--at", "2025-06-01")

    assert (code, error) == (0, "")
    assert output.splitlines()[:6] == [
        "openrouter/anthropic/claude-sonnet-4 has the price of claude-sonnet-4-20250514.",
        "  rule: router that charges the maker's price",
        "  rule: prefix of a maker or seller, as routers and frameworks write it",
        "  rule: newest version of a name without a date",
        "  price: shipped with LoomQL, taken from its sources on 2026-11-24",
        "  in effect from 2025-05-23; provider: anthropic",
    ]
    assert output.count("  source: ") == 3
    assert "in litellm 1.110.2, https://pypi.org/project/litellm" in output
    assert "Rates in USD, for 1,000,000 tokens or one search:\n" in output
    assert "above 200,000 prompt tokens" in output
    assert table(output) == {
        "input": ["3", "6", "input"],
        "cache_read": ["0.3", "0.6", "cache_read"],
        "cache_read_audio": ["0.3", "0.6", "cache_read"],
        "cache_write_5m": ["3.75", "7.5", "cache_write_5m"],
        "cache_write_1h": ["6", "12", "cache_write_1h"],
        "audio_input": ["3", "6", "input"],
        "image_input": ["3", "6", "input"],
        "output": ["15", "22.5", "output"],
        "reasoning": ["15", "22.5", "output"],
        "audio_output": ["15", "22.5", "output"],
        "image_output": ["15", "22.5", "output"],
        "web_searches": ["0.01", "0.01", "web_searches"],
    }


def test_price_is_the_one_in_effect_at_the_date_or_the_next(price: Command) -> None:
    def shown(date: str) -> tuple[list[str], bool]:
        output = price("gpt-4o", "--at", date)[1]
        return table(output)["input"], "a later price is used instead" in output

    assert shown("2024-11-01") == (["5", "input"], False)
    assert shown("2025-11-01") == (["2.5", "input"], False)
    assert shown("2020-01-01") == (["2.5", "input"], True)


def test_model_without_a_price_is_an_error_with_its_tried_names(price: Command) -> None:
    code, output, error = price("openai/GPT-99")

    assert (code, error) == (1, "")
    assert output.splitlines()[:5] == [
        "openai/GPT-99 has no price under any of these names:",
        "  openai/GPT-99",
        "  openai/gpt-99",
        "  GPT-99",
        "  gpt-99",
    ]


@pytest.mark.parametrize("model", ["deepseek/deepseek-r1:free", "openai/gpt-oss-20b:free:online"])
def test_free_variant_has_no_price_and_says_why(price: Command, model: str) -> None:
    code, output, error = price(model)

    assert (code, error) == (1, "")
    assert UNPRICED[":free"] in output.splitlines()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("claude-sonet-4-5", "claude-sonnet-4-5"),
        ("gpt-4o-mimi", "gpt-4o-mini"),
        ("deepseek/deepseek-r1:free", "deepseek-r1"),
    ],
)
def test_model_without_a_price_gets_similar_names(price: Command, name: str, nearest: str) -> None:
    code, output, _ = price(name)

    _, near = output.split("Default prices exist for these similar names, which may be other models:\n")
    assert (code, near.splitlines()[0]) == (1, f"  {nearest}")


def test_invalid_date_is_an_error(price: Command) -> None:
    code, output, error = price("gpt-4o", "--at", "yesterday")

    assert (code, output) == (1, "")
    assert "'yesterday' is not an ISO 8601 time" in error


@pytest.fixture
async def cost_id(mongodb_uri: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the id of a price of gpt-4o that `acme/chat` sets."""
    monkeypatch.setenv("LOOMQL_MONGODB_URI", mongodb_uri)
    monkeypatch.setenv("LOOMQL_MONGODB_DATABASE", database.calls.database.name)
    rates = {"cache_read_token_cost": 1e-07, "web_search_cost": 0.5}
    own = NewCost("gpt-4o", 1e-06, 4e-06, "EUR", "JPY", times.parse("2026-01-01"), "contract", rates)
    [made] = await CostsStore(database).create("acme/chat", [own], "ada")
    return made


def test_project_price_overrides_the_shipped_price(price: Command, cost_id: str) -> None:
    code, output, _ = price("openai/gpt-4o", "--project", "acme/chat")

    assert code == 0
    assert "openai/gpt-4o has the price of gpt-4o." in output
    assert f"  price: set in acme/chat by ada on {times.to_text(times.now())[:10]}, id {cost_id}\n" in output
    assert "  in effect from 2026-01-01; provider: contract\n" in output
    assert "source:" not in output
    assert "Rates in EUR for input and JPY for output, for 1,000,000 tokens or one search:\n" in output
    shown = table(output)
    assert shown["input"] == ["1", "input"]
    assert shown["cache_read"] == ["0.1", "cache_read"]
    assert shown["cache_write_5m"] == ["1", "input"]
    assert shown["reasoning"] == ["4", "output"]
    assert shown["web_searches"] == ["0.5", "web_searches"]

    code, output, error = price("gpt-4o", "--project", "acme/nowhere")
    assert (code, output) == (1, "")
    assert "project acme/nowhere does not exist" in error
