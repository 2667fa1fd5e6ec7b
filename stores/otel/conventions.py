"""Which attributes say what: the conventions of those who instrument LLM programs, as tables.

Of each role the first key counts that is there and says something. A key may name a value, or the beginning of several
keys (`gen_ai.prompt` of `gen_ai.prompt.0.role`), or a place within a value of JSON.

The order is that of Weave's trace server; what it does not know stands behind its own keys, before those that could
mean anything (`input`, `output`). The sources of the rest:

- OpenTelemetry's GenAI conventions: https://github.com/open-telemetry/semantic-conventions-genai
- OpenInference: https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
- OpenLLMetry: https://www.traceloop.com/docs/openllmetry/contributing/semantic-conventions
- Vercel's AI SDK: https://ai-sdk.dev/docs/ai-sdk-core/telemetry
- Langfuse: https://langfuse.com/integrations/native/opentelemetry
- MLflow: https://mlflow.org/docs/latest/genai/tracing
"""

from typing import Final

INPUTS: Final = "inputs"
OUTPUT: Final = "output"
THREAD: Final = "thread"
TURN: Final = "turn"
CONVERSATION: Final = "conversation"
DISPLAY_NAME: Final = "display_name"
START_TIME: Final = "start_time"
END_TIME: Final = "end_time"
OPERATION: Final = "operation"
LEVEL: Final = "level"
LEVEL_MESSAGE: Final = "level_message"
SYSTEM_INSTRUCTIONS: Final = "system_instructions"
TOOL_DEFINITIONS: Final = "tool_definitions"

MODEL: Final = "model"
MODEL_PARAMETERS: Final = "model_parameters"

NOTED: Final[dict[str, tuple[str, ...]]] = {
    "system": ("gen_ai.system", "llm.system"),
    "kind": (
        "weave.span.kind",
        "traceloop.span.kind",
        "openinference.span.kind",
        "langfuse.observation.type",
        "mlflow.spanType",
        "gen_ai.operation.name",
    ),
    MODEL: (
        "gen_ai.response.model",
        "llm.model_name",
        "ai.model.id",
        "langfuse.observation.model.name",
        "mlflow.llm.model",
        "embedding.model_name",
        "reranker.model_name",
        "gen_ai.request.model",
    ),
    "provider": (
        "llm.provider",
        "ai.model.provider",
        "gen_ai.provider.name",
        "mlflow.llm.provider",
    ),
    MODEL_PARAMETERS: (
        "gen_ai.request",
        "llm.invocation_parameters",
        "langfuse.observation.model.parameters",
    ),
    "agent": ("gen_ai.agent.name", "agent.name", "agent_name"),
    "tool": ("gen_ai.tool.name", "tool.name", "ai.toolCall.name"),
}
"""What stands beside `otel_span` in a call's attributes, by its name there."""

COUNTS: Final[dict[str, tuple[str, ...]]] = {
    "prompt_tokens": (
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "ai.usage.promptTokens",
        "langfuse.observation.usage_details.prompt_tokens",
    ),
    "completion_tokens": (
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "ai.usage.completionTokens",
        "langfuse.observation.usage_details.completion_tokens",
    ),
    "input_tokens": (
        "gen_ai.usage.input_tokens",
        "ai.usage.inputTokens",
        "langfuse.observation.usage_details.input",
        "langfuse.observation.usage_details.input_tokens",
        "mlflow.chat.tokenUsage.input_tokens",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens",
        "ai.usage.outputTokens",
        "langfuse.observation.usage_details.output",
        "langfuse.observation.usage_details.output_tokens",
        "mlflow.chat.tokenUsage.output_tokens",
    ),
    "total_tokens": (
        "llm.usage.total_tokens",
        "llm.token_count.total",
        "gen_ai.usage.total_tokens",
        "ai.usage.totalTokens",
        "ai.usage.tokens",
        "langfuse.observation.usage_details.total",
        "langfuse.observation.usage_details.total_tokens",
        "mlflow.chat.tokenUsage.total_tokens",
    ),
}
"""What a call used of its model, by the name of the count."""

ROLES: Final[dict[str, tuple[str, ...]]] = {
    INPUTS: (
        "ai.prompt",
        "gen_ai.prompt",
        "input.value",
        "mlflow.spanInputs",
        "traceloop.entity.input",
        "gcp.vertex.agent.tool_call_args",
        "gcp.vertex.agent.llm_request",
        "langfuse.observation.input",
        "langfuse.trace.input",
        "gen_ai.input.messages",
        "gen_ai.tool.call.arguments",
        "gen_ai.retrieval.query.text",
        "ai.toolCall.args",
        "ai.toolCall.input",
        "ai.value",
        "ai.values",
        "llm.input_messages",
        "llm.prompts",
        "tool.parameters",
        "embedding.embeddings",
        "reranker.query",
        "input",
        "inputs",
    ),
    OUTPUT: (
        "ai.response",
        "gen_ai.completion",
        "output.value",
        "mlflow.spanOutputs",
        "gen_ai.content.completion",
        "traceloop.entity.output",
        "gcp.vertex.agent.tool_response",
        "gcp.vertex.agent.llm_response",
        "langfuse.observation.output",
        "langfuse.trace.output",
        "gen_ai.output.messages",
        "gen_ai.tool.call.result",
        "gen_ai.retrieval.documents",
        "ai.toolCall.result",
        "ai.toolCall.output",
        "ai.embedding",
        "ai.embeddings",
        "llm.output_messages",
        "llm.completions",
        "retrieval.documents",
        "reranker.output_documents",
        "output",
        "outputs",
    ),
    SYSTEM_INSTRUCTIONS: ("gen_ai.system_instructions",),
    TOOL_DEFINITIONS: ("gen_ai.tool.definitions",),
    THREAD: ("gcp.vertex.agent.session_id", "wandb.thread_id"),
    TURN: ("gcp.vertex.agent.session_id", "wandb.is_turn"),
    CONVERSATION: (
        "gen_ai.conversation.id",
        "session.id",
        "langfuse.session.id",
        "traceloop.association.properties.session_id",
        "mlflow.trace.session",
        "ai.telemetry.metadata.sessionId",
    ),
    OPERATION: ("ai.operationId", "gen_ai.operation.name"),
    DISPLAY_NAME: ("wandb.display_name",),
    START_TIME: ("langfuse.startTime",),
    END_TIME: ("langfuse.endTime",),
    LEVEL: ("langfuse.observation.level",),
    LEVEL_MESSAGE: ("langfuse.observation.status_message",),
    **NOTED,
    **COUNTS,
}
"""The keys of every role, the first first."""

SUMMING_PREFIX: Final = "ai."
SPEAKING_MARK: Final = ".do"
"""Vercel's operations report what those inside them do, which are called after them: `ai.generateText.doGenerate`."""

AGENT_OPERATIONS: Final = frozenset({"invoke_agent", "invoke_workflow"})
"""Operations that report what the models inside them use, unless they are those of another program."""

UNNESTED: Final = frozenset({"input", "inputs", "output", "outputs"})
"""Keys that say nothing beyond the role, so that their value stands for itself."""

INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

BESIDE_INPUT_MESSAGES: Final = (SYSTEM_INSTRUCTIONS, TOOL_DEFINITIONS)
"""What a model was given beside messages, and says nothing without them."""

JSON_PREFIXES: Final = ("mlflow.",)
"""Where every string is JSON, one in quotes, too."""

EVENT_INPUTS: Final = {
    "gen_ai.content.prompt": "gen_ai.prompt",
    "gen_ai.client.inference.operation.details": INPUT_MESSAGES,
}
EVENT_OUTPUTS: Final = {
    "gen_ai.content.completion": "gen_ai.completion",
    "gen_ai.client.inference.operation.details": OUTPUT_MESSAGES,
}
"""Events an attribute of which is what went in or came out, where the span's own attributes do not say it."""

INPUT_MESSAGE_EVENTS: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
OUTPUT_MESSAGE_EVENTS: Final = {"gen_ai.choice": "assistant"}
"""Events that are one message each, with the role of who speaks where they do not say it."""
