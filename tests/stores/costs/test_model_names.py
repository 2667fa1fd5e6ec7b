"""Tests that a model's name resolves to the price of the same model, or to none."""

import random
import re
from functools import cache

import pytest

from stores.costs import CostsStore, NewCost, Prices
from stores.costs.defaults import all_models, of_model, shipped
from stores.costs.model_names import MAX_LENGTH, RULES, resolve, spellings
from stores.database import Database
from tests.stores.costs.prices import PROJECT, price

DECORATIONS = (
    "{}",
    "openai/{}",
    "openrouter/anthropic/{}",
    "google/{}",
    "azure/{}",
    "bedrock/{}",
    "us.{}",
    "ca.{}",
    "models/{}",
    "publishers/anthropic/models/{}",
    "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/{}",
    "{}-2031-01-31",
    "{}-20310131",
    "{}@20310131",
    "{}-latest",
    "{}:thinking",
    "{}:online",
    "{}-v1:0",
)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/gpt-4o", "gpt-4o"),
        ("openai:gpt-4o", "gpt-4o"),
        ("openrouter/openai/gpt-4o", "gpt-4o"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("anthropic/claude-sonnet-4", "claude-sonnet-4-20250514"),
        ("anthropic/claude-3.7-sonnet:thinking", "claude-3-7-sonnet-latest"),
        ("anthropic/claude-4.5-sonnet-20250929", "claude-sonnet-4-5-20250929"),
        ("anthropic/claude-4.5-haiku-20251001", "claude-haiku-4-5-20251001"),
        ("openrouter/anthropic/claude-4.1-opus-20250805", "claude-opus-4-1-20250805"),
        ("anthropic/claude-4.5-opus-20251124", "claude-opus-4-5"),
        ("anthropic/claude-3.5-sonnet-20240620", "claude-3-5-sonnet-20240620"),
        ("claude-3.5-sonnet", "claude-3-5-sonnet-latest"),
        ("claude-3-opus", "claude-3-opus-latest"),
        ("openai/gpt-4.1:online", "gpt-4.1"),
        ("openrouter/openai/gpt-4o:online", "gpt-4o"),
        ("gpt-4o:online", "gpt-4o"),
        ("google/gemini-2.0-flash-001", "gemini/gemini-2.0-flash-001"),
        ("google_genai:gemini-2.0-flash-001", "gemini/gemini-2.0-flash-001"),
        ("google-gla:models/gemini-2.0-flash-001", "gemini/gemini-2.0-flash-001"),
        ("openrouter/google/gemini-2.5-pro:online", "gemini/gemini-2.5-pro"),
        ("google-vertex:gemini-2.0-flash-001", "gemini-2.0-flash-001"),
        ("x-ai/grok-4", "grok-4"),
        ("amazon/nova-lite-v1", "amazon.nova-lite-v1:0"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("bedrock:us.anthropic.claude-sonnet-4-20250514-v1:0", "us.anthropic.claude-sonnet-4-20250514-v1:0"),
        ("ca.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("anthropic.claude-opus-4-20250514-v1", "anthropic.claude-opus-4-20250514-v1:0"),
        ("anthropic.claude-3-sonnet-20240229-v1:0:200k", "anthropic.claude-3-sonnet-20240229-v1:0"),
        ("us.anthropic.claude-sonnet-4-5-20310131-v1:0", "claude-sonnet-4-5"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
        ),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("claude-sonnet-4@20250514", "vertex_ai/claude-sonnet-4@20250514"),
        ("claude-sonnet-4-6@default", "vertex_ai/claude-sonnet-4-6@default"),
        ("publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        (
            "projects/p/locations/us/publishers/anthropic/models/claude-sonnet-4-5@20250929",
            "vertex_ai/claude-sonnet-4-5@20250929",
        ),
        ("models/gemini-2.0-flash-001", "gemini/gemini-2.0-flash-001"),
        ("azure/gpt-4o", "azure/gpt-4o"),
        ("azure/gpt-4o-2031-01-31", "azure/gpt-4o"),
        ("azure_openai/gpt-4o", "gpt-4o"),
        ("gpt-35-turbo", "gpt-3.5-turbo"),
        ("gpt-4o-2024-11-20", "gpt-4o-2024-11-20"),
        ("gpt-4o-2031-01-31", "gpt-4o"),
        ("claude-3-5-sonnet-20241022", "claude-3-5-sonnet-20241022"),
        ("claude-3-5-sonnet", "claude-3-5-sonnet-latest"),
        ("Claude-Sonnet-4.5", "claude-sonnet-4-5"),
        ("ft:gpt-4o-2024-08-06:acme::abc", "ft:gpt-4o-2024-08-06"),
        ("openai/ft:gpt-4o-mini-2024-07-18:acme::abc", "ft:gpt-4o-mini-2024-07-18"),
        ("openai:ft:gpt-4o-mini-2024-07-18:acme::abc", "ft:gpt-4o-mini-2024-07-18"),
    ],
)
def test_name_resolves_to_the_shipped_price_of_its_model(model: str, name: str) -> None:
    assert resolve(model, shipped()) == name


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-foo",
        "gpt-99",
        "groq/gpt-4o",
        "together_ai/deepseek-ai/DeepSeek-V3",
        "accounts/fireworks/models/deepseek-v3",
        "mistralai/mistral-7b-instruct",  # the bare name has the price of Perplexity
        "deepseek/deepseek-r1:free",
        "openai/gpt-4o:free",
        "openai/gpt-4o:free:online",  # its searches are not free
        "ft:gpt-99:acme::abc",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
        "azure/my-deployment",
        "",
        "/",
        "openai/",
        "openai/" + "gpt-4o".rjust(MAX_LENGTH, "/"),
    ],
)
def test_name_without_a_rule_has_no_price(model: str) -> None:
    assert resolve(model, shipped()) is None
    assert Prices(all_models()).at(model, 0) is None


@cache
def core(name: str) -> str:
    """Return the letters and digits of the model itself, without seller, region, version and date."""
    own = name.lower().split("/")[-1].removeprefix("openai:")
    own = re.sub(r"^(([a-z]{2}|us-gov|apac|global)\.(?=[a-z0-9]+\.))+", "", own)
    own = re.sub(r"^anthropic\.", "", own).replace(".", "-")
    own = re.sub(
        r"(:thinking|:beta|:online|:\d+k|-v\d+(:\d+)?|[-@](20\d{6}|20\d\d-\d\d-\d\d|latest|default))+$", "", own
    )
    own = re.sub(r"^claude-(\d+(?:-\d+)?)-(opus|sonnet|haiku)\b", r"claude-\2-\1", own)
    return re.sub("[^a-z0-9]", "", own)


class Others:
    """The names that have a default price and belong to another model."""

    def __init__(self, model: str) -> None:
        self._core = core(model)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in shipped() and core(name) != self._core


def test_names_do_not_resolve_to_other_models() -> None:
    chance = random.Random(20)
    names = list(shipped())
    resolved = 0
    for known in names:
        for decoration in chance.sample(DECORATIONS, 4):
            position = chance.randrange(len(known))
            cut = known[:position] + chance.choice(["", "x", "1", "-", "."]) + known[position + chance.randrange(2) :]
            for model in (decoration.format(known), decoration.format(cut), cut):
                found = resolve(model, shipped())
                if found is not None and found != model:
                    resolved += 1
                    assert core(found) == core(model), (model, found)
    assert resolved > 2_000


def test_unpriced_name_does_not_take_the_price_of_a_similar_one() -> None:
    for known in shipped():
        assert resolve(known, Others(known)) is None, known


def test_each_documented_kind_of_rule_exists() -> None:
    used = {rule for model in (*RESOLVING, *shipped()) for rules in spellings(model).values() for rule in rules}

    assert used == set(RULES)


RESOLVING = (
    "Claude-Sonnet-4.5",
    "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
    "models/gemini-2.5-flash",
    "publishers/google/models/gemini-2.5-pro",
    "openrouter/openai/gpt-4o",
    "anthropic/claude-3.7-sonnet:thinking",
    "openai/gpt-4.1:online",
    "ft:gpt-4o-2024-08-06:acme::abc",
    "amazon/nova-lite-v1",
    "anthropic.claude-3-sonnet-20240229-v1:0:200k",
    "claude-sonnet-4@20250514",
    "anthropic/claude-4.5-sonnet-20250929",
)


def test_project_prices_win_for_the_same_name_only() -> None:
    own = [
        price(llm_id="gpt-4o", id="own"),
        price(llm_id="azure/mine", id="mine"),
        price(llm_id="claude-x.5", id="dot"),
    ]
    prices = Prices([*all_models(), *own])

    def held(model: str) -> tuple[str, str] | None:
        found = prices.at(model, 2**60)
        return (found.llm_id, found.id) if found else None

    assert held("gpt-4o") == held("openai/gpt-4o") == held("GPT-4O") == ("gpt-4o", "own")
    assert held("azure/gpt-4o") == ("azure/gpt-4o", ""), "an earlier name has a shipped price"
    assert held("azure/mine") == held("AZURE/mine") == ("azure/mine", "mine")
    assert held("mine") is None
    assert held("anthropic/claude-x.5") == ("claude-x.5", "dot")


async def test_pipeline_prices_known_models_as_python_does(database: Database) -> None:
    models = [
        "openai/gpt-4o",
        "gpt-4o",
        "anthropic/claude-sonnet-4.5",
        "GPT-4o-mini",
        "nowhere/nothing",
        "claude-3-5-sonnet",
    ]
    entries = [{"model": model, "prompt_tokens": 1_000, "completion_tokens": 10} for model in models]
    await database.calls.insert_many(
        [{"_id": str(place), "started_at": 2**60, "usage": [entry]} for place, entry in enumerate(entries)]
    )
    prices = Prices(all_models()).of(models)

    rows = await database.calls.aggregate(
        [{"$sort": {"_id": 1}}, {"$project": {"cost": prices.total_cost_expression()}}]
    ).to_list(None)

    assert [row["cost"] for row in rows] == [prices.total_cost([entry], 2**60) for entry in entries]
    assert [row["cost"] is None for row in rows] == [False, False, False, False, True, False]
    assert rows[0]["cost"] == rows[1]["cost"]


async def test_model_prices_include_those_of_alias_names(database: Database) -> None:
    store = CostsStore(database)
    await store.create(PROJECT, [NewCost("gpt-4o", 1.0, 2.0), NewCost("loom-1.5", 3.0, 4.0)])
    await store.create("acme/other", [NewCost("loom-1-5", 7.0, 8.0)])
    models = ("openrouter/openai/gpt-4o", "Loom-1-5", "claude-3.5-haiku", "none")

    found = (await store.prices([(PROJECT, models)]))[PROJECT, models]

    held = [found.at(model, 2**60) for model in models]
    assert [each and (each.llm_id, each.level) for each in held] == [
        ("gpt-4o", "project"),
        ("loom-1.5", "project"),
        ("claude-3-5-haiku-latest", "default"),
        None,
    ]
    assert all(of_model(each.llm_id) for each in held if each and each.level == "default")
