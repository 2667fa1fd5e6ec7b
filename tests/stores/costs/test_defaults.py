"""The prices that LoomQL ships: figures of others with their source and date, plausible, and made as the file says."""

import json
from importlib.resources import files

from stores import times
from stores.costs.defaults import FILE, all_models, of_model
from stores.costs.sources import merged, written

TEXT = (files("stores.costs") / FILE).read_text()


def test_the_file_says_where_its_figures_are_from_and_of_when() -> None:
    content = json.loads(TEXT)

    assert times.parse(content["date"]) > times.parse("2025-01-01")
    assert content["currency"] == "USD"
    assert [source["license"] for source in content["sources"]] == ["MIT", "Apache-2.0"]
    assert all("https://pypi.org/project/" in source["of"] for source in content["sources"])


def test_hundreds_of_models_have_plausible_prices_in_dollars() -> None:
    prices = list(all_models())

    assert len({price.llm_id for price in prices}) > 1_000
    for price in prices:
        assert 0 <= price.prompt_token_cost < 0.001
        assert 0 <= price.completion_token_cost < 0.001
        assert price.prompt_token_cost or price.completion_token_cost
        assert (price.prompt_token_cost_unit, price.completion_token_cost_unit) == ("USD", "USD")
        assert (price.level, price.level_id, price.created_by) == ("default", "default", "system")


def test_models_are_called_as_their_providers_call_them() -> None:
    for model in ("gpt-4o", "gpt-4o-mini-2024-07-18", "claude-sonnet-4-5-20250929", "gemini-2.5-pro", "grok-4.5"):
        assert of_model(model), model
    assert of_model("no-such-model") == ()


def test_what_was_dearer_before_is_dated() -> None:
    dated = [(times.to_text(price.effective_date)[:10], price.prompt_token_cost) for price in of_model("gpt-4o")]

    assert dated == [("2024-10-08", 5e-06), ("2024-12-18", 2.5e-06)]


def test_the_file_is_made_of_its_two_sources() -> None:
    def row(provider: str, prompt: float, completion: float, day: str = "2024-10-08") -> dict[str, object]:
        return {"provider": provider, "input": prompt, "output": completion, "created_at": f"{day} 08:45:39"}

    def entry(provider: str, prompt: float | None, completion: float | None, mode: str = "chat") -> dict[str, object]:
        costs = {"input_cost_per_token": prompt, "output_cost_per_token": completion}
        return {"litellm_provider": provider, "mode": mode, **costs}

    checkpoint = {
        "old": [row("openai", 2e-6, 4e-6)],
        "cheaper": [row("openai", 2e-6, 4e-6), row("openai", 1e-6, 3e-6, "2025-01-02")],
        "same": [row("openai", 1e-6, 2e-6)],
        "slip": [row("openai", 0.5, 1.5)],
        "swapped": [row("openai", 4e-6, 2e-6)],
        "unknown": [row("somebody", 1e-6, 2e-6)],
    }
    prices = {
        "cheaper": entry("openai", 5e-7, 1e-6),
        "same": entry("openai", 1e-6, 2e-6),
        "mistral/small": entry("mistral", 1e-7, 3e-7),
        "embedder": entry("openai", 1e-8, None, "embedding"),
        "free": entry("openai", None, None),
        "painter": entry("openai", 1e-6, 2e-6, "image_generation"),
        "bedrock/eu/model": entry("bedrock", 1e-6, 2e-6),
        "sample_spec": {"mode": "one of: chat, embedding"},
    }

    models = merged("2026-01-31", prices, checkpoint)

    assert json.loads(written("2026-01-31", models))["models"] == {
        "cheaper": ["openai", ["2024-10-08", 2e-6, 4e-6], ["2025-01-02", 1e-6, 3e-6], ["2026-01-31", 5e-7, 1e-6]],
        "embedder": ["openai", ["2026-01-31", 1e-8, 0.0]],
        "mistral/small": ["mistral", ["2026-01-31", 1e-7, 3e-7]],
        "old": ["openai", ["2024-10-08", 2e-6, 4e-6]],
        "same": ["openai", ["2024-10-08", 1e-6, 2e-6]],
        "small": ["mistral", ["2026-01-31", 1e-7, 3e-7]],
    }
    assert written(json.loads(TEXT)["date"], json.loads(TEXT)["models"]) == TEXT
