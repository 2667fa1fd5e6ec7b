"""Tests of LoomQL's default prices: they state source and date, are plausible, and match their build script."""

import json
from importlib.resources import files

from stores import times
from stores.costs.defaults import FILE, all_models, of_model
from stores.usage.classes import BY_NAME, CLASSES
from tests.stores.costs.build_default_prices import merged, written

TEXT = (files("stores.costs") / FILE).read_text()


def test_price_file_states_its_sources_and_date() -> None:
    content = json.loads(TEXT)

    assert times.parse(content["date"]) > times.parse("2025-01-01")
    assert content["currency"] == "USD"
    assert [source["license"] for source in content["sources"]] == ["MIT", "Apache-2.0", "MIT"]
    assert all("https://pypi.org/project/" in source["of"] for source in content["sources"])


def test_hundreds_of_models_have_plausible_dollar_prices() -> None:
    prices = list(all_models())

    assert len({price.llm_id for price in prices}) > 1_000
    for price in prices:
        assert 0 <= price.prompt_token_cost < 0.001
        assert 0 <= price.completion_token_cost < 0.001
        assert price.prompt_token_cost or price.completion_token_cost
        assert (price.prompt_token_cost_unit, price.completion_token_cost_unit) == ("USD", "USD")
        assert (price.level, price.level_id, price.created_by) == ("default", "default", "system")


def test_models_have_their_providers_names() -> None:
    for model in ("gpt-4o", "gpt-4o-mini-2024-07-18", "claude-sonnet-4-5-20250929", "gemini-2.5-pro", "grok-4.5"):
        assert of_model(model), model
    assert of_model("no-such-model") == ()


def test_former_prices_have_dates() -> None:
    dated = [(times.to_text(price.effective_date)[:10], price.prompt_token_cost) for price in of_model("gpt-4o")]

    assert dated == [("2024-10-08", 5e-06), ("2024-12-18", 2.5e-06)]


def rates_at(model: str, prompt_tokens: int = 1) -> dict[str, float]:
    price = of_model(model)[-1]
    return {each.name: price.rates_for(prompt_tokens)[each.name] for each in CLASSES}


def test_token_classes_and_tiers_match_the_providers_price_lists() -> None:
    claude = {
        "input": 3e-06,
        "cache_read": 3e-07,
        "cache_write_5m": 3.75e-06,
        "cache_write_1h": 6e-06,
        "output": 1.5e-05,
    }
    above = {
        "input": 6e-06,
        "cache_read": 6e-07,
        "cache_write_5m": 7.5e-06,
        "cache_write_1h": 1.2e-05,
        "output": 2.25e-05,
    }
    for model, prompt_tokens, rates in (
        ("gpt-4o", 1, {"input": 2.5e-06, "cache_read": 1.25e-06, "output": 1e-05, "reasoning": 1e-05}),
        ("claude-sonnet-4-20250514", 200_000, claude),
        ("claude-sonnet-4-20250514", 200_001, above),
        (
            "gemini-2.5-pro",
            200_001,
            {"input": 2.5e-06, "cache_read": 2.5e-07, "output": 1.5e-05, "web_searches": 0.035},
        ),
        (
            "gemini-2.5-flash",
            1,
            {"input": 3e-07, "audio_input": 1e-06, "cache_read_audio": 1e-07, "reasoning": 2.5e-06},
        ),
        ("deepseek-chat", 1, {"input": 2.8e-07, "cache_read": 2.8e-08, "cache_write_5m": 2.8e-07, "output": 4.2e-07}),
        ("gpt-4o-audio-preview", 1, {"input": 2.5e-06, "audio_input": 1e-04, "output": 1e-05, "audio_output": 2e-04}),
        ("gpt-image-1", 1, {"input": 5e-06, "image_input": 1e-05, "image_output": 4e-05}),
        ("dashscope/qwen3-max", 32_001, {"input": 2.4e-06, "output": 1.2e-05}),
        ("dashscope/qwen3-max", 128_001, {"input": 3e-06, "output": 1.5e-05}),
    ):
        assert {name: rates_at(model, prompt_tokens)[name] for name in rates} == rates, model


def test_further_rates_and_tiers_are_plausible() -> None:
    for price in all_models():
        base = {each.name: price.rates_for(0)[each.name] for each in CLASSES}
        assert set(price.rates) <= set(BY_NAME) - {"input", "output"}
        assert max([*base.values(), 0], default=0) < 1
        assert base["cache_read"] <= base["input"]
        assert base["input"] <= base["cache_write_5m"] <= 2 * base["input"]
        assert base["cache_write_5m"] <= base["cache_write_1h"] <= 2 * base["cache_write_5m"]
        thresholds = [above for above, _ in price.tiers]
        assert thresholds == sorted(set(thresholds))
        assert all(above % 1_000 == 0 for above in thresholds)
        for above in thresholds:
            assert base["input"] < price.rates_for(above + 1)["input"] <= 10 * base["input"]
            assert price.rates_for(above + 1)["cache_read"] <= price.rates_for(above + 1)["input"]


def test_price_file_omits_rates_equal_to_their_fallback() -> None:
    for price in all_models():
        for name, rate in price.rates.items():
            like = BY_NAME[name].like
            assert like is None or rate != price.rates_for(0)[like], (price.llm_id, name)


def test_price_file_is_built_from_its_sources() -> None:
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
        "retired": [row("anthropic", 8e-6, 9e-6), row("anthropic", 4e-6, 8e-6, "2025-01-02")],
    }
    older = {
        "retired": entry("anthropic", 4e-6, 8e-6)
        | {"cache_read_input_token_cost": 4e-7, "cache_creation_input_token_cost_above_1hr": 6e-5},
        "cheaper": entry("openai", 1e-6, 3e-6) | {"cache_read_input_token_cost": 5e-7},
        "forgotten": entry("openai", 1e-6, 3e-6),
    }
    prices = {
        "cheaper": entry("openai", 5e-7, 1e-6),
        "same": entry("openai", 1e-6, 2e-6),
        "mistral/small": entry("mistral", 1e-7, 3e-7),
        "embedder": entry("openai", 1e-8, None, "embedding"),
        "free": entry("openai", None, None),
        "painter": entry("openai", 1e-6, None, "image_generation") | {"output_cost_per_image_token": 4e-5},
        "searcher": entry("openai", 1e-6, 2e-6, "search"),
        "classes": entry("openai", 1e-6, 2e-6)
        | {
            "input_cost_per_token_cache_hit": 1e-7,
            "input_cost_per_token_batches": 5e-7,
            "cache_creation_input_token_cost": 1.25e-6,
            "cache_creation_input_token_cost_above_1hr": 2e-6,
            "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 4e-6,
            "cache_creation_input_token_cost_above_200k_tokens": 2.5e-6,
            "input_cost_per_token_above_200k_tokens": 2e-6,
            "output_cost_per_token_above_200k_tokens": 3e-6,
            "input_cost_per_token_above_200k_tokens_priority": 9e-6,
            "output_cost_per_reasoning_token": 2e-6,
            "output_cost_per_audio_token": 8e-6,
            "search_context_cost_per_query": {
                "search_context_size_low": 0.01,
                "search_context_size_medium": 0.02,
                "search_context_size_high": 0.03,
            },
        },
        "slips": entry("openai", 1e-6, 2e-6)
        | {
            "cache_read_input_token_cost": 2e-6,
            "cache_creation_input_token_cost": 0.0,
            "input_cost_per_audio_token": 5.0,
            "input_cost_per_token_above_128k_tokens": 2e-5,
            "input_cost_per_audio_token_above_200k_tokens": 3e-6,
        },
        "ranges": {"litellm_provider": "dashscope", "mode": "chat"}
        | {
            "tiered_pricing": [
                {"range": [0, 32_000.0], "input_cost_per_token": 1e-6, "output_cost_per_token": 5e-6},
                {"range": [32_000.0, 128_000.0], "input_cost_per_token": 2e-6, "output_cost_per_token": 1e-5},
            ]
        },
        "bedrock/eu/model": entry("bedrock", 1e-6, 2e-6),
        "sample_spec": {"mode": "one of: chat, embedding"},
    }

    models = merged("2026-01-31", prices, checkpoint, older)

    assert json.loads(written("2026-01-31", models))["models"] == {
        "cheaper": [
            "openai",
            ["2024-10-08", 2e-6, 4e-6],
            ["2025-01-02", 1e-6, 3e-6, {"cache_read": 5e-7}],
            ["2026-01-31", 5e-7, 1e-6],
        ],
        "classes": [
            "openai",
            [
                "2026-01-31",
                1e-6,
                2e-6,
                {
                    "cache_read": 1e-7,
                    "cache_write_5m": 1.25e-6,
                    "cache_write_1h": 2e-6,
                    "audio_output": 8e-6,
                    "web_searches": 0.02,
                },
                [
                    200_000,
                    {
                        "input": 2e-6,
                        "cache_read": 2e-7,
                        "cache_write_5m": 2.5e-6,
                        "cache_write_1h": 4e-6,
                        "output": 3e-6,
                    },
                ],
            ],
        ],
        "embedder": ["openai", ["2026-01-31", 1e-8, 0.0]],
        "mistral/small": ["mistral", ["2026-01-31", 1e-7, 3e-7]],
        "old": ["openai", ["2024-10-08", 2e-6, 4e-6]],
        "painter": ["openai", ["2026-01-31", 1e-6, 4e-5]],
        "ranges": ["dashscope", ["2026-01-31", 1e-6, 5e-6, {}, [32_000, {"input": 2e-6, "output": 1e-5}]]],
        "retired": ["anthropic", ["2024-10-08", 8e-6, 9e-6], ["2025-01-02", 4e-6, 8e-6, {"cache_read": 4e-7}]],
        "same": ["openai", ["2024-10-08", 1e-6, 2e-6]],
        "slips": ["openai", ["2026-01-31", 1e-6, 2e-6]],
        "small": ["mistral", ["2026-01-31", 1e-7, 3e-7]],
    }
    assert written(json.loads(TEXT)["date"], json.loads(TEXT)["models"]) == TEXT
