"""Set-up of each sender, as its documentation says, with a user, a session and tags if it has a way to set them."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

from conversation import SESSION_ID, TAGS, USER_ID

RECEIVER = os.environ["RECEIVER"]


@dataclass
class Started:
    """A sender at work.

    Attributes:
        flush: sends what was recorded.
        identity: a context whose calls have the user, the session and the tags.
    """

    flush: Callable[[], object]
    identity: Callable[[], AbstractContextManager] = nullcontext


def start(sender: str, library: str) -> Started:
    """Set a sender up to record a library."""
    return globals()[f"start_{sender.replace('-', '_')}"](library)


def tracer_provider():
    """Return a provider that exports each span as it ends, as the global one."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "recorded"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{RECEIVER}/v1/traces")))
    trace.set_tracer_provider(provider)
    return provider


def start_openinference(library: str) -> Started:
    import importlib

    from openinference.instrumentation import using_attributes

    names = {
        "openai": ("openai", "OpenAIInstrumentor"),
        "anthropic": ("anthropic", "AnthropicInstrumentor"),
        "gemini": ("google_genai", "GoogleGenAIInstrumentor"),
        "bedrock": ("bedrock", "BedrockInstrumentor"),
        "mistral": ("mistralai", "MistralAIInstrumentor"),
        "litellm": ("litellm", "LiteLLMInstrumentor"),
        "langchain": ("langchain", "LangChainInstrumentor"),
        "llamaindex": ("llama_index", "LlamaIndexInstrumentor"),
        "smolagents": ("smolagents", "SmolagentsInstrumentor"),
        "agents": ("openai_agents", "OpenAIAgentsInstrumentor"),
    }
    package, instrumentor = names[library]
    provider = tracer_provider()
    module = importlib.import_module(f"openinference.instrumentation.{package}")
    getattr(module, instrumentor)().instrument(tracer_provider=provider)
    return Started(provider.force_flush, lambda: using_attributes(session_id=SESSION_ID, user_id=USER_ID, tags=TAGS))


def start_openllmetry(library: str) -> Started:
    from traceloop.sdk import Traceloop

    os.environ["TRACELOOP_TELEMETRY"] = "false"
    Traceloop.init(app_name="recorded", api_endpoint=RECEIVER, api_key="none", disable_batch=True)
    Traceloop.set_association_properties({"user_id": USER_ID, "session_id": SESSION_ID})
    return Started(lambda: None)


start_openllmetry_old = start_openllmetry


def start_official(library: str) -> Started:
    from opentelemetry._logs import set_logger_provider
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource

    logs = LoggerProvider(resource=Resource.create({"service.name": "recorded"}))
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{RECEIVER}/v1/logs")))
    set_logger_provider(logs)
    if os.environ["SENDER"] == "official-events":  # versions before events were logs
        from opentelemetry._events import set_event_logger_provider
        from opentelemetry.sdk._events import EventLoggerProvider

        set_event_logger_provider(EventLoggerProvider(logs))
    provider = tracer_provider()
    OpenAIInstrumentor().instrument()

    def flush() -> None:
        logs.force_flush()
        provider.force_flush()

    return Started(flush)


start_official_latest = start_official
start_official_events = start_official


def start_langfuse(library: str) -> Started:
    os.environ |= {"LANGFUSE_BASE_URL": RECEIVER, "LANGFUSE_OTEL_TRACES_EXPORT_PATH": "v1/traces"}
    os.environ |= {"LANGFUSE_PUBLIC_KEY": "pk-lf-0", "LANGFUSE_SECRET_KEY": "sk-lf-0"}
    os.environ |= {"LANGFUSE_TRACING_ENVIRONMENT": "staging", "LANGFUSE_RELEASE": "v1.2.3"}
    from langfuse import get_client, propagate_attributes

    return Started(get_client().flush, lambda: propagate_attributes(user_id=USER_ID, session_id=SESSION_ID, tags=TAGS))


def start_mlflow(library: str) -> Started:
    os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = f"{RECEIVER}/v1/traces"
    os.environ["OTEL_SERVICE_NAME"] = "recorded"
    os.environ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "http/protobuf"
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
    import mlflow

    getattr(mlflow, library).autolog()

    @contextmanager
    def identity():
        with mlflow.start_span("program", span_type="CHAIN"):
            mlflow.update_current_trace(metadata={"mlflow.trace.user": USER_ID, "mlflow.trace.session": SESSION_ID})
            yield

    def flush() -> None:
        from mlflow.tracing.provider import provider

        provider.get().force_flush()

    return Started(flush, identity)


def start_logfire(library: str) -> Started:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = RECEIVER
    import logfire

    logfire.configure(send_to_logfire=False, service_name="recorded", console=False)
    name = "openai_agents" if library == "agents" else library
    getattr(logfire, f"instrument_{name}")()
    return Started(logfire.force_flush)


def start_langsmith(library: str) -> Started:
    os.environ |= {"LANGSMITH_TRACING_MODE": "otel", "LANGSMITH_TRACING": "true"}
    os.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": RECEIVER,
        "LANGSMITH_API_KEY": "lsv2_0",
        "LANGSMITH_ENDPOINT": RECEIVER,
    }
    provider = tracer_provider()
    from langsmith import tracing_context
    from langsmith.run_trees import get_cached_client

    metadata = {"user_id": USER_ID, "session_id": SESSION_ID}

    def flush() -> None:
        from langchain_core.tracers.langchain import wait_for_all_tracers

        wait_for_all_tracers()
        get_cached_client().flush()
        provider.force_flush()

    return Started(flush, lambda: tracing_context(metadata=metadata, tags=TAGS, enabled=True))


def start_adk(library: str) -> Started:
    provider = tracer_provider()
    return Started(provider.force_flush)


def start_weave(library: str) -> Started:
    os.environ |= {"WANDB_BASE_URL": f"{RECEIVER}/weave", "WF_TRACE_SERVER_URL": f"{RECEIVER}/weave"}
    os.environ |= {"WANDB_API_KEY": "k" * 40, "WEAVE_PRINT_CALL_LINK": "false"}
    import weave

    client = weave.init("acme/recorded")

    @contextmanager
    def identity():
        with ExitStack() as stack:
            stack.enter_context(weave.thread(SESSION_ID))
            stack.enter_context(weave.attributes({"user_id": USER_ID, "tags": TAGS}))
            yield

    return Started(client.flush, identity)
