"""Usage as providers and instrumentation send it, with the manually counted entry that a call stores for it.

Sources name the document or program that defines a payload's shape. The numbers are typical of real calls: a cached
prompt, an agent's turn, a spoken answer. `PAYLOADS` has the payloads in summaries of Weave's client and those in
attributes of spans.
"""

from dataclasses import dataclass, field
from typing import Any, Final

OPENAI_CHAT: Final = "https://platform.openai.com/docs/api-reference/chat/object"
OPENAI_RESPONSES: Final = "https://platform.openai.com/docs/api-reference/responses/object"
OPENAI_REALTIME: Final = "https://platform.openai.com/docs/api-reference/realtime-server-events/response/done"
OPENAI_AUDIO: Final = "https://platform.openai.com/docs/api-reference/audio/json-object"
OPENAI_IMAGES: Final = "https://platform.openai.com/docs/api-reference/images/object"
OPENAI_EMBEDDINGS: Final = "https://platform.openai.com/docs/api-reference/embeddings/create"
AZURE: Final = "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/prompt-caching"
ANTHROPIC: Final = "https://platform.claude.com/docs/en/build-with-claude/prompt-caching"
ANTHROPIC_SEARCH: Final = "https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool"
CLAUDE_AGENT: Final = "https://code.claude.com/docs/en/agent-sdk/cost-tracking"
CLAUDE_AGENT_PYTHON: Final = (
    "https://github.com/anthropics/claude-agent-sdk-python/blob/main/tests/test_message_parser.py"
)
LITELLM: Final = "https://docs.litellm.ai/docs/completion/prompt_caching"
GEMINI: Final = "https://ai.google.dev/api/generate-content#UsageMetadata"
GEMINI_LIVE: Final = "https://ai.google.dev/api/live#UsageMetadata"
GEMINI_PYTHON: Final = "https://github.com/googleapis/python-genai/blob/main/google/genai/types.py"
VERTEX: Final = "https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse"
BEDROCK: Final = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html"
DEEPSEEK: Final = "https://api-docs.deepseek.com/guides/kv_cache"
MISTRAL: Final = "https://docs.mistral.ai/api/endpoint/chat"
COHERE: Final = "https://docs.cohere.com/reference/chat"
XAI: Final = "https://docs.x.ai/docs/guides/reasoning"
GROQ: Final = "https://console.groq.com/docs/prompt-caching"
PERPLEXITY: Final = "https://docs.perplexity.ai/getting-started/models/models/sonar-deep-research"
OPENROUTER: Final = "https://openrouter.ai/docs/use-cases/usage-accounting"
QWEN: Final = "https://www.alibabacloud.com/help/en/model-studio/context-cache"
MOONSHOT: Final = "https://platform.moonshot.ai/docs/api/chat"
LANGCHAIN: Final = "https://reference.langchain.com/python/langchain-core/messages/ai/UsageMetadata"
LANGCHAIN_AWS: Final = (
    "https://github.com/langchain-ai/langchain-aws/blob/main/libs/aws/langchain_aws/chat_models/bedrock_converse.py"
)
SGLANG: Final = "https://github.com/sgl-project/sglang/blob/main/python/sglang/srt/entrypoints/openai/protocol.py"
VERCEL: Final = "https://ai-sdk.dev/docs/ai-sdk-core/telemetry"
WEAVE: Final = "https://docs.wandb.ai/weave/guides/tracking/costs"
WEAVE_GEMINI: Final = "https://github.com/wandb/weave/blob/master/weave/integrations/google_genai/gemini_utils.py"
GENAI: Final = "https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md"
OPENINFERENCE: Final = "https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md"
OPENLLMETRY: Final = "https://www.traceloop.com/docs/openllmetry/contributing/semantic-conventions"
LANGFUSE: Final = "https://langfuse.com/docs/observability/features/token-and-cost-tracking"
LANGFUSE_LANGCHAIN: Final = (
    "https://github.com/langfuse/langfuse-python/blob/main/langfuse/langchain/CallbackHandler.py"
)
LANGFUSE_PRICES: Final = "https://github.com/langfuse/langfuse/blob/main/worker/src/constants/default-model-prices.json"
LANGFUSE_SPANS: Final = (
    "https://github.com/langfuse/langfuse/blob/main/packages/shared/src/server/otel/OtelIngestionProcessor.ts"
)
CLAUDE_CODE: Final = "https://code.claude.com/docs/en/monitoring-usage"
LIVEKIT: Final = "https://github.com/livekit/agents/blob/main/livekit-agents/livekit/agents/telemetry/trace_types.py"
PYDANTIC_AI: Final = "https://github.com/pydantic/pydantic-ai/blob/main/pydantic_ai_slim/pydantic_ai/usage.py"
STRANDS: Final = "https://github.com/strands-agents/sdk-python/blob/main/src/strands/telemetry/tracer.py"
MLFLOW: Final = "https://mlflow.org/docs/latest/genai/tracing/token-usage-cost/"
POSTHOG: Final = "https://github.com/PostHog/posthog"
OPENLIT: Final = "https://github.com/openlit/openlit/blob/main/sdk/python/src/openlit/semcov/__init__.py"
OPENLIT_ANTHROPIC: Final = (
    "https://github.com/openlit/openlit/blob/main/sdk/python/src/openlit/instrumentation/anthropic/utils.py"
)
OPENLIT_BEDROCK: Final = (
    "https://github.com/openlit/openlit/blob/main/sdk/python/src/openlit/instrumentation/bedrock/utils.py"
)
OPENLLMETRY_LLAMAINDEX: Final = (
    "https://github.com/traceloop/openllmetry/tree/main/packages/opentelemetry-instrumentation-llamaindex"
)
OPENINFERENCE_BEDROCK: Final = (
    "https://github.com/Arize-ai/openinference/tree/main/js/packages/openinference-instrumentation-bedrock"
)
SENTRY: Final = (
    "https://getsentry.github.io/relay/relay_conventions/attributes/constant.GEN_AI__USAGE__INPUT_TOKENS__CACHED.html"
)


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload of usage, with the entry that a call should store.

    Args:
        name: a unique name.
        source: the address of the document or program that defines its shape.
        model: the model under which the call stores it.
        sent: a member of `summary.usage`, or the attributes of a span.
        entry: the entry that a call stores, without the model.
        scope: the name of a span's instrumentation scope; None for a summary.
    """

    name: str
    source: str
    model: str
    sent: dict[str, Any]
    entry: dict[str, Any] = field(default_factory=dict)
    scope: str | None = None


def entry(prompt: int, completion: int, total: int, *, requests: int = 0, **more: Any) -> dict[str, Any]:
    """Return an entry. `is_sum`: no total was sent; `cost`: the stated cost; all others are token classes."""
    kept: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "requests": requests,
        "total_tokens": total,
    }
    if more.pop("is_sum", False):
        kept["total_is_sum"] = True
    if (cost := more.pop("cost", None)) is not None:
        kept["stated_cost"] = cost
    return kept | ({"classes": more} if more else {})


def chat(prompt: int, completion: int, total: int, **more: Any) -> dict[str, Any]:
    """Return OpenAI's usage of a chat from the details of the prompt, and those of the output after `out_`."""
    details_in = {name: count for name, count in more.items() if not name.startswith("out_")}
    details_out = {name.removeprefix("out_"): count for name, count in more.items() if name.startswith("out_")}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0} | details_in,
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }
        | details_out,
    }


def responses(given: int, out: int, total: int, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    """Return OpenAI's usage of a response."""
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": out,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": total,
    }


def claude(given: int, out: int, read: int | None, written: int | None, **more: Any) -> dict[str, Any]:
    """Return Anthropic's usage of a message."""
    return {
        "input_tokens": given,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": out,
        "service_tier": "standard",
        "server_tool_use": None,
    } | more


def written_for(five_minutes: int, hour: int) -> dict[str, int]:
    """Return Anthropic's tokens written to the cache, by the cache's lifetime."""
    return {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": hour}


def modalities(**counts: int) -> list[dict[str, Any]]:
    """Return Gemini's list of counts by modality."""
    return [{"modality": name.upper(), "tokenCount": count} for name, count in counts.items()]


def snake_modalities(**counts: int) -> list[dict[str, Any]]:
    """Return Gemini's list as Google's client for Python sends it."""
    return [{"modality": name.upper(), "token_count": count} for name, count in counts.items()]


_OPENAI: Final = (
    Payload(
        "chat, plain",
        OPENAI_CHAT,
        "gpt-4o",
        {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
        entry(19, 10, 29),
    ),
    Payload("chat, details of zeros", OPENAI_CHAT, "gpt-4o", chat(19, 10, 29), entry(19, 10, 29)),
    Payload(
        "chat, cached prompt",
        OPENAI_CHAT,
        "gpt-4o",
        chat(2006, 300, 2306, cached_tokens=1920),
        entry(2006, 300, 2306, cache_read=1920),
    ),
    Payload(
        "chat, all of the prompt but 3 tokens cached",
        OPENAI_CHAT,
        "gpt-4o-mini",
        chat(1155, 41, 1196, cached_tokens=1152),
        entry(1155, 41, 1196, cache_read=1152),
    ),
    Payload(
        "chat, reasoning",
        OPENAI_CHAT,
        "o3-mini",
        chat(75, 1186, 1261, out_reasoning_tokens=1024),
        entry(75, 1186, 1261, reasoning=1024),
    ),
    Payload(
        "chat, cached prompt and reasoning",
        OPENAI_CHAT,
        "gpt-5",
        chat(4811, 2250, 7061, cached_tokens=4608, out_reasoning_tokens=1984),
        entry(4811, 2250, 7061, cache_read=4608, reasoning=1984),
    ),
    Payload(
        "chat, nothing but reasoning",
        OPENAI_CHAT,
        "o1",
        chat(210, 2048, 2258, out_reasoning_tokens=2048),
        entry(210, 2048, 2258, reasoning=2048),
    ),
    Payload(
        "chat, spoken question",
        OPENAI_CHAT,
        "gpt-4o-audio-preview",
        chat(130, 24, 154, audio_tokens=120, text_tokens=10, out_text_tokens=24),
        entry(130, 24, 154, audio_input=120),
    ),
    Payload(
        "chat, spoken answer",
        OPENAI_CHAT,
        "gpt-4o-audio-preview",
        chat(17, 263, 280, text_tokens=17, out_audio_tokens=214, out_text_tokens=49),
        entry(17, 263, 280, audio_output=214),
    ),
    Payload(
        "chat, spoken question and answer",
        OPENAI_CHAT,
        "gpt-4o-audio-preview",
        chat(346, 410, 756, audio_tokens=301, out_audio_tokens=333),
        entry(346, 410, 756, audio_input=301, audio_output=333),
    ),
    Payload(
        "chat, image in the prompt",
        OPENAI_CHAT,
        "gpt-4o",
        chat(1118, 66, 1184, image_tokens=1105),
        entry(1118, 66, 1184, image_input=1105),
    ),
    Payload(
        "chat, predicted output",
        OPENAI_CHAT,
        "gpt-4o",
        chat(276, 239, 515, out_accepted_prediction_tokens=201, out_rejected_prediction_tokens=25),
        entry(276, 239, 515),
    ),
    Payload(
        "chat, tokens written to the cache",
        OPENAI_CHAT,
        "gpt-5.6",
        chat(5000, 90, 5090, cached_tokens=1024, cache_write_tokens=3800),
        entry(5000, 90, 5090, cache_read=1024, cache_write_5m=3800),
    ),
    Payload(
        "chat, details of null",
        OPENAI_CHAT,
        "gpt-4",
        {
            "prompt_tokens": 12,
            "completion_tokens": 9,
            "total_tokens": 21,
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        },
        entry(12, 9, 21),
    ),
    Payload(
        "chat, members of details of null",
        OPENAI_CHAT,
        "gpt-4o",
        {
            "prompt_tokens": 1500,
            "completion_tokens": 9,
            "total_tokens": 1509,
            "prompt_tokens_details": {"cached_tokens": 1408, "audio_tokens": None},
            "completion_tokens_details": {"reasoning_tokens": None, "audio_tokens": None},
        },
        entry(1500, 9, 1509, cache_read=1408),
    ),
    Payload(
        "chat, Weave's own count of requests",
        WEAVE,
        "gpt-4o-2024-08-06",
        {"requests": 1, **chat(1400, 200, 1600, cached_tokens=1280)},
        entry(1400, 200, 1600, requests=1, cache_read=1280),
    ),
    Payload(
        "chat, the sum of three calls by Weave's client",
        WEAVE,
        "gpt-4o-2024-08-06",
        {"requests": 3, **chat(4200, 600, 4800, cached_tokens=2560, out_reasoning_tokens=30)},
        entry(4200, 600, 4800, requests=3, cache_read=2560, reasoning=30),
    ),
    Payload(
        "chat, no total",
        OPENAI_CHAT,
        "gpt-4o",
        {"prompt_tokens": 1300, "completion_tokens": 50, "prompt_tokens_details": {"cached_tokens": 1024}},
        entry(1300, 50, 1350, is_sum=True, cache_read=1024),
    ),
    Payload(
        "chat, fine-tuned model",
        OPENAI_CHAT,
        "ft:gpt-4o-mini-2024-07-18:acme::A1b2",
        chat(812, 77, 889, cached_tokens=0),
        entry(812, 77, 889),
    ),
    Payload(
        "chat, Azure",
        AZURE,
        "gpt-4o-2024-11-20",
        chat(1566, 1518, 3084, cached_tokens=1408),
        entry(1566, 1518, 3084, cache_read=1408),
    ),
    Payload(
        "chat, Azure with reasoning",
        AZURE,
        "o1-2024-12-17",
        chat(1566, 1518, 3084, cached_tokens=1408, out_reasoning_tokens=576),
        entry(1566, 1518, 3084, cache_read=1408, reasoning=576),
    ),
    Payload(
        "response, plain",
        OPENAI_RESPONSES,
        "gpt-4.1",
        responses(36, 87, 123),
        entry(36, 87, 123),
    ),
    Payload(
        "response, cached input",
        OPENAI_RESPONSES,
        "gpt-4.1",
        responses(7713, 87, 7800, cached=7552),
        entry(7713, 87, 7800, cache_read=7552),
    ),
    Payload(
        "response, reasoning",
        OPENAI_RESPONSES,
        "o4-mini",
        responses(81, 1035, 1116, reasoning=832),
        entry(81, 1035, 1116, reasoning=832),
    ),
    Payload(
        "response, cached input and reasoning",
        OPENAI_RESPONSES,
        "gpt-5-mini",
        responses(12010, 3401, 15411, cached=11904, reasoning=2944),
        entry(12010, 3401, 15411, cache_read=11904, reasoning=2944),
    ),
    Payload(
        "response, tokens written to the cache",
        OPENAI_RESPONSES,
        "gpt-5.6",
        {
            "input_tokens": 9000,
            "input_tokens_details": {"cached_tokens": 4096, "cache_write_tokens": 4500},
            "output_tokens": 120,
            "output_tokens_details": {"reasoning_tokens": 64},
            "total_tokens": 9120,
        },
        entry(9000, 120, 9120, cache_read=4096, cache_write_5m=4500, reasoning=64),
    ),
    Payload(
        "response, the sum of an agent's turns",
        WEAVE,
        "gpt-5",
        {"requests": 4, **responses(30000, 5000, 35000, cached=21504, reasoning=3200)},
        entry(30000, 5000, 35000, requests=4, cache_read=21504, reasoning=3200),
    ),
    Payload(
        "response, details of null",
        OPENAI_RESPONSES,
        "gpt-4.1",
        {
            "input_tokens": 30,
            "input_tokens_details": None,
            "output_tokens": 6,
            "output_tokens_details": None,
            "total_tokens": 36,
        },
        entry(30, 6, 36),
    ),
    Payload(
        "realtime, text and audio",
        OPENAI_REALTIME,
        "gpt-4o-realtime-preview",
        {
            "total_tokens": 253,
            "input_tokens": 132,
            "output_tokens": 121,
            "input_token_details": {
                "text_tokens": 119,
                "audio_tokens": 13,
                "image_tokens": 0,
                "cached_tokens": 64,
                "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
        },
        entry(132, 121, 253, cache_read=64, audio_input=13, audio_output=91),
    ),
    Payload(
        "realtime, cached audio",
        OPENAI_REALTIME,
        "gpt-realtime",
        {
            "total_tokens": 1400,
            "input_tokens": 1200,
            "output_tokens": 200,
            "input_token_details": {
                "text_tokens": 700,
                "audio_tokens": 500,
                "cached_tokens": 896,
                "cached_tokens_details": {"text_tokens": 576, "audio_tokens": 320},
            },
            "output_token_details": {"text_tokens": 40, "audio_tokens": 160},
        },
        # Cached: 576 of text and 320 of audio. Not cached: 500 - 320 of audio.
        entry(1200, 200, 1400, cache_read=576, cache_read_audio=320, audio_input=180, audio_output=160),
    ),
    Payload(
        "realtime, image",
        OPENAI_REALTIME,
        "gpt-realtime",
        {
            "total_tokens": 960,
            "input_tokens": 900,
            "output_tokens": 60,
            "input_token_details": {
                "text_tokens": 300,
                "audio_tokens": 100,
                "image_tokens": 500,
                "cached_tokens": 0,
                "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": 20, "audio_tokens": 40},
        },
        entry(900, 60, 960, audio_input=100, image_input=500, audio_output=40),
    ),
    Payload(
        "realtime, cached image",
        OPENAI_REALTIME,
        "gpt-realtime",
        {
            "total_tokens": 1060,
            "input_tokens": 1000,
            "output_tokens": 60,
            "input_token_details": {
                "text_tokens": 300,
                "audio_tokens": 100,
                "image_tokens": 600,
                "cached_tokens": 448,
                "cached_tokens_details": {"text_tokens": 128, "audio_tokens": 64, "image_tokens": 256},
            },
            "output_token_details": {"text_tokens": 60, "audio_tokens": 0},
        },
        # Cached: 128 of text and 256 of the image, 64 of audio. Not cached: 36 of audio, 344 of the image.
        entry(1000, 60, 1060, cache_read=384, cache_read_audio=64, audio_input=36, image_input=344),
    ),
    Payload(
        "realtime, text alone",
        OPENAI_REALTIME,
        "gpt-4o-mini-realtime-preview",
        {
            "total_tokens": 75,
            "input_tokens": 60,
            "output_tokens": 15,
            "input_token_details": {"text_tokens": 60, "audio_tokens": 0, "cached_tokens": 0},
            "output_token_details": {"text_tokens": 15, "audio_tokens": 0},
        },
        entry(60, 15, 75),
    ),
    Payload(
        "transcription",
        OPENAI_AUDIO,
        "gpt-4o-transcribe",
        {
            "type": "tokens",
            "input_tokens": 14,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
            "output_tokens": 45,
            "total_tokens": 59,
        },
        entry(14, 45, 59, audio_input=14),
    ),
    Payload(
        "transcription with a prompt",
        OPENAI_AUDIO,
        "gpt-4o-mini-transcribe",
        {
            "type": "tokens",
            "input_tokens": 620,
            "input_token_details": {"text_tokens": 20, "audio_tokens": 600},
            "output_tokens": 130,
            "total_tokens": 750,
        },
        entry(620, 130, 750, audio_input=600),
    ),
    Payload(
        "transcription by duration",
        OPENAI_AUDIO,
        "whisper-1",
        {"type": "duration", "seconds": 9},
        entry(0, 0, 0),
    ),
    Payload(
        "image",
        OPENAI_IMAGES,
        "gpt-image-1",
        {
            "total_tokens": 100,
            "input_tokens": 50,
            "output_tokens": 50,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        },
        entry(50, 50, 100, image_input=40, image_output=50),
    ),
    Payload(
        "image of text",
        OPENAI_IMAGES,
        "gpt-image-1",
        {
            "total_tokens": 4173,
            "input_tokens": 13,
            "output_tokens": 4160,
            "input_tokens_details": {"text_tokens": 13, "image_tokens": 0},
        },
        entry(13, 4160, 4173, image_output=4160),
    ),
    Payload(
        "image with details of the output",
        OPENAI_IMAGES,
        "gpt-image-1.5",
        {
            "total_tokens": 1500,
            "input_tokens": 220,
            "output_tokens": 1280,
            "input_tokens_details": {"text_tokens": 26, "image_tokens": 194},
            "output_tokens_details": {"text_tokens": 224, "image_tokens": 1056},
        },
        entry(220, 1280, 1500, image_input=194, image_output=1056),
    ),
    Payload(
        "embedding",
        OPENAI_EMBEDDINGS,
        "text-embedding-3-small",
        {"prompt_tokens": 8, "total_tokens": 8},
        entry(8, 0, 8),
    ),
)

_LIKE_OPENAI: Final = (
    Payload(
        "DeepSeek, cache hit",
        DEEPSEEK,
        "deepseek-chat",
        {
            **chat(1500, 220, 1720, cached_tokens=1408),
            "prompt_cache_hit_tokens": 1408,
            "prompt_cache_miss_tokens": 92,
        },
        entry(1500, 220, 1720, cache_read=1408),
    ),
    Payload(
        "DeepSeek, cache hit without details",
        DEEPSEEK,
        "deepseek-chat",
        {
            "prompt_tokens": 640,
            "completion_tokens": 10,
            "total_tokens": 650,
            "prompt_cache_hit_tokens": 576,
            "prompt_cache_miss_tokens": 64,
        },
        entry(640, 10, 650, cache_read=576),
    ),
    Payload(
        "DeepSeek, cache miss",
        DEEPSEEK,
        "deepseek-chat",
        {
            "prompt_tokens": 64,
            "completion_tokens": 10,
            "total_tokens": 74,
            "prompt_cache_hit_tokens": 0,
            "prompt_cache_miss_tokens": 64,
        },
        entry(64, 10, 74),
    ),
    Payload(
        "DeepSeek, reasoning",
        DEEPSEEK,
        "deepseek-reasoner",
        {
            "prompt_tokens": 300,
            "completion_tokens": 900,
            "total_tokens": 1200,
            "prompt_tokens_details": {"cached_tokens": 256},
            "completion_tokens_details": {"reasoning_tokens": 700},
            "prompt_cache_hit_tokens": 256,
            "prompt_cache_miss_tokens": 44,
        },
        entry(300, 900, 1200, cache_read=256, reasoning=700),
    ),
    Payload(
        "Mistral, plain",
        MISTRAL,
        "mistral-large-latest",
        {"prompt_tokens": 16, "completion_tokens": 34, "total_tokens": 50},
        entry(16, 34, 50),
    ),
    Payload(
        "Mistral, cached prompt",
        MISTRAL,
        "mistral-medium-latest",
        {
            "prompt_tokens": 2100,
            "completion_tokens": 34,
            "total_tokens": 2134,
            "prompt_tokens_details": {"cached_tokens": 2048},
            "num_cached_tokens": 2048,
        },
        entry(2100, 34, 2134, cache_read=2048),
    ),
    Payload(
        "Mistral, seconds of audio",
        MISTRAL,
        "voxtral-small-latest",
        {"prompt_audio_seconds": 21, "prompt_tokens": 400, "completion_tokens": 34, "total_tokens": 434},
        entry(400, 34, 434),
    ),
    Payload(
        "Groq, plain",
        GROQ,
        "llama-3.3-70b-versatile",
        {
            "queue_time": 0.018,
            "prompt_tokens": 38,
            "prompt_time": 0.0014,
            "completion_tokens": 140,
            "completion_time": 0.5,
            "total_tokens": 178,
            "total_time": 0.5014,
        },
        entry(38, 140, 178),
    ),
    Payload(
        "Groq, cached prompt",
        GROQ,
        "moonshotai/kimi-k2-instruct",
        {
            "queue_time": 0.026,
            "prompt_tokens": 4641,
            "prompt_time": 0.009,
            "completion_tokens": 1817,
            "completion_time": 5.57,
            "total_tokens": 6458,
            "total_time": 5.58,
            "prompt_tokens_details": {"cached_tokens": 4608},
        },
        entry(4641, 1817, 6458, cache_read=4608),
    ),
    Payload(
        "Groq, reasoning",
        GROQ,
        "openai/gpt-oss-120b",
        {
            "prompt_tokens": 90,
            "completion_tokens": 310,
            "total_tokens": 400,
            "completion_tokens_details": {"reasoning_tokens": 180},
        },
        entry(90, 310, 400, reasoning=180),
    ),
    Payload(
        "xAI, reasoning beside the output",
        XAI,
        "grok-3-mini",
        {
            **chat(32, 9, 135, cached_tokens=6, text_tokens=32, image_tokens=0, out_reasoning_tokens=94),
            "num_sources_used": 0,
        },
        # 32 + 9 + 94 = 135
        entry(32, 103, 135, cache_read=6, reasoning=94),
    ),
    Payload(
        "xAI, image",
        XAI,
        "grok-4",
        {
            **chat(1100, 50, 1550, text_tokens=76, image_tokens=1024, out_reasoning_tokens=400),
            "num_sources_used": 0,
        },
        entry(1100, 450, 1550, image_input=1024, reasoning=400),
    ),
    Payload(
        "xAI, no reasoning",
        XAI,
        "grok-4-fast-non-reasoning",
        {**chat(500, 60, 560, cached_tokens=448, text_tokens=500), "num_sources_used": 0},
        entry(500, 60, 560, cache_read=448),
    ),
    Payload(
        "xAI, response with its cost",
        XAI,
        "grok-4.3",
        {
            **responses(2000, 700, 2700, cached=1500, reasoning=500),
            "num_sources_used": 0,
            "num_server_side_tools_used": 2,
            "server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 0},
            "cost_in_usd_ticks": 125_000_000,
        },
        # The total counts reasoning once; 125,000,000 ticks of 10^-10 dollars.
        entry(2000, 700, 2700, cost=0.0125, cache_read=1500, reasoning=500, web_searches=2),
    ),
    Payload(
        "xAI without its own members",
        XAI,
        "grok-4",
        {
            "prompt_tokens": 100,
            "completion_tokens": 40,
            "total_tokens": 340,
            "completion_tokens_details": {"reasoning_tokens": 200},
        },
        entry(100, 240, 340, reasoning=200),
    ),
    Payload(
        "Perplexity, sonar",
        PERPLEXITY,
        "sonar",
        {
            "prompt_tokens": 8,
            "completion_tokens": 439,
            "total_tokens": 447,
            "search_context_size": "low",
            "cost": {
                "input_tokens_cost": 0.000008,
                "output_tokens_cost": 0.000439,
                "request_cost": 0.005,
                "total_cost": 0.005447,
            },
        },
        entry(8, 439, 447, cost=0.005447),
    ),
    Payload(
        "Perplexity, deep research",
        PERPLEXITY,
        "sonar-deep-research",
        {
            "prompt_tokens": 33,
            "completion_tokens": 7163,
            "total_tokens": 7196,
            "citation_tokens": 20016,
            "num_search_queries": 18,
            "reasoning_tokens": 73997,
        },
        # 33 + 20016, and 7163 + 73997
        entry(20049, 81160, 101209, reasoning=73997, web_searches=18),
    ),
    Payload(
        "Perplexity, deep research with its cost",
        PERPLEXITY,
        "sonar-deep-research",
        {
            "prompt_tokens": 9,
            "completion_tokens": 100,
            "total_tokens": 109,
            "citation_tokens": 1000,
            "num_search_queries": 2,
            "reasoning_tokens": 500,
            "cost": {"total_cost": 0.014318},
        },
        entry(1009, 600, 1609, cost=0.014318, reasoning=500, web_searches=2),
    ),
    Payload(
        "OpenRouter, plain with its cost",
        OPENROUTER,
        "openai/gpt-4o",
        {"prompt_tokens": 194, "completion_tokens": 2, "total_tokens": 196, "cost": 0.00014},
        entry(194, 2, 196, cost=0.00014),
    ),
    Payload(
        "OpenRouter, cached prompt and reasoning",
        OPENROUTER,
        "openai/o3",
        {
            "prompt_tokens": 10339,
            "completion_tokens": 60,
            "total_tokens": 10399,
            "prompt_tokens_details": {"cached_tokens": 10318, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 40},
            "cost": 0.0051,
            "cost_details": {"upstream_inference_cost": 0.0048},
            "is_byok": False,
        },
        entry(10339, 60, 10399, cost=0.0051, cache_read=10318, reasoning=40),
    ),
    Payload(
        "OpenRouter, Claude with tokens written to the cache",
        OPENROUTER,
        "anthropic/claude-sonnet-4.5",
        {
            "prompt_tokens": 3018,
            "completion_tokens": 220,
            "total_tokens": 3238,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 3000, "audio_tokens": 0},
            "cost": 0.014604,
            "is_byok": False,
        },
        entry(3018, 220, 3238, cost=0.014604, cache_write_5m=3000),
    ),
    Payload(
        "OpenRouter, images made",
        OPENROUTER,
        "google/gemini-2.5-flash-image",
        {
            "prompt_tokens": 12,
            "completion_tokens": 1303,
            "total_tokens": 1315,
            "completion_tokens_details": {"reasoning_tokens": 0, "image_tokens": 1290},
            "cost": 0.0387,
        },
        entry(12, 1303, 1315, cost=0.0387, image_output=1290),
    ),
    Payload(
        "OpenRouter, web search",
        OPENROUTER,
        "openai/gpt-4.1:online",
        {
            "prompt_tokens": 900,
            "completion_tokens": 100,
            "total_tokens": 1000,
            "cost": 0.0126,
            "server_tool_use": {"web_search_requests": 1},
        },
        entry(900, 100, 1000, cost=0.0126, web_searches=1),
    ),
    Payload(
        "OpenRouter, free of charge",
        OPENROUTER,
        "deepseek/deepseek-r1:free",
        {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50, "cost": 0},
        entry(20, 30, 50, cost=0),
    ),
    Payload(
        "Qwen, implicit cache",
        QWEN,
        "qwen-plus",
        {
            "prompt_tokens": 3019,
            "completion_tokens": 104,
            "total_tokens": 3123,
            "prompt_tokens_details": {"cached_tokens": 2048},
        },
        entry(3019, 104, 3123, cache_read=2048),
    ),
    Payload(
        "Qwen, explicit cache",
        QWEN,
        "qwen3-max",
        {
            "prompt_tokens": 1506,
            "completion_tokens": 10,
            "total_tokens": 1516,
            "prompt_tokens_details": {
                "cached_tokens": 0,
                "cache_type": "ephemeral",
                "cache_creation_input_tokens": 1494,
                "cache_creation": {"ephemeral_5m_input_tokens": 1494},
            },
        },
        entry(1506, 10, 1516, cache_write_5m=1494),
    ),
    Payload(
        "Moonshot, cached prompt",
        MOONSHOT,
        "kimi-k2",
        {"prompt_tokens": 1800, "completion_tokens": 20, "total_tokens": 1820, "cached_tokens": 1792},
        entry(1800, 20, 1820, cache_read=1792),
    ),
    Payload(
        "Cohere, billed units",
        COHERE,
        "command-a-03-2025",
        {
            "billed_units": {"input_tokens": 5, "output_tokens": 418},
            "tokens": {"input_tokens": 71, "output_tokens": 418},
        },
        entry(5, 418, 423, is_sum=True),
    ),
    Payload(
        "Cohere, tokens alone",
        COHERE,
        "command-r",
        {"tokens": {"input_tokens": 71, "output_tokens": 40}},
        entry(71, 40, 111, is_sum=True),
    ),
    Payload(
        "Cohere, floats",
        COHERE,
        "command-r-plus",
        {
            "billed_units": {"input_tokens": 17.0, "output_tokens": 12.0, "search_units": None},
            "tokens": {"input_tokens": 215.0, "output_tokens": 12.0},
        },
        entry(17, 12, 29, is_sum=True),
    ),
)

_OTHERS: Final = (
    Payload(
        "OpenAI's older completions",
        "https://platform.openai.com/docs/api-reference/completions/object",
        "gpt-3.5-turbo-instruct",
        {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        entry(5, 7, 12),
    ),
    Payload(
        "OpenAI's moderation",
        "https://platform.openai.com/docs/api-reference/moderations/object",
        "omni-moderation-latest",
        {"requests": 1},
        entry(0, 0, 0, requests=1),
    ),
    Payload(
        "Together",
        "https://docs.together.ai/reference/chat-completions-1",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        {"prompt_tokens": 36, "completion_tokens": 100, "total_tokens": 136, "cached_tokens": 0},
        entry(36, 100, 136),
    ),
    Payload(
        "Fireworks, cached prompt",
        "https://docs.fireworks.ai/guides/prompt-caching",
        "accounts/fireworks/models/kimi-k2-instruct",
        {
            "prompt_tokens": 1042,
            "completion_tokens": 18,
            "total_tokens": 1060,
            "prompt_tokens_details": {"cached_tokens": 1024},
        },
        entry(1042, 18, 1060, cache_read=1024),
    ),
    Payload(
        "Cerebras, reasoning",
        "https://inference-docs.cerebras.ai/api-reference/chat-completions",
        "gpt-oss-120b",
        {
            "prompt_tokens": 80,
            "completion_tokens": 240,
            "total_tokens": 320,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
                "reasoning_tokens": 150,
            },
        },
        entry(80, 240, 320, reasoning=150),
    ),
    Payload(
        "vLLM",
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        "Qwen/Qwen3-32B",
        {"prompt_tokens": 41, "total_tokens": 91, "completion_tokens": 50, "prompt_tokens_details": None},
        entry(41, 50, 91),
    ),
    Payload(
        "vLLM, cached prefix",
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        "Qwen/Qwen3-32B",
        {
            "prompt_tokens": 410,
            "total_tokens": 460,
            "completion_tokens": 50,
            "prompt_tokens_details": {"cached_tokens": 400},
        },
        entry(410, 50, 460, cache_read=400),
    ),
    Payload(
        "Z.ai, cached prompt and reasoning",
        "https://docs.z.ai/guides/capabilities/cache",
        "glm-4.6",
        {
            "prompt_tokens": 1200,
            "completion_tokens": 300,
            "total_tokens": 1500,
            "prompt_tokens_details": {"cached_tokens": 800},
            "completion_tokens_details": {"reasoning_tokens": 120},
        },
        entry(1200, 300, 1500, cache_read=800, reasoning=120),
    ),
    Payload(
        "Voyage, embedding",
        "https://docs.voyageai.com/reference/embeddings-api",
        "voyage-3-large",
        {"total_tokens": 10},
        entry(10, 0, 10),
    ),
    Payload(
        "Jina, embedding",
        "https://jina.ai/embeddings",
        "jina-embeddings-v3",
        {"total_tokens": 120, "prompt_tokens": 120},
        entry(120, 0, 120),
    ),
    Payload(
        "Mistral, pages of documents",
        "https://docs.mistral.ai/api/endpoint/ocr",
        "mistral-ocr-latest",
        {"pages_processed": 3, "doc_size_bytes": 104857},
        entry(0, 0, 0),
    ),
    Payload(
        "OpenRouter, a provider's key of one's own",
        OPENROUTER,
        "anthropic/claude-haiku-4.5",
        {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
            "cost": 0.0000075,
            "is_byok": True,
            "cost_details": {"upstream_inference_cost": 0.00015},
        },
        entry(100, 10, 110, cost=0.0000075),
    ),
    Payload(
        "Gemini by Weave's client, thoughts in the total alone",
        WEAVE_GEMINI,
        "gemini-2.5-pro",
        {"requests": 1, "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 2600},
        # 2600 - 1000
        entry(1000, 1600, 2600, requests=1, reasoning=1500),
    ),
    Payload(
        "Gemini by Weave's client, no answer but thoughts",
        WEAVE_GEMINI,
        "gemini/gemini-2.5-pro",
        {"requests": 1, "prompt_tokens": 20, "completion_tokens": None, "total_tokens": 85},
        entry(20, 65, 85, requests=1, reasoning=65),
    ),
    Payload(
        "a total beyond both, of another model",
        WEAVE,
        "gpt-4o",
        {"requests": 1, "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 2600},
        entry(1000, 100, 2600, requests=1),
    ),
    Payload(
        "Bedrock by Weave's client",
        WEAVE,
        "anthropic.claude-3-haiku-20240307-v1:0",
        {"requests": 1, "prompt_tokens": 30, "completion_tokens": 40, "total_tokens": 70},
        entry(30, 40, 70, requests=1),
    ),
    Payload(
        "both names of each count",
        WEAVE,
        "gpt-4o",
        {
            "requests": 2,
            "prompt_tokens": 30,
            "input_tokens": 30,
            "completion_tokens": 40,
            "output_tokens": 40,
            "total_tokens": 70,
        },
        entry(30, 40, 70, requests=2),
    ),
)

_CLAUDE: Final = "claude-sonnet-4-5-20250929"
_BEDROCK_CLAUDE: Final = "global.anthropic.claude-sonnet-4-5-20250929-v1:0"

_ANTHROPIC: Final = (
    Payload(
        "Claude, plain",
        ANTHROPIC,
        _CLAUDE,
        {"input_tokens": 2095, "output_tokens": 503},
        entry(2095, 503, 2598, is_sum=True),
    ),
    Payload("Claude, no cache", ANTHROPIC, _CLAUDE, claude(2095, 503, 0, 0), entry(2095, 503, 2598, is_sum=True)),
    Payload("Claude, nulls", ANTHROPIC, _CLAUDE, claude(10, 5, None, None), entry(10, 5, 15, is_sum=True)),
    Payload(
        "Claude, first turn of a cached conversation",
        ANTHROPIC,
        _CLAUDE,
        claude(21, 393, 0, 188086, cache_creation=written_for(188086, 0)),
        # 21 + 188086
        entry(188107, 393, 188500, is_sum=True, cache_write_5m=188086),
    ),
    Payload(
        "Claude, next turn of a cached conversation",
        ANTHROPIC,
        _CLAUDE,
        claude(21, 393, 188086, 0, cache_creation=written_for(0, 0)),
        entry(188107, 393, 188500, is_sum=True, cache_read=188086),
    ),
    Payload(
        "Claude, both lives of a cache",
        ANTHROPIC,
        _CLAUDE,
        claude(2048, 503, 1800, 248, cache_creation=written_for(148, 100)),
        # 2048 + 1800 + 248
        entry(4096, 503, 4599, is_sum=True, cache_read=1800, cache_write_5m=148, cache_write_1h=100),
    ),
    Payload(
        "Claude, a cache of an hour",
        ANTHROPIC,
        "claude-opus-4-1-20250805",
        claude(4, 210, 0, 52110, cache_creation=written_for(0, 52110)),
        entry(52114, 210, 52324, is_sum=True, cache_write_1h=52110),
    ),
    Payload(
        "Claude, an agent's turn",
        ANTHROPIC,
        "claude-haiku-4-5-20251001",
        claude(3, 812, 41210, 1904, cache_creation=written_for(1904, 0)),
        entry(43117, 812, 43929, is_sum=True, cache_read=41210, cache_write_5m=1904),
    ),
    Payload(
        "Claude, cache without the lives",
        ANTHROPIC,
        "claude-3-5-sonnet-20241022",
        {
            "cache_creation_input_tokens": 1024,
            "cache_read_input_tokens": 512,
            "input_tokens": 100,
            "output_tokens": 50,
        },
        entry(1636, 50, 1686, is_sum=True, cache_read=512, cache_write_5m=1024),
    ),
    Payload(
        "Claude, web search",
        ANTHROPIC_SEARCH,
        _CLAUDE,
        claude(105, 6039, 7123, 7345, server_tool_use={"web_search_requests": 1}),
        # 105 + 7123 + 7345
        entry(14573, 6039, 20612, is_sum=True, cache_read=7123, cache_write_5m=7345, web_searches=1),
    ),
    Payload(
        "Claude, web search without a cache",
        ANTHROPIC_SEARCH,
        _CLAUDE,
        {"input_tokens": 6039, "output_tokens": 931, "server_tool_use": {"web_search_requests": 3}},
        entry(6039, 931, 6970, is_sum=True, web_searches=3),
    ),
    Payload(
        "Claude, the sum of two calls by Weave's client",
        WEAVE,
        _CLAUDE,
        {
            "requests": 2,
            "input_tokens": 24,
            "output_tokens": 900,
            "cache_creation_input_tokens": 1500,
            "cache_read_input_tokens": 30000,
            "cache_creation": written_for(1500, 0),
        },
        entry(31524, 900, 32424, requests=2, is_sum=True, cache_read=30000, cache_write_5m=1500),
    ),
    Payload(
        "Claude, total with the cache",
        ANTHROPIC,
        _CLAUDE,
        claude(500, 100, 300, 0, total_tokens=900),
        entry(800, 100, 900, cache_read=300),
    ),
    Payload(
        "Claude, total that shows that the input includes the cache",
        ANTHROPIC,
        _CLAUDE,
        claude(500, 100, 300, 0, total_tokens=600),
        entry(500, 100, 600, cache_read=300),
    ),
    Payload(
        "Claude on Vertex",
        ANTHROPIC,
        "claude-sonnet-4@20250514",
        claude(12, 40, 2000, 0),
        entry(2012, 40, 2052, is_sum=True, cache_read=2000),
    ),
    Payload(
        "Claude by InvokeModel of Bedrock",
        ANTHROPIC,
        "anthropic.claude-3-7-sonnet-20250219-v1:0",
        {
            "input_tokens": 12,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2222,
            "output_tokens": 40,
        },
        entry(2234, 40, 2274, is_sum=True, cache_read=2222),
    ),
    Payload(
        "Claude, null in place of the cache's lives",
        ANTHROPIC,
        _CLAUDE,
        claude(7, 1, 4096, 0, cache_creation=None, inference_geo="global"),
        entry(4103, 1, 4104, is_sum=True, cache_read=4096),
    ),
    Payload(
        "Claude, thinking",
        "https://github.com/anthropics/anthropic-sdk-python/blob/main/src/anthropic/types/usage.py",
        "claude-opus-4-8",
        claude(48, 2310, 0, 0, output_tokens_details={"thinking_tokens": 1900}),
        entry(48, 2310, 2358, is_sum=True, reasoning=1900),
    ),
    Payload(
        "Claude, thinking and a cache of both lives",
        "https://github.com/anthropics/anthropic-sdk-python/blob/main/src/anthropic/types/usage.py",
        "claude-opus-4-8",
        claude(
            5,
            900,
            20000,
            3000,
            cache_creation=written_for(1000, 2000),
            output_tokens_details={"thinking_tokens": 600},
        ),
        entry(
            23005,
            900,
            23905,
            is_sum=True,
            cache_read=20000,
            cache_write_5m=1000,
            cache_write_1h=2000,
            reasoning=600,
        ),
    ),
    Payload(
        "Claude Agent SDK",
        CLAUDE_AGENT,
        _CLAUDE,
        {
            "inputTokens": 24,
            "outputTokens": 1210,
            "cacheReadInputTokens": 84210,
            "cacheCreationInputTokens": 12040,
            "webSearchRequests": 1,
            "costUSD": 0.098635,
            "contextWindow": 200000,
        },
        # 24 + 84210 + 12040
        entry(
            96274,
            1210,
            97484,
            is_sum=True,
            cost=0.098635,
            cache_read=84210,
            cache_write_5m=12040,
            web_searches=1,
        ),
    ),
    Payload(
        "Claude Agent SDK, no cache",
        CLAUDE_AGENT,
        "claude-haiku-4-5-20251001",
        {
            "inputTokens": 310,
            "outputTokens": 25,
            "cacheReadInputTokens": 0,
            "cacheCreationInputTokens": 0,
            "webSearchRequests": 0,
            "costUSD": 0.000435,
        },
        entry(310, 25, 335, is_sum=True, cost=0.000435),
    ),
    Payload(
        "LiteLLM, Claude read from the cache",
        LITELLM,
        "claude-3-5-sonnet-20240620",
        {
            "prompt_tokens": 2020,
            "completion_tokens": 300,
            "total_tokens": 2320,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": None, "cache_creation_tokens": 0},
            "completion_tokens_details": None,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 1920,
        },
        entry(2020, 300, 2320, cache_read=1920),
    ),
    Payload(
        "LiteLLM, Claude written to the cache",
        LITELLM,
        "claude-sonnet-4-5",
        {
            "prompt_tokens": 3100,
            "completion_tokens": 20,
            "total_tokens": 3120,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_creation_tokens": 3000},
            "cache_creation_input_tokens": 3000,
            "cache_read_input_tokens": 0,
        },
        entry(3100, 20, 3120, cache_write_5m=3000),
    ),
    Payload(
        "LiteLLM, Claude, both lives of a cache",
        LITELLM,
        "claude-sonnet-4-5",
        {
            "prompt_tokens": 4100,
            "completion_tokens": 20,
            "total_tokens": 4120,
            "prompt_tokens_details": {
                "cached_tokens": 1000,
                "cache_creation_tokens": 3000,
                "cache_creation_token_details": {
                    "ephemeral_5m_input_tokens": 500,
                    "ephemeral_1h_input_tokens": 2500,
                },
            },
            "cache_creation_input_tokens": 3000,
            "cache_read_input_tokens": 1000,
        },
        entry(4100, 20, 4120, cache_read=1000, cache_write_5m=500, cache_write_1h=2500),
    ),
    Payload(
        "LiteLLM, Claude with web search",
        LITELLM,
        "claude-sonnet-4-5",
        {
            "prompt_tokens": 9000,
            "completion_tokens": 700,
            "total_tokens": 9700,
            "prompt_tokens_details": {"cached_tokens": 0, "web_search_requests": None},
            "server_tool_use": {"web_search_requests": 2},
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
        entry(9000, 700, 9700, web_searches=2),
    ),
    Payload(
        "LiteLLM, GPT",
        LITELLM,
        "gpt-4o",
        chat(2006, 300, 2306, cached_tokens=1920),
        entry(2006, 300, 2306, cache_read=1920),
    ),
    Payload(
        "LiteLLM, Gemini with reasoning",
        LITELLM,
        "gemini/gemini-2.5-pro",
        {
            "prompt_tokens": 600,
            "completion_tokens": 1900,
            "total_tokens": 2500,
            "prompt_tokens_details": {"cached_tokens": None, "text_tokens": 600},
            "completion_tokens_details": {"reasoning_tokens": 1500, "text_tokens": 400},
        },
        entry(600, 1900, 2500, reasoning=1500),
    ),
    Payload(
        "LiteLLM, Bedrock",
        LITELLM,
        "bedrock/anthropic.claude-sonnet-4-20250514-v1:0",
        {
            "prompt_tokens": 5100,
            "completion_tokens": 70,
            "total_tokens": 5170,
            "prompt_tokens_details": {"cached_tokens": 5000},
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 5000,
        },
        entry(5100, 70, 5170, cache_read=5000),
    ),
    Payload(
        "Bedrock Converse, plain",
        BEDROCK,
        "amazon.nova-pro-v1:0",
        {"inputTokens": 125, "outputTokens": 60, "totalTokens": 185},
        entry(125, 60, 185),
    ),
    Payload(
        "Bedrock Converse, read from the cache",
        BEDROCK,
        "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
        {
            "inputTokens": 4,
            "outputTokens": 71,
            "totalTokens": 1237,
            "cacheReadInputTokens": 1162,
            "cacheWriteInputTokens": 0,
        },
        entry(1166, 71, 1237, cache_read=1162),
    ),
    Payload(
        "Bedrock Converse, written to the cache",
        BEDROCK,
        "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
        {
            "inputTokens": 4,
            "outputTokens": 70,
            "totalTokens": 1236,
            "cacheReadInputTokens": 0,
            "cacheWriteInputTokens": 1162,
        },
        entry(1166, 70, 1236, cache_write_5m=1162),
    ),
    Payload(
        "Bedrock Converse, total without the cache",
        BEDROCK,
        "amazon.nova-lite-v1:0",
        {
            "inputTokens": 2000,
            "outputTokens": 100,
            "totalTokens": 2100,
            "cacheReadInputTokens": 1500,
            "cacheWriteInputTokens": 0,
        },
        entry(3500, 100, 3600, cache_read=1500),
    ),
    Payload(
        "Bedrock Converse, both lives of a cache",
        BEDROCK,
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        {
            "inputTokens": 10,
            "outputTokens": 5,
            "totalTokens": 3015,
            "cacheReadInputTokens": 1000,
            "cacheWriteInputTokens": 2000,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 1500}, {"ttl": "5m", "inputTokens": 500}],
        },
        entry(3010, 5, 3015, cache_read=1000, cache_write_5m=500, cache_write_1h=1500),
    ),
    Payload(
        "Bedrock Converse, older names of the cache's counts",
        BEDROCK,
        "amazon.nova-micro-v1:0",
        {
            "inputTokens": 30,
            "outputTokens": 5,
            "totalTokens": 1035,
            "cacheReadInputTokenCount": 1000,
            "cacheWriteInputTokenCount": 0,
        },
        entry(1030, 5, 1035, cache_read=1000),
    ),
)

_GEMINI: Final = (
    Payload(
        "Gemini, plain",
        GEMINI,
        "gemini-2.0-flash",
        {"promptTokenCount": 4, "candidatesTokenCount": 10, "totalTokenCount": 14},
        entry(4, 10, 14),
    ),
    Payload(
        "Gemini, modality of text",
        GEMINI,
        "gemini-2.0-flash",
        {
            "promptTokenCount": 4,
            "candidatesTokenCount": 715,
            "totalTokenCount": 719,
            "promptTokensDetails": modalities(text=4),
            "candidatesTokensDetails": modalities(text=715),
        },
        entry(4, 715, 719),
    ),
    Payload(
        "Gemini, thoughts",
        GEMINI,
        "gemini-2.5-pro",
        {
            "promptTokenCount": 1234,
            "candidatesTokenCount": 456,
            "thoughtsTokenCount": 789,
            "totalTokenCount": 2479,
            "promptTokensDetails": modalities(text=1234),
        },
        # 456 + 789; 1234 + 1245 = 2479
        entry(1234, 1245, 2479, reasoning=789),
    ),
    Payload(
        "Gemini, cached content",
        GEMINI,
        "gemini-2.5-flash",
        {
            "promptTokenCount": 43130,
            "cachedContentTokenCount": 40000,
            "candidatesTokenCount": 120,
            "totalTokenCount": 43250,
            "promptTokensDetails": modalities(text=43130),
            "cacheTokensDetails": modalities(text=40000),
        },
        entry(43130, 120, 43250, cache_read=40000),
    ),
    Payload(
        "Gemini, cached content and thoughts",
        GEMINI,
        "gemini-2.5-flash",
        {
            "promptTokenCount": 5000,
            "cachedContentTokenCount": 4089,
            "candidatesTokenCount": 200,
            "thoughtsTokenCount": 800,
            "totalTokenCount": 6000,
        },
        entry(5000, 1000, 6000, cache_read=4089, reasoning=800),
    ),
    Payload(
        "Gemini, thoughts that the candidates include",
        VERTEX,
        "gemini-2.5-flash-preview",
        {
            "promptTokenCount": 100,
            "candidatesTokenCount": 500,
            "thoughtsTokenCount": 300,
            "totalTokenCount": 600,
        },
        entry(100, 500, 600, reasoning=300),
    ),
    Payload(
        "Gemini, thoughts alone",
        GEMINI,
        "gemini-2.5-pro",
        {"promptTokenCount": 20, "thoughtsTokenCount": 65, "totalTokenCount": 85},
        entry(20, 65, 85, reasoning=65),
    ),
    Payload(
        "Gemini, prompts for tools",
        GEMINI,
        "gemini-2.5-flash",
        {
            "promptTokenCount": 50,
            "candidatesTokenCount": 300,
            "toolUsePromptTokenCount": 8000,
            "thoughtsTokenCount": 400,
            "totalTokenCount": 8750,
            "toolUsePromptTokensDetails": modalities(text=8000),
        },
        entry(8050, 700, 8750, reasoning=400),
    ),
    Payload(
        "Gemini, audio in the prompt",
        GEMINI,
        "gemini-2.5-flash",
        {
            "promptTokenCount": 332,
            "candidatesTokenCount": 80,
            "totalTokenCount": 412,
            "promptTokensDetails": modalities(text=12, audio=320),
            "candidatesTokensDetails": modalities(text=80),
        },
        entry(332, 80, 412, audio_input=320),
    ),
    Payload(
        "Gemini, image in the prompt",
        GEMINI,
        "gemini-2.5-flash",
        {
            "promptTokenCount": 265,
            "candidatesTokenCount": 33,
            "totalTokenCount": 298,
            "promptTokensDetails": modalities(text=7, image=258),
        },
        entry(265, 33, 298, image_input=258),
    ),
    Payload(
        "Gemini, video in the prompt",
        GEMINI,
        "gemini-2.5-flash",
        {
            "promptTokenCount": 3157,
            "candidatesTokenCount": 90,
            "totalTokenCount": 3247,
            "promptTokensDetails": modalities(text=7, video=2630, audio=520),
        },
        entry(3157, 90, 3247, audio_input=520),
    ),
    Payload(
        "Gemini, cached audio",
        GEMINI,
        "gemini-2.5-flash",
        {
            "promptTokenCount": 10020,
            "cachedContentTokenCount": 9000,
            "candidatesTokenCount": 50,
            "totalTokenCount": 10070,
            "promptTokensDetails": modalities(text=1020, audio=9000),
            "cacheTokensDetails": modalities(text=1000, audio=8000),
        },
        # 8000 of 9000 audio tokens were cached.
        entry(10020, 50, 10070, cache_read=1000, cache_read_audio=8000, audio_input=1000),
    ),
    Payload(
        "Gemini, cached image",
        GEMINI,
        "gemini-2.5-pro",
        {
            "promptTokenCount": 3000,
            "cachedContentTokenCount": 2500,
            "candidatesTokenCount": 50,
            "totalTokenCount": 3050,
            "promptTokensDetails": modalities(text=1968, image=1032),
            "cacheTokensDetails": modalities(text=1726, image=774),
        },
        # 774 of 1032 image tokens were cached.
        entry(3000, 50, 3050, cache_read=2500, image_input=258),
    ),
    Payload(
        "Gemini, image made",
        GEMINI,
        "gemini-2.5-flash-image",
        {
            "promptTokenCount": 10,
            "candidatesTokenCount": 1295,
            "totalTokenCount": 1305,
            "promptTokensDetails": modalities(text=10),
            "candidatesTokensDetails": modalities(image=1290),
        },
        entry(10, 1295, 1305, image_output=1290),
    ),
    Payload(
        "Gemini, speech made",
        GEMINI,
        "gemini-2.5-flash-preview-tts",
        {
            "promptTokenCount": 12,
            "candidatesTokenCount": 148,
            "totalTokenCount": 160,
            "promptTokensDetails": modalities(text=12),
            "candidatesTokensDetails": modalities(audio=148),
        },
        entry(12, 148, 160, audio_output=148),
    ),
    Payload(
        "Gemini, answer refused",
        GEMINI,
        "gemini-2.5-flash",
        {"promptTokenCount": 12, "totalTokenCount": 12},
        entry(12, 0, 12),
    ),
    Payload(
        "Gemini by Google's client for Python",
        VERTEX,
        "gemini-2.5-flash",
        {
            "prompt_token_count": 1500,
            "candidates_token_count": 100,
            "total_token_count": 2100,
            "thoughts_token_count": 500,
            "cached_content_token_count": 1024,
            "tool_use_prompt_token_count": None,
            "prompt_tokens_details": snake_modalities(text=1500),
            "cache_tokens_details": snake_modalities(text=1024),
            "candidates_tokens_details": None,
            "traffic_type": "ON_DEMAND",
        },
        entry(1500, 600, 2100, cache_read=1024, reasoning=500),
    ),
    Payload(
        "Gemini by Google's client for Python, audio",
        VERTEX,
        "gemini-2.0-flash",
        {
            "prompt_token_count": 410,
            "candidates_token_count": 30,
            "total_token_count": 440,
            "prompt_tokens_details": snake_modalities(audio=400, text=10),
            "candidates_tokens_details": snake_modalities(text=30),
        },
        entry(410, 30, 440, audio_input=400),
    ),
    Payload(
        "Gemini, Weave's count of requests",
        WEAVE,
        "gemini-2.5-flash",
        {
            "requests": 1,
            "prompt_token_count": 60,
            "candidates_token_count": 30,
            "thoughts_token_count": 10,
            "total_token_count": 100,
        },
        entry(60, 40, 100, requests=1, reasoning=10),
    ),
    Payload(
        "Gemini Live, speech",
        GEMINI_LIVE,
        "gemini-live-2.5-flash-preview",
        {
            "promptTokenCount": 900,
            "responseTokenCount": 240,
            "totalTokenCount": 1140,
            "promptTokensDetails": modalities(text=500, audio=400),
            "responseTokensDetails": modalities(audio=240),
        },
        entry(900, 240, 1140, audio_input=400, audio_output=240),
    ),
    Payload(
        "Gemini Live, thoughts",
        GEMINI_LIVE,
        "gemini-2.5-flash-native-audio",
        {
            "promptTokenCount": 900,
            "responseTokenCount": 240,
            "thoughtsTokenCount": 60,
            "totalTokenCount": 1200,
            "responseTokensDetails": modalities(audio=200, text=40),
        },
        entry(900, 300, 1200, audio_output=200, reasoning=60),
    ),
)

_LIBRARIES: Final = (
    Payload(
        "LangChain, OpenAI",
        LANGCHAIN,
        "gpt-4o",
        {
            "input_tokens": 350,
            "output_tokens": 240,
            "total_tokens": 590,
            "input_token_details": {"audio": 10, "cache_creation": 0, "cache_read": 100},
            "output_token_details": {"audio": 10, "reasoning": 200},
        },
        entry(350, 240, 590, cache_read=100, audio_input=10, reasoning=200, audio_output=10),
    ),
    Payload(
        "LangChain, Claude",
        LANGCHAIN,
        _CLAUDE,
        {
            "input_tokens": 3512,
            "output_tokens": 80,
            "total_tokens": 3592,
            "input_token_details": {"cache_read": 2000, "cache_creation": 1500},
        },
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=1500),
    ),
    Payload(
        "LangChain, Claude with the lives of a cache",
        LANGCHAIN,
        _CLAUDE,
        {
            "input_tokens": 3512,
            "output_tokens": 80,
            "total_tokens": 3592,
            "input_token_details": {
                "cache_read": 2000,
                "cache_creation": 0,
                "ephemeral_5m_input_tokens": 500,
                "ephemeral_1h_input_tokens": 1000,
            },
        },
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=500, cache_write_1h=1000),
    ),
    Payload(
        "LangChain, Gemini",
        LANGCHAIN,
        "gemini-2.5-flash",
        {
            "input_tokens": 120,
            "output_tokens": 900,
            "total_tokens": 1020,
            "input_token_details": {"cache_read": 0},
            "output_token_details": {"reasoning": 700},
        },
        entry(120, 900, 1020, reasoning=700),
    ),
    Payload(
        "LangChain, no details",
        LANGCHAIN,
        "gpt-4o-mini",
        {"input_tokens": 8, "output_tokens": 304, "total_tokens": 312},
        entry(8, 304, 312),
    ),
    Payload(
        "AI SDK 5",
        VERCEL,
        "gpt-5",
        {
            "inputTokens": 1500,
            "outputTokens": 400,
            "totalTokens": 1900,
            "reasoningTokens": 320,
            "cachedInputTokens": 1280,
        },
        entry(1500, 400, 1900, cache_read=1280, reasoning=320),
    ),
    Payload(
        "AI SDK 6",
        VERCEL,
        _CLAUDE,
        {
            "inputTokens": 3104,
            "inputTokenDetails": {"noCacheTokens": 4, "cacheReadTokens": 3000, "cacheWriteTokens": 100},
            "outputTokens": 50,
            "outputTokenDetails": {"textTokens": 50, "reasoningTokens": 0},
            "totalTokens": 3154,
        },
        entry(3104, 50, 3154, cache_read=3000, cache_write_5m=100),
    ),
    Payload(
        "AI SDK 4",
        VERCEL,
        "gpt-4o",
        {"promptTokens": 19, "completionTokens": 10, "totalTokens": 29},
        entry(19, 10, 29),
    ),
    Payload(
        "counts that LoomQL states of all classes",
        WEAVE,
        "m",
        {
            "total_tokens": 190,
            "token_classes": {"input": 10, "cache_read": 100, "cache_write_1h": 50, "output": 20, "reasoning": 10},
            "cost": 0.25,
        },
        entry(160, 30, 190, cost=0.25, cache_read=100, cache_write_1h=50, reasoning=10),
    ),
)

# Each payload differs from all above in a count that one flag or one name of a rule determines. Some lack the total, as
# in usage that a program copies by hand into a summary. In that case the rule alone determines the count.
_FURTHER: Final = (
    Payload(
        "Gemini, cached content and thoughts, no total",
        GEMINI,
        "gemini-2.5-flash",
        {
            "promptTokenCount": 5000,
            "cachedContentTokenCount": 4089,
            "candidatesTokenCount": 800,
            "thoughtsTokenCount": 200,
        },
        # 800 + 200
        entry(5000, 1000, 6000, is_sum=True, cache_read=4089, reasoning=200),
    ),
    Payload(
        "Gemini by Google's client for Python, cached audio and images, and prompts for tools",
        GEMINI_PYTHON,
        "gemini-2.5-flash",
        {
            "prompt_token_count": 11000,
            "tool_use_prompt_token_count": 500,
            "candidates_token_count": 100,
            "total_token_count": 11600,
            "cached_content_token_count": 8758,
            "prompt_tokens_details": snake_modalities(TEXT=1226, AUDIO=9000, IMAGE=774),
            "cache_tokens_details": snake_modalities(TEXT=500, AUDIO=8000, IMAGE=258),
        },
        # 11000 + 500; text and images of the cache 500 + 258, audio 9000 - 8000, images 774 - 258
        entry(11500, 100, 11600, cache_read=758, cache_read_audio=8000, audio_input=1000, image_input=516),
    ),
    Payload(
        "Gemini by Google's client for Python, image made",
        GEMINI_PYTHON,
        "gemini-2.5-flash-image",
        {
            "prompt_token_count": 10,
            "candidates_token_count": 1295,
            "total_token_count": 1305,
            "candidates_tokens_details": snake_modalities(TEXT=5, IMAGE=1290),
        },
        entry(10, 1295, 1305, image_output=1290),
    ),
    Payload(
        "Gemini by Google's client for Python, speech made",
        GEMINI_PYTHON,
        "gemini-2.5-flash-preview-tts",
        {
            "prompt_token_count": 12,
            "candidates_token_count": 148,
            "total_token_count": 160,
            "candidates_tokens_details": snake_modalities(AUDIO=148),
        },
        entry(12, 148, 160, audio_output=148),
    ),
    Payload(
        "Gemini Live by Google's client for Python",
        GEMINI_PYTHON,
        "gemini-live-2.5-flash-preview",
        {
            "prompt_token_count": 900,
            "response_token_count": 300,
            "total_token_count": 1200,
            "prompt_tokens_details": snake_modalities(TEXT=500, AUDIO=400),
            "response_tokens_details": snake_modalities(TEXT=60, AUDIO=240),
        },
        entry(900, 300, 1200, audio_input=400, audio_output=240),
    ),
    Payload(
        "AI SDK 5, Claude, whose input excludes the cache",
        VERCEL,
        _CLAUDE,
        {"inputTokens": 4, "outputTokens": 50, "totalTokens": 54, "cachedInputTokens": 3000},
        # 4 + 3000
        entry(3004, 50, 3054, cache_read=3000),
    ),
    Payload(
        "AI SDK 6, cached input and reasoning, no total",
        VERCEL,
        _CLAUDE,
        {
            "inputTokens": 3104,
            "inputTokenDetails": {"noCacheTokens": 4, "cacheReadTokens": 3000, "cacheWriteTokens": 100},
            "outputTokens": 900,
            "outputTokenDetails": {"textTokens": 580, "reasoningTokens": 320},
        },
        entry(3104, 900, 4004, is_sum=True, cache_read=3000, cache_write_5m=100, reasoning=320),
    ),
    Payload(
        "Claude Agent SDK, no count of written tokens",
        CLAUDE_AGENT_PYTHON,
        _CLAUDE,
        {
            "inputTokens": 3,
            "outputTokens": 24,
            "cacheReadInputTokens": 20012,
            "costUSD": 0.0106,
            "contextWindow": 200000,
            "maxOutputTokens": 64000,
        },
        # 3 + 20012
        entry(20015, 24, 20039, is_sum=True, cost=0.0106, cache_read=20012),
    ),
    Payload(
        "Claude Agent SDK, less of the cache than beside it",
        CLAUDE_AGENT,
        _CLAUDE,
        {
            "inputTokens": 5210,
            "outputTokens": 600,
            "cacheReadInputTokens": 1000,
            "cacheCreationInputTokens": 2000,
            "webSearchRequests": 0,
            "costUSD": 0.03243,
        },
        # 5210 + 1000 + 2000
        entry(8210, 600, 8810, is_sum=True, cost=0.03243, cache_read=1000, cache_write_5m=2000),
    ),
    Payload(
        "Bedrock Converse, the older name of tokens written to the cache",
        BEDROCK,
        "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
        {
            "inputTokens": 4,
            "outputTokens": 70,
            "totalTokens": 1236,
            "cacheReadInputTokenCount": 0,
            "cacheWriteInputTokenCount": 1162,
        },
        # 4 + 1162
        entry(1166, 70, 1236, cache_write_5m=1162),
    ),
    Payload(
        "Cohere, documents whose citations are not billed",
        COHERE,
        "command-a-03-2025",
        {
            "billed_units": {"input_tokens": 7596, "output_tokens": 645},
            "tokens": {"input_tokens": 8583, "output_tokens": 707},
        },
        entry(7596, 645, 8241, is_sum=True),
    ),
    Payload(
        "Perplexity, a total without the reasoning, and no citations",
        PERPLEXITY,
        "sonar-deep-research",
        {
            "prompt_tokens": 9,
            "completion_tokens": 500,
            "total_tokens": 509,
            "search_context_size": "low",
            "citation_tokens": 0,
            "num_search_queries": 2,
            "reasoning_tokens": 300,
        },
        # 500 + 300
        entry(9, 800, 809, reasoning=300, web_searches=2),
    ),
    Payload(
        "xAI, cached prompt and reasoning, no total",
        XAI,
        "grok-4",
        {
            "prompt_tokens": 500,
            "completion_tokens": 60,
            "prompt_tokens_details": {"text_tokens": 500, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 448},
            "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 0},
            "num_sources_used": 0,
        },
        # 60 + 40
        entry(500, 100, 600, is_sum=True, cache_read=448, reasoning=40),
    ),
    Payload(
        "LangChain, OpenAI, no total",
        LANGCHAIN,
        "gpt-4o",
        {
            "input_tokens": 350,
            "output_tokens": 240,
            "input_token_details": {"audio": 10, "cache_read": 100},
            "output_token_details": {"audio": 10, "reasoning": 200},
        },
        entry(350, 240, 590, is_sum=True, cache_read=100, audio_input=10, reasoning=200, audio_output=10),
    ),
    Payload(
        "LangChain, Bedrock, whose input excludes the cache",
        LANGCHAIN_AWS,
        "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
        {
            "input_tokens": 12,
            "output_tokens": 80,
            "total_tokens": 3592,
            "input_token_details": {"cache_read": 2000, "cache_creation": 1500},
        },
        # 12 + 2000 + 1500
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=1500),
    ),
    Payload(
        "LiteLLM, Gemini, cached prompt and reasoning, no total",
        LITELLM,
        "gemini/gemini-2.5-pro",
        {
            "prompt_tokens": 3000,
            "completion_tokens": 1900,
            "prompt_tokens_details": {"cached_tokens": 2000},
            "completion_tokens_details": {"reasoning_tokens": 1500},
            "cache_read_input_tokens": 2000,
        },
        entry(3000, 1900, 4900, is_sum=True, cache_read=2000, reasoning=1500),
    ),
    Payload(
        "LiteLLM, Claude, whose input excludes the cache",
        LITELLM,
        _CLAUDE,
        {
            "prompt_tokens": 4,
            "completion_tokens": 50,
            "total_tokens": 54,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3000,
        },
        # 4 + 3000
        entry(3004, 50, 3054, cache_read=3000),
    ),
    Payload(
        "LiteLLM, Claude, tokens read from the cache in the details alone",
        LITELLM,
        "claude-3-5-sonnet-20240620",
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920},
            "completion_tokens_details": {"reasoning_tokens": 0},
            "cache_creation_input_tokens": 0,
        },
        entry(2006, 300, 2306, cache_read=1920),
    ),
    Payload(
        "LiteLLM, Gemini, audio and images and a web search",
        LITELLM,
        "gemini-2.5-flash-image",
        {
            "prompt_tokens": 1500,
            "completion_tokens": 1600,
            "total_tokens": 3100,
            "prompt_tokens_details": {
                "text_tokens": 642,
                "audio_tokens": 400,
                "image_tokens": 258,
                "cached_tokens": 200,
                "web_search_requests": 1,
            },
            "completion_tokens_details": {"text_tokens": 210, "audio_tokens": 100, "image_tokens": 1290},
            "cache_read_input_tokens": 200,
            "cost": 0.0761,
        },
        entry(
            1500,
            1600,
            3100,
            cost=0.0761,
            cache_read=200,
            audio_input=400,
            image_input=258,
            audio_output=100,
            image_output=1290,
            web_searches=1,
        ),
    ),
    Payload(
        "chat, reasoning, no total",
        OPENAI_CHAT,
        "o3-mini",
        {"prompt_tokens": 75, "completion_tokens": 1186, "completion_tokens_details": {"reasoning_tokens": 1024}},
        entry(75, 1186, 1261, is_sum=True, reasoning=1024),
    ),
    Payload(
        "SGLang, reasoning",
        SGLANG,
        "Qwen/Qwen3-32B",
        {
            "prompt_tokens": 40,
            "completion_tokens": 330,
            "total_tokens": 370,
            "prompt_tokens_details": None,
            "reasoning_tokens": 280,
        },
        entry(40, 330, 370, reasoning=280),
    ),
    Payload(
        "Claude, thinking, and nulls in place of the cache",
        ANTHROPIC,
        "claude-opus-4-8",
        {
            "input_tokens": 48,
            "output_tokens": 2310,
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": None,
            "output_tokens_details": {"thinking_tokens": 1900},
        },
        entry(48, 2310, 2358, is_sum=True, reasoning=1900),
    ),
    Payload(
        "response, image in the input, no details of the output",
        OPENAI_RESPONSES,
        "gpt-4o",
        {
            "input_tokens": 1118,
            "input_tokens_details": {"cached_tokens": 0, "image_tokens": 1105},
            "output_tokens": 66,
            "total_tokens": 1184,
        },
        entry(1118, 66, 1184, image_input=1105),
    ),
    Payload(
        "Claude, lives of a cache without their sum",
        ANTHROPIC,
        _CLAUDE,
        {
            "input_tokens": 100,
            "output_tokens": 50,
            "cache_read_input_tokens": 0,
            "cache_creation": written_for(10, 20),
        },
        # 100 + 10 + 20
        entry(130, 50, 180, is_sum=True, cache_write_5m=10, cache_write_1h=20),
    ),
    Payload(
        "Claude, lives of a cache alone",
        ANTHROPIC,
        _CLAUDE,
        {"input_tokens": 100, "output_tokens": 50, "cache_creation": written_for(10, 20)},
        entry(130, 50, 180, is_sum=True, cache_write_5m=10, cache_write_1h=20),
    ),
    Payload(
        "Claude, with zeros for OpenAI's names, as LiteLLM's usage object of Anthropic's counts has them",
        LITELLM,
        _CLAUDE,
        {
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "total_tokens": 0,
            "input_tokens": 100,
            "output_tokens": 50,
            "cache_read_input_tokens": 90,
        },
        entry(190, 50, 240, is_sum=True, cache_read=90),
    ),
    Payload(
        "Bedrock Converse, both lives of a cache without their sum",
        BEDROCK,
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        {
            "inputTokens": 10,
            "outputTokens": 5,
            "totalTokens": 45,
            "cacheDetails": [{"ttl": "5m", "inputTokens": 10}, {"ttl": "1h", "inputTokens": 20}],
        },
        entry(40, 5, 45, cache_write_5m=10, cache_write_1h=20),
    ),
    Payload(
        "Gemini Live, image made",
        GEMINI_LIVE,
        "gemini-2.5-flash-image",
        {
            "promptTokenCount": 10,
            "responseTokenCount": 1290,
            "totalTokenCount": 1300,
            "responseTokensDetails": modalities(image=1290),
        },
        entry(10, 1290, 1300, image_output=1290),
    ),
    Payload(
        "Gemini Live by Google's client for Python, image made",
        GEMINI_PYTHON,
        "gemini-2.5-flash-image",
        {
            "prompt_token_count": 10,
            "response_token_count": 1290,
            "total_token_count": 1300,
            "response_tokens_details": snake_modalities(image=1290),
        },
        entry(10, 1290, 1300, image_output=1290),
    ),
    Payload(
        "Mistral, cached prompt without details",
        MISTRAL,
        "mistral-medium-latest",
        {"prompt_tokens": 100, "completion_tokens": 34, "total_tokens": 134, "num_cached_tokens": 64},
        entry(100, 34, 134, cache_read=64),
    ),
    Payload(
        "LiteLLM, response, spoken question and answer",
        LITELLM,
        "gpt-4o-audio-preview",
        {
            "input_tokens": 130,
            "input_tokens_details": {"cached_tokens": 0, "audio_tokens": 120, "text_tokens": 10},
            "output_tokens": 263,
            "output_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 214, "text_tokens": 49},
            "total_tokens": 393,
        },
        entry(130, 263, 393, audio_input=120, audio_output=214),
    ),
    Payload(
        "chat, cached tokens by modality",
        POSTHOG,
        "gpt-realtime",
        chat(
            1000,
            60,
            1060,
            cached_tokens=512,
            audio_tokens=100,
            image_tokens=344,
            cached_tokens_details={"text_tokens": 384, "audio_tokens": 64, "image_tokens": 64},
        ),
        # text and images of the cache 384 + 64, audio 100 - 64, images 344 - 64
        entry(1000, 60, 1060, cache_read=448, cache_read_audio=64, audio_input=36, image_input=280),
    ),
    Payload(
        "realtime, reasoning",
        OPENAI_REALTIME,
        "gpt-realtime",
        {
            "total_tokens": 290,
            "input_tokens": 100,
            "output_tokens": 190,
            "input_token_details": {"text_tokens": 100, "audio_tokens": 0, "cached_tokens": 0},
            "output_token_details": {"text_tokens": 40, "audio_tokens": 120, "reasoning_tokens": 30},
        },
        entry(100, 190, 290, audio_output=120, reasoning=30),
    ),
    Payload(
        "OpenRouter, web search by the name of its responses",
        OPENROUTER,
        "openai/gpt-4o",
        {
            "prompt_tokens": 900,
            "completion_tokens": 100,
            "total_tokens": 1000,
            "server_tool_use_details": {"web_search_requests": 1},
        },
        entry(900, 100, 1000, web_searches=1),
    ),
    Payload(
        "LiteLLM, Claude, both lives of a cache without their sum",
        LITELLM,
        "claude-sonnet-4-5",
        {
            "prompt_tokens": 4100,
            "completion_tokens": 20,
            "total_tokens": 4120,
            "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_token_details": written_for(500, 2500)},
            "cache_read_input_tokens": 1000,
        },
        entry(4100, 20, 4120, cache_read=1000, cache_write_5m=500, cache_write_1h=2500),
    ),
    Payload(
        "LiteLLM, Claude, tokens written to the cache in the details alone",
        LITELLM,
        "claude-sonnet-4-5",
        {
            "prompt_tokens": 3100,
            "completion_tokens": 20,
            "total_tokens": 3120,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_creation_tokens": 3000},
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
        entry(3100, 20, 3120, cache_write_5m=3000),
    ),
    Payload(
        "LiteLLM, Claude, tokens written to the cache without details",
        LITELLM,
        "claude-sonnet-4-5",
        {
            "prompt_tokens": 3100,
            "completion_tokens": 20,
            "total_tokens": 3120,
            "cache_creation_input_tokens": 3000,
            "cache_read_input_tokens": 0,
        },
        entry(3100, 20, 3120, cache_write_5m=3000),
    ),
    Payload(
        "image edited by LoomQL's own request",
        OPENAI_IMAGES,
        "gpt-image-1",
        {
            "requests": 1,
            "prompt_tokens": 50,
            "completion_tokens": 60,
            "total_tokens": 110,
            "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
        },
        entry(50, 60, 110, requests=1, image_input=40, image_output=60),
    ),
)


def span(model: str, prefix: str = "gen_ai.usage.", provider: str | None = None, **counts: Any) -> dict[str, Any]:
    """Return a span's attributes: counts by the rest of their names, with a dot for two underscores."""
    named = {"gen_ai.request.model": model} | ({"gen_ai.provider.name": provider} if provider else {})
    return named | {prefix + name.replace("__", "."): count for name, count in counts.items()}


def ai(model: str, provider: str, **counts: Any) -> dict[str, Any]:
    """Return the attributes of a span of Vercel's AI SDK."""
    return {"ai.model.id": model, "ai.model.provider": provider, "ai.operationId": "ai.generateText.doGenerate"} | {
        "ai.usage." + name.replace("__", "."): count for name, count in counts.items()
    }


def llm(model: str, provider: str, **counts: Any) -> dict[str, Any]:
    """Return the attributes of a span of OpenInference."""
    return {"openinference.span.kind": "LLM", "llm.model_name": model, "llm.provider": provider} | {
        "llm." + name.replace("__", "."): count for name, count in counts.items()
    }


def langfuse(model: str, usage: str, cost: str | None = None) -> dict[str, Any]:
    """Return the attributes of a Langfuse span, whose usage and cost are JSON texts."""
    attributes = {"langfuse.observation.model.name": model, "langfuse.observation.usage_details": usage}
    return attributes | ({"langfuse.observation.cost_details": cost} if cost else {})


_OPENLLMETRY_SCOPE: Final = "opentelemetry.instrumentation."

_SPANS: Final = (
    Payload(
        "GenAI, plain",
        GENAI,
        "gpt-4o",
        span("gpt-4o", input_tokens=100, output_tokens=180),
        entry(100, 180, 280),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, read from the cache",
        GENAI,
        "gpt-4o",
        span("gpt-4o", provider="openai", input_tokens=2006, output_tokens=300, cache_read__input_tokens=1920),
        entry(2006, 300, 2306, cache_read=1920),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, written to the cache",
        GENAI,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=5000,
            output_tokens=30,
            cache_read__input_tokens=1000,
            cache_write__input_tokens=3900,
        ),
        entry(5000, 30, 5030, cache_read=1000, cache_write_5m=3900),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, the older name of tokens written to the cache",
        GENAI,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=5000,
            output_tokens=30,
            cache_read__input_tokens=0,
            cache_creation__input_tokens=3900,
        ),
        entry(5000, 30, 5030, cache_write_5m=3900),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, reasoning",
        GENAI,
        "o3",
        span("o3", provider="openai", input_tokens=75, output_tokens=1186, reasoning__output_tokens=1024),
        entry(75, 1186, 1261, reasoning=1024),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, all classes of text",
        GENAI,
        "gpt-5.6",
        span(
            "gpt-5.6",
            provider="openai",
            input_tokens=9000,
            output_tokens=120,
            cache_read__input_tokens=4096,
            cache_write__input_tokens=4500,
            reasoning__output_tokens=64,
        ),
        entry(9000, 120, 9120, cache_read=4096, cache_write_5m=4500, reasoning=64),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, Anthropic's input without the cache, which exceeds it",
        GENAI,
        _CLAUDE,
        span(_CLAUDE, provider="anthropic", input_tokens=21, output_tokens=393, cache_read__input_tokens=188086),
        entry(188107, 393, 188500, cache_read=188086),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, Anthropic's input without the cache, by the total",
        GENAI,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=500,
            output_tokens=100,
            cache_read__input_tokens=300,
            total_tokens=900,
        ),
        entry(800, 100, 900, cache_read=300),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, Anthropic's input with the cache, by the total",
        GENAI,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=500,
            output_tokens=100,
            cache_read__input_tokens=300,
            total_tokens=600,
        ),
        entry(500, 100, 600, cache_read=300),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, counts as strings",
        GENAI,
        "gpt-4o",
        span("gpt-4o", input_tokens="1500", output_tokens="20", cache_read__input_tokens="1408"),
        entry(1500, 20, 1520, cache_read=1408),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, audio",
        GENAI,
        "gpt-realtime",
        span("gpt-realtime", input_tokens=132, output_tokens=121, audio__input_tokens=13, audio__output_tokens=91),
        entry(132, 121, 253, audio_input=13, audio_output=91),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, zeros",
        GENAI,
        "gpt-4o",
        span("gpt-4o", input_tokens=10, output_tokens=5, cache_read__input_tokens=0, cache_write__input_tokens=0),
        entry(10, 5, 15),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, older names of the totals",
        GENAI,
        "gpt-4o",
        span("gpt-4o", prompt_tokens=1500, completion_tokens=20, cache_read__input_tokens=1408),
        entry(1500, 20, 1520, cache_read=1408),
        "my.instrumentation",
    ),
    Payload(
        "OpenLLMetry, OpenAI",
        OPENLLMETRY,
        "gpt-4o",
        {
            **span("gpt-4o", input_tokens=1149, output_tokens=315, cache_read_input_tokens=1024),
            "gen_ai.system": "OpenAI",
            "llm.usage.total_tokens": 1464,
        },
        entry(1149, 315, 1464, cache_read=1024),
        _OPENLLMETRY_SCOPE + "openai.v1",
    ),
    Payload(
        "OpenLLMetry, OpenAI with reasoning",
        OPENLLMETRY,
        "o4-mini",
        {
            **span("o4-mini", input_tokens=50, output_tokens=700, reasoning_tokens=640),
            "gen_ai.system": "openai",
            "llm.usage.total_tokens": 750,
        },
        entry(50, 700, 750, reasoning=640),
        _OPENLLMETRY_SCOPE + "openai.v1",
    ),
    Payload(
        "OpenLLMetry, the older name of reasoning",
        OPENLLMETRY,
        "o4-mini",
        {
            **span("o4-mini", prompt_tokens=50, completion_tokens=700),
            "gen_ai.system": "OpenAI",
            "llm.usage.total_tokens": 750,
            "llm.usage.reasoning_tokens": 640,
        },
        entry(50, 700, 750, reasoning=640),
        _OPENLLMETRY_SCOPE + "openai.v1",
    ),
    Payload(
        "OpenLLMetry, Anthropic written to the cache",
        OPENLLMETRY,
        "claude-3-5-sonnet-20240620",
        {
            **span(
                "claude-3-5-sonnet-20240620",
                input_tokens=1167,
                output_tokens=187,
                cache_read_input_tokens=0,
                cache_creation_input_tokens=1163,
            ),
            "gen_ai.system": "Anthropic",
            "llm.usage.total_tokens": 1354,
        },
        entry(1167, 187, 1354, cache_write_5m=1163),
        _OPENLLMETRY_SCOPE + "anthropic",
    ),
    Payload(
        "OpenLLMetry, Anthropic read from the cache",
        OPENLLMETRY,
        "claude-3-5-sonnet-20240620",
        {
            **span(
                "claude-3-5-sonnet-20240620",
                input_tokens=1167,
                output_tokens=202,
                cache_read__input_tokens=1163,
                cache_creation__input_tokens=0,
            ),
            "gen_ai.system": "anthropic",
            "gen_ai.usage.total_tokens": 1369,
        },
        entry(1167, 202, 1369, cache_read=1163),
        _OPENLLMETRY_SCOPE + "anthropic",
    ),
    Payload(
        "OpenLLMetry, Bedrock, whose total does not tell",
        OPENLLMETRY,
        "us.amazon.nova-pro-v1:0",
        {
            **span(
                "us.amazon.nova-pro-v1:0",
                input_tokens=2000,
                output_tokens=100,
                cache_read__input_tokens=1500,
                cache_creation__input_tokens=0,
            ),
            "gen_ai.system": "AWS",
            "gen_ai.usage.total_tokens": 2100,
        },
        entry(3500, 100, 3600, cache_read=1500),
        _OPENLLMETRY_SCOPE + "bedrock",
    ),
    Payload(
        "OpenLLMetry, Bedrock written to the cache",
        OPENLLMETRY,
        "anthropic.claude-sonnet-4-20250514-v1:0",
        {
            **span(
                "anthropic.claude-sonnet-4-20250514-v1:0",
                input_tokens=4,
                output_tokens=70,
                cache_read__input_tokens=0,
                cache_creation__input_tokens=1162,
            ),
            "gen_ai.usage.total_tokens": 74,
        },
        entry(1166, 70, 1236, cache_write_5m=1162),
        _OPENLLMETRY_SCOPE + "bedrock",
    ),
    Payload(
        "OpenInference, OpenAI",
        OPENINFERENCE,
        "gpt-4o",
        llm(
            "gpt-4o",
            "openai",
            token_count__prompt=2006,
            token_count__completion=300,
            token_count__total=2306,
            token_count__prompt_details__cache_read=1920,
            token_count__prompt_details__audio=0,
            token_count__completion_details__reasoning=0,
            token_count__completion_details__audio=0,
        ),
        entry(2006, 300, 2306, cache_read=1920),
        "openinference.instrumentation.openai",
    ),
    Payload(
        "OpenInference, reasoning",
        OPENINFERENCE,
        "o3-mini",
        llm(
            "o3-mini",
            "openai",
            token_count__prompt=75,
            token_count__completion=1186,
            token_count__total=1261,
            token_count__completion_details__reasoning=1024,
        ),
        entry(75, 1186, 1261, reasoning=1024),
        "openinference.instrumentation.openai",
    ),
    Payload(
        "OpenInference, audio",
        OPENINFERENCE,
        "gpt-4o-audio-preview",
        llm(
            "gpt-4o-audio-preview",
            "openai",
            token_count__prompt=346,
            token_count__completion=410,
            token_count__total=756,
            token_count__prompt_details__audio=301,
            token_count__completion_details__audio=333,
        ),
        entry(346, 410, 756, audio_input=301, audio_output=333),
        "openinference.instrumentation.openai",
    ),
    Payload(
        "OpenInference, Anthropic",
        OPENINFERENCE,
        _CLAUDE,
        llm(
            _CLAUDE,
            "anthropic",
            token_count__prompt=43117,
            token_count__completion=812,
            token_count__prompt_details__cache_read=41210,
            token_count__prompt_details__cache_write=1904,
        ),
        entry(43117, 812, 43929, cache_read=41210, cache_write_5m=1904),
        "openinference.instrumentation.anthropic",
    ),
    Payload(
        "OpenInference, Anthropic, before the prompt included the cache",
        OPENINFERENCE,
        "claude-3-5-sonnet-20241022",
        llm(
            "claude-3-5-sonnet-20241022",
            "anthropic",
            token_count__prompt=21,
            token_count__completion=393,
            token_count__prompt_details__cache_read=2000,
            token_count__prompt_details__cache_write=0,
        ),
        entry(2021, 393, 2414, cache_read=2000),
        "openinference.instrumentation.anthropic",
    ),
    Payload(
        "OpenInference, Bedrock",
        OPENINFERENCE,
        "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
        llm(
            "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            "aws",
            token_count__prompt=1166,
            token_count__completion=71,
            token_count__total=1237,
            token_count__prompt_details__cache_read=1162,
            token_count__prompt_details__cache_write=0,
        ),
        entry(1166, 71, 1237, cache_read=1162),
        "openinference.instrumentation.bedrock",
    ),
    Payload(
        "OpenInference, costs",
        OPENINFERENCE,
        "gpt-4o",
        llm(
            "gpt-4o",
            "openai",
            token_count__prompt=1000,
            token_count__completion=100,
            token_count__total=1100,
            cost__prompt=0.0025,
            cost__completion=0.001,
            cost__total=0.0035,
        ),
        entry(1000, 100, 1100, cost=0.0035),
        "openinference.instrumentation.openai",
    ),
    Payload(
        "OpenInference, costs without their total",
        OPENINFERENCE,
        "gpt-4o",
        llm(
            "gpt-4o",
            "openai",
            token_count__prompt=1000,
            token_count__completion=100,
            cost__prompt=0.25,
            cost__completion=0.5,
        ),
        entry(1000, 100, 1100, cost=0.75),
        "openinference.instrumentation.openai",
    ),
    Payload(
        "OpenInference, details of a cost, and cached tokens",
        OPENINFERENCE,
        "gpt-4o",
        llm(
            "gpt-4o",
            "openai",
            token_count__prompt=2006,
            token_count__completion=300,
            token_count__total=2306,
            token_count__prompt_details__cache_input=1920,
            cost__total=0.005615,
            cost__prompt=0.002615,
            cost__prompt_details__cache_read=0.0024,
        ),
        entry(2006, 300, 2306, cost=0.005615, cache_read=1920),
        "openinference.instrumentation.openai",
    ),
    Payload(
        "AI SDK 5, OpenAI",
        VERCEL,
        "gpt-5-mini",
        {
            **ai(
                "gpt-5-mini",
                "openai.responses",
                inputTokens=1500,
                outputTokens=400,
                totalTokens=1900,
                reasoningTokens=320,
                cachedInputTokens=1280,
            ),
            "gen_ai.system": "openai.responses",
            "gen_ai.usage.input_tokens": 1500,
            "gen_ai.usage.output_tokens": 400,
        },
        entry(1500, 400, 1900, cache_read=1280, reasoning=320),
        "ai",
    ),
    Payload(
        "AI SDK 5, Anthropic read from the cache, whose total does not tell",
        VERCEL,
        _CLAUDE,
        {
            **ai(
                _CLAUDE,
                "anthropic.messages",
                inputTokens=500,
                outputTokens=100,
                totalTokens=600,
                cachedInputTokens=300,
            ),
            "gen_ai.system": "anthropic.messages",
            "gen_ai.usage.input_tokens": 500,
            "gen_ai.usage.output_tokens": 100,
        },
        entry(800, 100, 900, cache_read=300),
        "ai",
    ),
    Payload(
        "AI SDK 5, Anthropic written to the cache",
        VERCEL,
        _CLAUDE,
        {
            **ai(_CLAUDE, "anthropic.messages", inputTokens=4, outputTokens=50, totalTokens=54, cachedInputTokens=0),
            "ai.response.providerMetadata": '{"anthropic":{"cacheCreationInputTokens":3000,"usage":{}}}',
        },
        entry(3004, 50, 3054, cache_write_5m=3000),
        "ai",
    ),
    Payload(
        "AI SDK 5, Bedrock",
        VERCEL,
        "us.anthropic.claude-sonnet-4-20250514-v1:0",
        {
            **ai(
                "us.anthropic.claude-sonnet-4-20250514-v1:0",
                "amazon-bedrock",
                inputTokens=2000,
                outputTokens=60,
                totalTokens=2060,
                cachedInputTokens=1000,
            ),
            "ai.response.providerMetadata": '{"bedrock":{"usage":{"cacheWriteInputTokens":700}}}',
        },
        entry(3700, 60, 3760, cache_read=1000, cache_write_5m=700),
        "ai",
    ),
    Payload(
        "AI SDK 5, Gemini",
        VERCEL,
        "gemini-2.5-flash",
        ai(
            "gemini-2.5-flash",
            "google.generative-ai",
            inputTokens=120,
            outputTokens=200,
            totalTokens=1020,
            reasoningTokens=700,
        ),
        # 120 + 200 + 700 = 1020
        entry(120, 900, 1020, reasoning=700),
        "ai",
    ),
    Payload(
        "AI SDK 6, Anthropic",
        VERCEL,
        _CLAUDE,
        {
            **ai(
                _CLAUDE,
                "anthropic.messages",
                inputTokens=3104,
                inputTokenDetails__noCacheTokens=4,
                inputTokenDetails__cacheReadTokens=3000,
                inputTokenDetails__cacheWriteTokens=100,
                outputTokens=50,
                outputTokenDetails__textTokens=50,
                totalTokens=3154,
                cachedInputTokens=3000,
            ),
            "gen_ai.usage.input_tokens": 3104,
            "gen_ai.usage.output_tokens": 50,
        },
        entry(3104, 50, 3154, cache_read=3000, cache_write_5m=100),
        "ai",
    ),
    Payload(
        "AI SDK 6, OpenAI with reasoning",
        VERCEL,
        "gpt-5",
        ai(
            "gpt-5",
            "openai.responses",
            inputTokens=81,
            inputTokenDetails__noCacheTokens=81,
            inputTokenDetails__cacheReadTokens=0,
            outputTokens=1035,
            outputTokenDetails__textTokens=203,
            outputTokenDetails__reasoningTokens=832,
            totalTokens=1116,
            reasoningTokens=832,
        ),
        entry(81, 1035, 1116, reasoning=832),
        "ai",
    ),
    Payload(
        "AI SDK 4, a span",
        VERCEL,
        "gpt-4o",
        ai("gpt-4o", "openai.chat", promptTokens=19, completionTokens=10),
        entry(19, 10, 29),
        "ai",
    ),
    Payload(
        "Langfuse, input and output",
        LANGFUSE,
        "gpt-4o",
        langfuse("gpt-4o", '{"input":10,"output":5,"total":15}'),
        entry(10, 5, 15),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, cached input beside it",
        LANGFUSE,
        "claude-3-opus-20240229",
        langfuse("claude-3-opus-20240229", '{"input":10,"output":5,"cache_read_input_tokens":100,"total":115}'),
        entry(110, 5, 115, cache_read=100),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, cached input with the input, by the total",
        LANGFUSE,
        "gpt-4o",
        langfuse("gpt-4o", '{"input":200,"output":5,"input_cached_tokens":100,"total":205}'),
        entry(200, 5, 205, cache_read=100),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, LangChain",
        LANGFUSE,
        _CLAUDE,
        langfuse(
            _CLAUDE,
            '{"input":12,"output":30,"total":3542,"input_cache_read":2000,"input_cache_creation":1500}',
        ),
        entry(3512, 30, 3542, cache_read=2000, cache_write_5m=1500),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, reasoning beside the output",
        LANGFUSE,
        "o3",
        langfuse("o3", '{"input":75,"output":162,"output_reasoning":1024,"total":1261}'),
        entry(75, 1186, 1261, reasoning=1024),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, audio beside both",
        LANGFUSE,
        "gpt-4o-audio-preview",
        langfuse("gpt-4o-audio-preview", '{"input":45,"output":77,"input_audio":301,"output_audio":333,"total":756}'),
        entry(346, 410, 756, audio_input=301, audio_output=333),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, OpenAI's shape",
        LANGFUSE,
        "gpt-4o",
        langfuse(
            "gpt-4o",
            '{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,'
            '"prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},'
            '"completion_tokens_details":{"reasoning_tokens":0}}',
        ),
        entry(2006, 300, 2306, cache_read=1920),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, OpenAI's shape of a response",
        LANGFUSE,
        "gpt-5",
        langfuse(
            "gpt-5",
            '{"input_tokens":81,"output_tokens":1035,"total_tokens":1116,'
            '"input_tokens_details":{"cached_tokens":0},"output_tokens_details":{"reasoning_tokens":832}}',
        ),
        entry(81, 1035, 1116, reasoning=832),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, total of the cost",
        LANGFUSE,
        "gpt-4o",
        langfuse("gpt-4o", '{"input":10,"output":5,"total":15}', '{"input":0.25,"output":0.5,"total":0.75}'),
        entry(10, 5, 15, cost=0.75),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, parts of the cost",
        LANGFUSE,
        "gpt-4o",
        langfuse("gpt-4o", '{"input":10,"output":5}', '{"input":0.1,"output":0.2}'),
        # 0.1 + 0.2 is 0.30000000000000004 as a double
        entry(10, 5, 15, cost=0.3),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, no total",
        LANGFUSE,
        _CLAUDE,
        langfuse(_CLAUDE, '{"input":21,"output":393,"cache_read_input_tokens":10}'),
        entry(31, 393, 424, cache_read=10),
        "langfuse-sdk",
    ),
    Payload(
        "Pydantic AI, Anthropic",
        PYDANTIC_AI,
        _CLAUDE,
        {
            **span(
                _CLAUDE,
                provider="anthropic",
                input_tokens=3512,
                output_tokens=80,
                cache_read__input_tokens=2000,
                cache_creation__input_tokens=1500,
                details__cache_read_tokens=2000,
                details__cache_write_tokens=1500,
            ),
            "operation.cost": 0.0125,
        },
        entry(3512, 80, 3592, cost=0.0125, cache_read=2000, cache_write_5m=1500),
        "pydantic-ai",
    ),
    Payload(
        "Pydantic AI, details alone",
        PYDANTIC_AI,
        "gpt-4o",
        span("gpt-4o", provider="openai", input_tokens=2006, output_tokens=300, details__cached_tokens=1920),
        entry(2006, 300, 2306, cache_read=1920),
        "pydantic-ai",
    ),
    Payload(
        "Pydantic AI, audio",
        PYDANTIC_AI,
        "gpt-realtime",
        span(
            "gpt-realtime",
            provider="openai",
            input_tokens=1200,
            output_tokens=200,
            cache_read__input_tokens=896,
            details__input_audio_tokens=500,
            details__cache_audio_read_tokens=320,
            details__output_audio_tokens=160,
        ),
        entry(1200, 200, 1400, cache_read=576, cache_read_audio=320, audio_input=180, audio_output=160),
        "pydantic-ai",
    ),
    Payload(
        "Pydantic AI, Gemini's thoughts",
        PYDANTIC_AI,
        "gemini-2.5-pro",
        span(
            "gemini-2.5-pro",
            provider="gcp.gemini",
            input_tokens=1234,
            output_tokens=1245,
            details__thoughts_tokens=789,
        ),
        entry(1234, 1245, 2479, reasoning=789),
        "pydantic-ai",
    ),
    Payload(
        "Strands, Bedrock",
        STRANDS,
        "us.anthropic.claude-sonnet-4-20250514-v1:0",
        {
            **span(
                "us.anthropic.claude-sonnet-4-20250514-v1:0",
                prompt_tokens=2000,
                input_tokens=2000,
                completion_tokens=60,
                output_tokens=60,
                total_tokens=3760,
                cache_read_input_tokens=1000,
                cache_write_input_tokens=700,
            ),
            "gen_ai.system": "strands-agents",
        },
        entry(3700, 60, 3760, cache_read=1000, cache_write_5m=700),
        "strands.telemetry.tracer",
    ),
    Payload(
        "Strands, OpenAI",
        STRANDS,
        "gpt-4o",
        {
            **span(
                "gpt-4o",
                input_tokens=2006,
                output_tokens=300,
                total_tokens=2306,
                cache_read__input_tokens=1920,
            ),
            "gen_ai.system": "strands-agents",
        },
        entry(2006, 300, 2306, cache_read=1920),
        "strands.telemetry.tracer",
    ),
    Payload(
        "OpenLIT, cost",
        OPENLIT,
        "gpt-4o",
        span("gpt-4o", input_tokens=1000, output_tokens=100, total_tokens=1100, cost=0.0035),
        entry(1000, 100, 1100, cost=0.0035),
        "openlit.instrumentation.openai",
    ),
    Payload(
        "GenAI, Bedrock's input without the cache, which exceeds it",
        GENAI,
        "amazon.nova-pro-v1:0",
        span(
            "amazon.nova-pro-v1:0",
            provider="aws.bedrock",
            input_tokens=12,
            output_tokens=30,
            cache_read__input_tokens=700,
            cache_write__input_tokens=50,
        ),
        entry(762, 30, 792, cache_read=700, cache_write_5m=50),
        "my.instrumentation",
    ),
    Payload(
        "GenAI, images",
        GENAI,
        "gpt-image-1",
        span("gpt-image-1", input_tokens=50, output_tokens=60, image__input_tokens=40, image__output_tokens=60),
        entry(50, 60, 110, image_input=40, image_output=60),
        "my.instrumentation",
    ),
    Payload(
        "OpenInference, Gemini with thoughts",
        OPENINFERENCE,
        "gemini-2.5-pro",
        llm(
            "gemini-2.5-pro",
            "google",
            token_count__prompt=1234,
            token_count__completion=1245,
            token_count__total=2479,
            token_count__completion_details__reasoning=789,
        ),
        entry(1234, 1245, 2479, reasoning=789),
        "openinference.instrumentation.google_genai",
    ),
    Payload(
        "OpenInference, Gemini's thoughts beside the completion",
        OPENINFERENCE,
        "gemini-2.5-flash",
        llm(
            "gemini-2.5-flash",
            "google",
            token_count__prompt=100,
            token_count__completion=200,
            token_count__total=1000,
            token_count__completion_details__reasoning=700,
        ),
        entry(100, 900, 1000, reasoning=700),
        "openinference.instrumentation.vertexai",
    ),
    Payload(
        "OpenLLMetry, LangChain",
        OPENLLMETRY,
        "gpt-4o-mini",
        {
            **span("gpt-4o-mini", input_tokens=1155, output_tokens=41, cache_read_input_tokens=1152),
            "llm.usage.total_tokens": 1196,
        },
        entry(1155, 41, 1196, cache_read=1152),
        _OPENLLMETRY_SCOPE + "langchain",
    ),
    Payload(
        "AI SDK 5, embedding",
        VERCEL,
        "text-embedding-3-small",
        {"ai.model.id": "text-embedding-3-small", "ai.model.provider": "openai.embedding", "ai.usage.tokens": 8},
        entry(8, 0, 8),
        "ai",
    ),
    Payload(
        "AI SDK 6, all of Claude's prompt cached",
        VERCEL,
        _CLAUDE,
        ai(
            _CLAUDE,
            "anthropic.messages",
            inputTokens=3000,
            inputTokenDetails__noCacheTokens=0,
            inputTokenDetails__cacheReadTokens=3000,
            inputTokenDetails__cacheWriteTokens=0,
            outputTokens=50,
            totalTokens=3050,
            cachedInputTokens=3000,
        ),
        entry(3000, 50, 3050, cache_read=3000),
        "ai",
    ),
    Payload(
        "AI SDK 5, Claude by a router, which includes the cache",
        VERCEL,
        "anthropic/claude-sonnet-4.5",
        ai(
            "anthropic/claude-sonnet-4.5",
            "openrouter",
            inputTokens=3000,
            outputTokens=50,
            totalTokens=3050,
            cachedInputTokens=2900,
        ),
        entry(3000, 50, 3050, cache_read=2900),
        "ai",
    ),
    Payload(
        "Langfuse, one attribute for each count",
        LANGFUSE,
        "gpt-4o",
        {
            "langfuse.observation.model.name": "gpt-4o",
            "langfuse.observation.usage_details.input": 10,
            "langfuse.observation.usage_details.output": 5,
            "langfuse.observation.usage_details.input_cached_tokens": 90,
            "langfuse.observation.usage_details.total": 105,
        },
        entry(100, 5, 105, cache_read=90),
        "langfuse-sdk",
    ),
    Payload(
        "LiteLLM's spans, cost",
        LITELLM,
        "gpt-4o",
        {
            **span("gpt-4o", input_tokens=1000, output_tokens=100, total_tokens=1100),
            "gen_ai.cost.input_cost": 0.0025,
            "gen_ai.cost.output_cost": 0.001,
            "gen_ai.cost.tool_usage_cost": 0.001,
            "gen_ai.cost.total_cost": "0.0045",
        },
        entry(1000, 100, 1100, cost=0.0045),
        "litellm",
    ),
    Payload(
        "MLflow, a cached prompt",
        MLFLOW,
        "gpt-4o",
        {
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.llm.model": '"gpt-4o"',
            "mlflow.chat.tokenUsage": '{"input_tokens":2006,"output_tokens":300,"total_tokens":2306,'
            '"cache_read_input_tokens":1920}',
        },
        entry(2006, 300, 2306, cache_read=1920),
        "mlflow",
    ),
)

_FURTHER_SPANS: Final = (
    Payload(
        "GenAI, cached tokens by modality",
        GENAI,
        "gpt-realtime",
        span(
            "gpt-realtime",
            provider="openai",
            input_tokens=1000,
            text__input_tokens=556,
            audio__input_tokens=100,
            image__input_tokens=344,
            cache_read__input_tokens=512,
            text__cache_read__input_tokens=384,
            audio__cache_read__input_tokens=64,
            image__cache_read__input_tokens=64,
            output_tokens=60,
            text__output_tokens=60,
        ),
        # text and images of the cache 384 + 64, audio 100 - 64, images 344 - 64
        entry(1000, 60, 1060, cache_read=448, cache_read_audio=64, audio_input=36, image_input=280),
        "my.instrumentation",
    ),
    Payload(
        "LiveKit, speech",
        LIVEKIT,
        "gpt-realtime",
        span(
            "gpt-realtime",
            input_tokens=132,
            input_text_tokens=119,
            input_audio_tokens=13,
            input_cached_tokens=64,
            output_tokens=121,
            output_text_tokens=30,
            output_audio_tokens=91,
        ),
        entry(132, 121, 253, cache_read=64, audio_input=13, audio_output=91),
        "livekit-agents",
    ),
    Payload(
        "GenAI, older names of the cache without the side",
        LANGFUSE_SPANS,
        _CLAUDE,
        span(_CLAUDE, input_tokens=3512, output_tokens=80, cache_read_tokens=2000, cache_write_tokens=1500),
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=1500),
        "my.instrumentation",
    ),
    Payload(
        "Pydantic AI, Anthropic's names in the details",
        PYDANTIC_AI,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=3512,
            output_tokens=80,
            details__cache_read_input_tokens=2000,
            details__cache_creation_input_tokens=1500,
            details__input_tokens=12,
            details__output_tokens=80,
        ),
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=1500),
        "pydantic-ai",
    ),
    Payload(
        "OpenRouter's spans, cost",
        "https://openrouter.ai/docs/guides/features/broadcast",
        "openai/gpt-4o",
        {
            **span("openai/gpt-4o", input_tokens=1000, output_tokens=100),
            "gen_ai.usage.total_cost": 0.0035,
            "gen_ai.usage.input_cost": 0.0025,
            "gen_ai.usage.output_cost": 0.001,
        },
        entry(1000, 100, 1100, cost=0.0035),
        "broadcast",
    ),
    Payload(
        "Pydantic AI 1, OpenAI",
        PYDANTIC_AI,
        "gpt-5.6",
        span(
            "gpt-5.6",
            provider="openai",
            input_tokens=9000,
            output_tokens=120,
            details__cache_read_tokens=4096,
            details__cache_write_tokens=4500,
            details__reasoning_tokens=64,
        ),
        entry(9000, 120, 9120, cache_read=4096, cache_write_5m=4500, reasoning=64),
        "pydantic-ai",
    ),
    Payload(
        "MLflow, Claude",
        MLFLOW,
        _CLAUDE,
        {
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.llm.model": f'"{_CLAUDE}"',
            "mlflow.chat.tokenUsage": '{"input_tokens":3512,"output_tokens":80,"total_tokens":3592,'
            '"cache_read_input_tokens":2000,"cache_creation_input_tokens":1500}',
        },
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=1500),
        "mlflow",
    ),
    Payload(
        "AI SDK 6, details alone",
        VERCEL,
        "gpt-5-mini",
        ai(
            "gpt-5-mini",
            "openai.responses",
            inputTokens=1500,
            inputTokenDetails__noCacheTokens=220,
            inputTokenDetails__cacheReadTokens=1280,
            outputTokens=400,
            outputTokenDetails__textTokens=80,
            outputTokenDetails__reasoningTokens=320,
            totalTokens=1900,
        ),
        entry(1500, 400, 1900, cache_read=1280, reasoning=320),
        "ai",
    ),
    Payload(
        "AI SDK 5, Claude, both lives of a cache",
        VERCEL,
        _CLAUDE,
        {
            **ai(_CLAUDE, "anthropic", inputTokens=7, outputTokens=445, totalTokens=452, cachedInputTokens=16399),
            "ai.response.providerMetadata": '{"anthropic":{"usage":{"input_tokens":7,"output_tokens":445,'
            '"cache_read_input_tokens":16399,"cache_creation_input_tokens":2089,"cache_creation":'
            '{"ephemeral_5m_input_tokens":1089,"ephemeral_1h_input_tokens":1000}},"cacheCreationInputTokens":2089}}',
        },
        # 7 + 16399 + 2089; 2089 - 1000
        entry(18495, 445, 18940, cache_read=16399, cache_write_5m=1089, cache_write_1h=1000),
        "ai",
    ),
    Payload(
        "AI SDK 4, Claude",
        VERCEL,
        _CLAUDE,
        {
            **ai(_CLAUDE, "anthropic", promptTokens=500, completionTokens=50),
            "ai.response.providerMetadata": '{"anthropic":{"cacheCreationInputTokens":100,"cacheReadInputTokens":300}}',
        },
        # 500 + 300 + 100
        entry(900, 50, 950, cache_read=300, cache_write_5m=100),
        "ai",
    ),
    Payload(
        "AI SDK 4, Bedrock",
        VERCEL,
        "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
        {
            **ai(
                "us.anthropic.claude-3-7-sonnet-20250219-v1:0", "amazon-bedrock", promptTokens=2000, completionTokens=60
            ),
            "ai.response.providerMetadata": '{"bedrock":{"usage":{"cacheReadInputTokens":1000,'
            '"cacheWriteInputTokens":700}}}',
        },
        # 2000 + 1000 + 700
        entry(3700, 60, 3760, cache_read=1000, cache_write_5m=700),
        "ai",
    ),
    Payload(
        "AI SDK 4, OpenAI",
        VERCEL,
        "o1",
        {
            **ai("o1", "openai.chat", promptTokens=1500, completionTokens=400),
            "ai.response.providerMetadata": '{"openai":{"reasoningTokens":320,"cachedPromptTokens":1280}}',
        },
        entry(1500, 400, 1900, cache_read=1280, reasoning=320),
        "ai",
    ),
    Payload(
        "Langfuse, LangChain with Vertex",
        LANGFUSE_LANGCHAIN,
        "gemini-2.5-flash",
        langfuse(
            "gemini-2.5-flash",
            '{"input":0,"output":0,"total":4390,"input_modality_TEXT":726,"input_modality_AUDIO":1000,'
            '"input_modality_IMAGE":516,"cached_modality_TEXT":758,"output_modality_TEXT":20,'
            '"output_modality_AUDIO":80,"output_modality_IMAGE":1290}',
        ),
        # 726 + 1000 + 516 + 758; 20 + 80 + 1290
        entry(3000, 1390, 4390, cache_read=758, audio_input=1000, image_input=516, audio_output=80, image_output=1290),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, text and audio by name",
        LANGFUSE_PRICES,
        "gpt-4o-audio-preview",
        langfuse(
            "gpt-4o-audio-preview",
            '{"input":0,"output":0,"input_text_tokens":45,"input_audio_tokens":301,"output_text_tokens":77,'
            '"output_audio_tokens":333,"total":756}',
        ),
        # 45 + 301; 77 + 333
        entry(346, 410, 756, audio_input=301, audio_output=333),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, images beside both",
        LANGFUSE_LANGCHAIN,
        "gpt-image-1",
        langfuse(
            "gpt-image-1",
            '{"input":10,"input_image_tokens":40,"output":5,"output_image_tokens":50,"total":105}',
        ),
        # 10 + 40; 5 + 50
        entry(50, 55, 105, image_input=40, image_output=50),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, images beside both, by LangChain's names",
        LANGFUSE_LANGCHAIN,
        "gpt-image-1",
        langfuse("gpt-image-1", '{"input":10,"input_image":40,"output":5,"output_image":50,"total":105}'),
        # 10 + 40; 5 + 50
        entry(50, 55, 105, image_input=40, image_output=50),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, Anthropic's names of the lives of a cache",
        LANGFUSE_LANGCHAIN,
        "claude-3-opus-20240229",
        langfuse(
            "claude-3-opus-20240229",
            '{"input":10,"output":5,"cache_read_input_tokens":1000,"cache_creation_input_tokens":1500,'
            '"cache_creation_ephemeral_5m_input_tokens":500,"cache_creation_ephemeral_1h_input_tokens":1000}',
        ),
        # 10 + 1000 + 1500
        entry(2510, 5, 2515, cache_read=1000, cache_write_5m=500, cache_write_1h=1000),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, LangChain's names of the lives of a cache",
        LANGFUSE_LANGCHAIN,
        _CLAUDE,
        langfuse(
            _CLAUDE,
            '{"input":12,"output":80,"input_cache_read":2000,"input_cache_creation":0,'
            '"input_ephemeral_5m_input_tokens":500,"input_ephemeral_1h_input_tokens":1000,"total":3592}',
        ),
        # 12 + 2000 + 500 + 1000
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=500, cache_write_1h=1000),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, its own names of the lives of a cache",
        LANGFUSE_PRICES,
        _CLAUDE,
        langfuse(
            _CLAUDE,
            '{"input":12,"output":80,"input_cached_tokens":2000,"input_cache_creation":0,'
            '"input_cache_creation_5m":500,"input_cache_creation_1h":1000,"total":3592}',
        ),
        # 12 + 2000 + 500 + 1000
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=500, cache_write_1h=1000),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, reasoning by OpenAI's name",
        LANGFUSE_PRICES,
        "o3",
        langfuse("o3", '{"input":75,"output":162,"output_reasoning_tokens":1024,"total":1261}'),
        # 162 + 1024
        entry(75, 1186, 1261, reasoning=1024),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, reasoning without the side",
        LANGFUSE_PRICES,
        "o3",
        langfuse("o3", '{"input":75,"output":162,"reasoning_tokens":1024,"total":1261}'),
        # 162 + 1024
        entry(75, 1186, 1261, reasoning=1024),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, Anthropic's names of the lives of a cache without their sum",
        LANGFUSE_PRICES,
        _CLAUDE,
        langfuse(
            _CLAUDE,
            '{"input":12,"output":80,"cache_read_input_tokens":2000,"cache_creation_input_tokens":0,'
            '"cache_creation_ephemeral_5m_input_tokens":500,"cache_creation_ephemeral_1h_input_tokens":1000,"total":3592}',
        ),
        # 12 + 2000 + 500 + 1000
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=500, cache_write_1h=1000),
        "langfuse-sdk",
    ),
    Payload(
        "Langfuse, Anthropic's names without the lives of a cache",
        LANGFUSE_PRICES,
        _CLAUDE,
        langfuse(
            _CLAUDE,
            '{"input":12,"output":80,"cache_read_input_tokens":2000,"cache_creation_input_tokens":1500,"total":3592}',
        ),
        # 12 + 2000 + 1500
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=1500),
        "langfuse-sdk",
    ),
    Payload(
        "OpenInference, images",
        OPENINFERENCE,
        "gpt-image-1",
        llm(
            "gpt-image-1",
            "openai",
            token_count__prompt=50,
            token_count__prompt_details__image=40,
            token_count__completion=60,
            token_count__completion_details__image=60,
            token_count__total=110,
        ),
        entry(50, 60, 110, image_input=40, image_output=60),
        "openinference.instrumentation.openai",
    ),
    Payload(
        "LiteLLM's spans, parts of the cost",
        LITELLM,
        "gpt-4o",
        {
            **span("gpt-4o", input_tokens=1000, output_tokens=100, total_tokens=1100),
            "gen_ai.cost.input_cost": 0.1,
            "gen_ai.cost.output_cost": 0.2,
        },
        entry(1000, 100, 1100, cost=0.3),
        "litellm",
    ),
    Payload(
        "Pydantic AI, Anthropic's names of an hour's cache and of searches",
        PYDANTIC_AI,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=3512,
            output_tokens=80,
            details__cache_read_tokens=2000,
            details__cache_write_tokens=1500,
            details__ephemeral_1h_input_tokens=1000,
            details__web_search_requests=2,
        ),
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=500, cache_write_1h=1000, web_searches=2),
        "pydantic-ai",
    ),
    Payload(
        "Sentry, names of parts that continue those of totals",
        SENTRY,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=3512,
            input_tokens__cached=2000,
            input_tokens__cache_write=1500,
            output_tokens__reasoning=30,
            output_tokens=80,
        ),
        entry(3512, 80, 3592, cache_read=2000, cache_write_5m=1500, reasoning=30),
        "sentry.python",
    ),
    Payload(
        "OpenRouter's spans, cached tokens and reasoning",
        "https://openrouter.ai/docs/guides/features/broadcast",
        "openai/o3",
        {
            **span("openai/o3", input_tokens__cached=1024, input_tokens=1100, output_tokens=300),
            "gen_ai.usage.output_tokens.reasoning": 256,
        },
        entry(1100, 300, 1400, cache_read=1024, reasoning=256),
        "broadcast",
    ),
    Payload(
        "OpenLIT, Anthropic read from the cache",
        OPENLIT_ANTHROPIC,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=5000,
            output_tokens=100,
            cache_read__input_tokens=2000,
            cache_creation__input_tokens=0,
        ),
        # 5000 + 2000
        entry(7000, 100, 7100, cache_read=2000),
        "openlit.instrumentation.anthropic",
    ),
    Payload(
        "OpenLIT, Anthropic, whose total does not tell",
        OPENLIT,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=5000,
            output_tokens=100,
            total_tokens=5100,
            cache_read__input_tokens=2000,
        ),
        # 5000 + 2000
        entry(7000, 100, 7100, cache_read=2000),
        "openlit.instrumentation.anthropic",
    ),
    Payload(
        "Claude Code, read from and written to the cache",
        CLAUDE_CODE,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=5000,
            output_tokens=100,
            cache_read__input_tokens=2000,
            cache_creation__input_tokens=500,
        ),
        # 5000 + 2000 + 500
        entry(7500, 100, 7600, cache_read=2000, cache_write_5m=500),
        "com.anthropic.claude_code.events",
    ),
    Payload(
        "Claude Code, with a total that does not tell",
        CLAUDE_CODE,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=5000,
            output_tokens=100,
            total_tokens=5100,
            cache_read__input_tokens=2000,
        ),
        # 5000 + 2000
        entry(7000, 100, 7100, cache_read=2000),
        "com.anthropic.claude_code.events",
    ),
    Payload(
        "OpenLIT, Bedrock, whose total does not tell",
        OPENLIT,
        "us.anthropic.claude-sonnet-4-20250514-v1:0",
        span(
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            provider="aws.bedrock",
            input_tokens=5000,
            output_tokens=100,
            total_tokens=5100,
            cache_read__input_tokens=2000,
        ),
        # 5000 + 2000
        entry(7000, 100, 7100, cache_read=2000),
        "openlit.instrumentation.bedrock",
    ),
    Payload(
        "OpenLIT, Bedrock read from the cache and written to it",
        OPENLIT_BEDROCK,
        "us.anthropic.claude-sonnet-4-20250514-v1:0",
        span(
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            provider="aws.bedrock",
            input_tokens=5000,
            output_tokens=100,
            cache_read__input_tokens=2000,
            cache_creation__input_tokens=1000,
        ),
        # 5000 + 2000 + 1000
        entry(8000, 100, 8100, cache_read=2000, cache_write_5m=1000),
        "openlit.instrumentation.bedrock",
    ),
    Payload(
        "OpenLLMetry, LlamaIndex with Anthropic, whose total does not tell",
        OPENLLMETRY_LLAMAINDEX,
        _CLAUDE,
        span(
            _CLAUDE,
            provider="anthropic",
            input_tokens=5000,
            output_tokens=100,
            total_tokens=5100,
            cache_read__input_tokens=2000,
        ),
        # 5000 + 2000
        entry(7000, 100, 7100, cache_read=2000),
        "opentelemetry.instrumentation.llamaindex",
    ),
    Payload(
        "OpenLLMetry, LlamaIndex with OpenAI",
        OPENLLMETRY_LLAMAINDEX,
        "gpt-4o",
        span(
            "gpt-4o",
            provider="openai",
            input_tokens=5000,
            output_tokens=100,
            total_tokens=5100,
            cache_read__input_tokens=2000,
        ),
        entry(5000, 100, 5100, cache_read=2000),
        "opentelemetry.instrumentation.llamaindex",
    ),
    Payload(
        "OpenInference, Bedrock by JavaScript, model invoked",
        OPENINFERENCE_BEDROCK,
        _BEDROCK_CLAUDE,
        llm(
            _BEDROCK_CLAUDE,
            "aws",
            token_count__prompt=5000,
            token_count__completion=100,
            token_count__prompt_details__cache_read=2000,
        ),
        # 5000 + 2000
        entry(7000, 100, 7100, cache_read=2000),
        "@arizeai/openinference-instrumentation-bedrock",
    ),
    Payload(
        "OpenInference, Bedrock by JavaScript, total with the cache in the prompt",
        OPENINFERENCE_BEDROCK,
        _BEDROCK_CLAUDE,
        llm(
            _BEDROCK_CLAUDE,
            "aws",
            token_count__prompt=5000,
            token_count__completion=100,
            token_count__total=5100,
            token_count__prompt_details__cache_read=2000,
        ),
        entry(5000, 100, 5100, cache_read=2000),
        "@arizeai/openinference-instrumentation-bedrock",
    ),
    Payload(
        "OpenRouter's spans, no charge",
        "https://openrouter.ai/docs/guides/features/broadcast",
        "openai/gpt-4o",
        span("openai/gpt-4o", input_tokens=1000, output_tokens=100, total_cost=0.0),
        entry(1000, 100, 1100, cost=0),
        "broadcast",
    ),
    Payload(
        "OpenLIT, a cost of 0 beside that of OpenRouter",
        OPENLIT,
        "openai/gpt-4o",
        span("openai/gpt-4o", input_tokens=1000, output_tokens=100, cost=0, total_cost="0.0035"),
        entry(1000, 100, 1100, cost=0.0035),
        "openlit.instrumentation.openai",
    ),
    Payload(
        "Langfuse, parts of the cost that are 0",
        LANGFUSE,
        "gpt-4o",
        langfuse("gpt-4o", '{"input":10,"output":5,"total":15}', '{"input":0,"output":0}'),
        entry(10, 5, 15, cost=0),
        "langfuse-sdk",
    ),
    Payload(
        "AI SDK 5, Claude with web searches",
        VERCEL,
        _CLAUDE,
        {
            **ai(_CLAUDE, "anthropic.messages", inputTokens=9000, outputTokens=700, totalTokens=9700),
            "ai.response.providerMetadata": '{"anthropic":{"usage":{"input_tokens":9000,"output_tokens":700,'
            '"cache_read_input_tokens":0,"server_tool_use":{"web_search_requests":2}},"cacheCreationInputTokens":0}}',
        },
        entry(9000, 700, 9700, web_searches=2),
        "ai",
    ),
    Payload(
        "AI SDK 5, Claude by Vercel's gateway, which excludes the cache",
        VERCEL,
        "anthropic/claude-sonnet-4.5",
        ai(
            "anthropic/claude-sonnet-4.5",
            "gateway",
            inputTokens=5000,
            outputTokens=100,
            totalTokens=5100,
            cachedInputTokens=2000,
        ),
        # 5000 + 2000
        entry(7000, 100, 7100, cache_read=2000),
        "ai",
    ),
    Payload(
        "AI SDK 5, Claude by Vercel's gateway, whose answer names the model alone",
        VERCEL,
        _CLAUDE,
        {
            **ai("anthropic/claude-sonnet-4.5", "gateway", inputTokens=5000, outputTokens=100, cachedInputTokens=2000),
            "gen_ai.response.model": _CLAUDE,
        },
        # 5000 + 2000
        entry(7000, 100, 7100, cache_read=2000),
        "ai",
    ),
    Payload(
        "OpenInference, Gemini's thoughts in the total alone",
        OPENINFERENCE,
        "google/gemini-2.5-flash-image",
        llm(
            "google/gemini-2.5-flash-image",
            "google",
            token_count__prompt=1000,
            token_count__completion=100,
            token_count__total=2600,
            token_count__prompt_details__cache_read=400,
        ),
        # 2600 - 1000
        entry(1000, 1600, 2600, cache_read=400, reasoning=1500),
        "openinference.instrumentation.google_genai",
    ),
    Payload(
        "AI SDK 5, GPT by Vercel's gateway",
        VERCEL,
        "openai/gpt-4o",
        ai(
            "openai/gpt-4o",
            "gateway",
            inputTokens=5000,
            outputTokens=100,
            totalTokens=5100,
            cachedInputTokens=2000,
        ),
        entry(5000, 100, 5100, cache_read=2000),
        "ai",
    ),
)

PAYLOADS: Final = (
    *_OPENAI,
    *_LIKE_OPENAI,
    *_OTHERS,
    *_ANTHROPIC,
    *_GEMINI,
    *_LIBRARIES,
    *_FURTHER,
    *_SPANS,
    *_FURTHER_SPANS,
)
