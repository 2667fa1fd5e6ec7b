"""The senders that are recorded: their packages, and the cases of each library."""

from dataclasses import dataclass, field
from typing import Final

_CHAT: Final = "chat stream tools image-data image-url"
_OTLP: Final = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")


@dataclass(frozen=True)
class Sender:
    """One sender.

    Attributes:
        packages: what its environment installs.
        cases: by library the cases that are recorded, separated by spaces.
        variables: environment variables of its programs.
    """

    name: str
    packages: tuple[str, ...]
    cases: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)
    protocol: str = "otlp"
    environment: str = ""
    is_node: bool = False

    def __post_init__(self) -> None:
        """Name the environment after the sender, unless it shares one."""
        object.__setattr__(self, "environment", self.environment or self.name)


def _names(prefix: str, names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{name}" for name in names.split())


_CONTENT: Final = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
_LATEST: Final = {
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_AND_EVENT",
}

SENDERS: Final = (
    Sender(
        "openinference",
        (
            *_names(
                "openinference-instrumentation-",
                "openai anthropic langchain llama-index google-genai bedrock litellm mistralai smolagents",
            ),
            *_names("", "openai anthropic google-genai boto3 litellm mistralai langchain langchain-openai"),
            *_names("", "llama-index-core llama-index-llms-openai llama-index-embeddings-openai"),
            *_names("", "smolagents openai-agents openinference-instrumentation-openai-agents"),
            *_OTLP,
        ),
        {
            "openai": f"{_CHAT} tool-stream audio structured choices refusal error-limited error-broken embeddings "
            "responses responses-stream responses-tools responses-image responses-reasoning",
            "anthropic": "chat stream tools image-data reasoning error-limited",
            "gemini": "chat stream tools image-data reasoning",
            "bedrock": "chat tools image-data reasoning guardrail titan",
            "mistral": "chat stream tools",
            "litellm": "chat stream",
            "langchain": "chat stream chain tools agent image-data retrieval",
            "llamaindex": "chat stream retrieval",
            "smolagents": "agent",
            "agents": "agent agent-chat",
        },
    ),
    Sender(
        "openllmetry",
        (
            *_names(
                "opentelemetry-instrumentation-",
                "openai anthropic bedrock cohere mistralai google-generativeai langchain llamaindex threading",
            ),
            *_names(
                "", "traceloop-sdk openai anthropic google-genai boto3 mistralai cohere langchain langchain-openai"
            ),
            *_names("", "llama-index-core llama-index-llms-openai llama-index-embeddings-openai"),
            *_OTLP,
        ),
        {
            "openai": f"{_CHAT} structured choices refusal error-limited embeddings responses responses-tools",
            "anthropic": "chat stream tools image-data reasoning",
            "gemini": "chat stream tools image-data",
            "bedrock": "chat tools",
            "cohere": "chat tools",
            "mistral": "chat tools",
            "langchain": "chat tools",
            "llamaindex": "chat",
        },
    ),
    Sender(
        "openllmetry-old",
        (
            "traceloop-sdk==0.40.14",
            *(f"{name}==0.40.14" for name in _names("opentelemetry-instrumentation-", "openai anthropic langchain")),
            *("openai<2", "anthropic<0.60", "boto3", "cohere<5.16", "langchain<0.4", "langchain-openai<0.4"),
            "setuptools<80",
            *_OTLP,
        ),
        {"openai": "chat stream tools image-url", "anthropic": "chat tools", "bedrock": "chat"},
    ),
    Sender(
        "official",
        (
            *_names("opentelemetry-instrumentation-", "openai-v2"),
            *_names("", "openai httpx opentelemetry-util-genai==1.1b0"),
            *_OTLP,
        ),
        {"openai": "chat stream tools embeddings error-limited"},
        _CONTENT,
    ),
    Sender(
        "official-events",
        ("opentelemetry-instrumentation-openai-v2==2.0b0", "openai<2", *(f"{name}<1.32" for name in _OTLP)),
        {"openai": "chat stream tools"},
        _CONTENT,
    ),
    Sender(
        "official-latest",
        (),
        {"openai": "chat stream tools error-limited choices"},
        _LATEST,
        environment="official",
    ),
    Sender(
        "langfuse",
        ("langfuse", "openai", "langchain", "langchain-openai"),
        {"openai": "chat stream tools image-url structured error-limited embeddings", "langchain": "chat tools agent"},
    ),
    Sender(
        "mlflow",
        ("mlflow-tracing", "sqlparse", "openai", "anthropic", "langchain", "langchain-openai", "google-genai", *_OTLP),
        {"openai": "chat stream tools image-data responses", "anthropic": "chat tools", "langchain": "chat agent"},
    ),
    Sender(
        "logfire",
        ("pydantic-ai-slim[openai,anthropic,google,logfire]", "logfire", "openai", "openai-agents", *_OTLP),
        {"pydantic_ai": "chat agent image-url reasoning", "openai": "chat tools", "agents": "agent"},
        environment="pydantic-ai",
    ),
    Sender(
        "langsmith",
        ("langsmith[otel]", "openai", "langchain", "langchain-openai", *_OTLP),
        {"langchain": "chat tools agent"},
    ),
    Sender("adk", ("google-adk", *_OTLP), {"adk": "agent"}, _LATEST, environment="google-adk"),
    Sender(
        "weave",
        (
            *_names("", "weave openai anthropic google-genai<2 litellm langchain langchain-openai"),
            *_names("", "mistralai<2 cohere<6 boto3 pillow"),
        ),
        {
            "openai": f"{_CHAT} choices structured refusal error-limited embeddings responses responses-stream "
            "responses-tools",
            "anthropic": "chat stream tools image-data reasoning",
            "gemini": "chat stream tools",
            "bedrock": "chat tools guardrail titan",
            "cohere": "chat documents",
            "mistral": "chat",
            "litellm": "chat",
            "langchain": "chat tools agent",
            "weave_op": "agent retrieval error-op",
        },
        protocol="weave",
    ),
    Sender(
        "vercel",
        (
            *_names("", "ai @ai-sdk/openai @ai-sdk/anthropic zod"),
            *_names("@opentelemetry/", "sdk-trace-node exporter-trace-otlp-http resources"),
        ),
        {"ai": "chat stream tools structured responses image-data reasoning embeddings error-limited"},
        is_node=True,
    ),
    Sender(
        "vercel4",
        (
            *("ai@4", "@ai-sdk/openai@1", "@ai-sdk/anthropic@1", "zod@3"),
            *_names("@opentelemetry/", "sdk-trace-node exporter-trace-otlp-http resources"),
        ),
        {"ai": "chat stream tools"},
        is_node=True,
    ),
)
