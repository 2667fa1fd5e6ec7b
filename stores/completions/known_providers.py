"""Known providers: base URLs of their OpenAI-compatible APIs, and names of their secrets.

The base URLs are those that the providers document for OpenAI's client library.
"""

from typing import Final, NamedTuple


class KnownProvider(NamedTuple):
    """A provider with an OpenAI-compatible API.

    `secrets` are environment variables of its API key, the usual one first. `model_prefixes` identify models that may
    be named without the provider. `takes_stream_options` is False for providers that reject `stream_options`; their
    streams report usage without it.
    """

    name: str
    base_url: str
    secrets: tuple[str, ...]
    model_prefixes: tuple[str, ...] = ()
    takes_stream_options: bool = True


OPENAI: Final = "openai"
COREWEAVE: Final = "coreweave"

KNOWN_PROVIDERS: Final = {
    provider.name: provider
    for provider in (
        KnownProvider(
            OPENAI, "https://api.openai.com/v1", ("OPENAI_API_KEY",), ("gpt-", "chatgpt-", "o1", "o3", "o4", "dall-e-")
        ),
        KnownProvider("anthropic", "https://api.anthropic.com/v1", ("ANTHROPIC_API_KEY",), ("claude-",)),
        KnownProvider(
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            ("gemini-",),
        ),
        KnownProvider(
            "mistral",
            "https://api.mistral.ai/v1",
            ("MISTRAL_API_KEY",),
            ("mistral-", "ministral-", "magistral-", "codestral-", "devstral-", "pixtral-", "open-mistral-"),
            takes_stream_options=False,
        ),
        KnownProvider("deepseek", "https://api.deepseek.com/v1", ("DEEPSEEK_API_KEY",), ("deepseek-",)),
        KnownProvider("xai", "https://api.x.ai/v1", ("XAI_API_KEY",), ("grok-",)),
        KnownProvider("groq", "https://api.groq.com/openai/v1", ("GROQ_API_KEY",)),
        KnownProvider("together_ai", "https://api.together.xyz/v1", ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY")),
        KnownProvider(
            "fireworks_ai", "https://api.fireworks.ai/inference/v1", ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY")
        ),
        KnownProvider("openrouter", "https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",)),
        KnownProvider(
            "perplexity",
            "https://api.perplexity.ai",
            ("PERPLEXITY_API_KEY", "PERPLEXITYAI_API_KEY"),
            ("sonar",),
            takes_stream_options=False,
        ),
        KnownProvider("cerebras", "https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",)),
        KnownProvider(COREWEAVE, "https://api.inference.wandb.ai/v1", ("WANDB_API_KEY",)),
    )
}


def provider_of(model: str) -> KnownProvider | None:
    """Find the provider of a model named without one, by prefix; None if no prefix matches."""
    matching = (
        known for known in KNOWN_PROVIDERS.values() if known.model_prefixes and model.startswith(known.model_prefixes)
    )
    return next(matching, None)
