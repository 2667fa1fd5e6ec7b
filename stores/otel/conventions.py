"""Attribute conventions of LLM instrumentation, as tables from roles to keys.

The first key of a role with a value applies. A key names a value, a prefix of several keys (`gen_ai.prompt` of
`gen_ai.prompt.0.role`), or a path inside a JSON value.

The order is that of Weave's trace server. Keys it does not know follow its own, before generic ones (`input`,
`output`). Their sources:

- OpenTelemetry's GenAI conventions: https://github.com/open-telemetry/semantic-conventions-genai
- OpenInference: https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
- OpenLLMetry: https://www.traceloop.com/docs/openllmetry/contributing/semantic-conventions
- Vercel's AI SDK: https://ai-sdk.dev/docs/ai-sdk-core/telemetry
- Langfuse: https://langfuse.com/integrations/native/opentelemetry
- MLflow: https://mlflow.org/docs/latest/genai/tracing
- Sentry, and OpenRouter's broadcast: https://getsentry.github.io/relay/relay_conventions/attributes/
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
"""Attributes of the call besides `otel_span`, by their names there."""

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
"""Usage counts of the call's model, by name."""

_DETAILS: Final = "gen_ai.usage.details"
_VERCEL_METADATA: Final = "ai.response.providerMetadata"

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "cache_read": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.cache_read_tokens",
        "gen_ai.usage.input_cached_tokens",
        "llm.token_count.prompt_details.cache_read",
        "llm.token_count.prompt_details.cache_input",
        "ai.usage.inputTokenDetails.cacheReadTokens",
        "ai.usage.cachedInputTokens",
        f"{_DETAILS}.cache_read_tokens",
        f"{_DETAILS}.cached_tokens",
        f"{_DETAILS}.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached",
        f"{_VERCEL_METADATA}.anthropic.cacheReadInputTokens",
        f"{_VERCEL_METADATA}.bedrock.usage.cacheReadInputTokens",
        f"{_VERCEL_METADATA}.openai.cachedPromptTokens",
        "mlflow.chat.tokenUsage.cache_read_input_tokens",
    ),
    "cache_read_audio": (
        "gen_ai.usage.audio.cache_read.input_tokens",
        f"{_DETAILS}.cache_audio_read_tokens",
    ),
    "cache_read_image": ("gen_ai.usage.image.cache_read.input_tokens",),
    "cache_write": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
        "gen_ai.usage.cache_write_tokens",
        "llm.token_count.prompt_details.cache_write",
        "ai.usage.inputTokenDetails.cacheWriteTokens",
        f"{_VERCEL_METADATA}.anthropic.cacheCreationInputTokens",
        f"{_VERCEL_METADATA}.bedrock.usage.cacheWriteInputTokens",
        f"{_DETAILS}.cache_write_tokens",
        f"{_DETAILS}.cache_creation_input_tokens",
        "gen_ai.usage.input_tokens.cache_write",
        "mlflow.chat.tokenUsage.cache_creation_input_tokens",
    ),
    "cache_write_1h": (
        f"{_DETAILS}.ephemeral_1h_input_tokens",
        f"{_VERCEL_METADATA}.anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
    ),
    "input_uncached": ("ai.usage.inputTokenDetails.noCacheTokens",),
    "audio_input": (
        "gen_ai.usage.audio.input_tokens",
        "gen_ai.usage.input_audio_tokens",
        "llm.token_count.prompt_details.audio",
        f"{_DETAILS}.input_audio_tokens",
    ),
    "image_input": ("gen_ai.usage.image.input_tokens", "llm.token_count.prompt_details.image"),
    "reasoning": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "llm.usage.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
        "ai.usage.outputTokenDetails.reasoningTokens",
        "ai.usage.reasoningTokens",
        f"{_DETAILS}.reasoning_tokens",
        f"{_DETAILS}.thoughts_tokens",
        "gen_ai.usage.output_tokens.reasoning",
        f"{_VERCEL_METADATA}.openai.reasoningTokens",
    ),
    "audio_output": (
        "gen_ai.usage.audio.output_tokens",
        "gen_ai.usage.output_audio_tokens",
        "llm.token_count.completion_details.audio",
        f"{_DETAILS}.output_audio_tokens",
    ),
    "image_output": ("gen_ai.usage.image.output_tokens", "llm.token_count.completion_details.image"),
    "web_searches": (
        f"{_DETAILS}.web_search_requests",
        f"{_VERCEL_METADATA}.anthropic.usage.server_tool_use.web_search_requests",
    ),
}
"""Parts of those counts, by their names in `stores.usage.rules`."""

LANGFUSE_USAGE: Final = "langfuse_usage"
LANGFUSE_COST: Final = "langfuse_cost"
COST: Final = "cost"
COST_PARTS: Final = ("cost_of_input", "cost_of_output")

OTHER_USAGE: Final[dict[str, tuple[str, ...]]] = {
    LANGFUSE_USAGE: ("langfuse.observation.usage_details",),
    LANGFUSE_COST: ("langfuse.observation.cost_details",),
    COST: (
        "llm.cost.total",
        "gen_ai.usage.cost",
        "gen_ai.usage.total_cost",
        "gen_ai.cost.total_cost",
        "operation.cost",
    ),
    COST_PARTS[0]: ("llm.cost.prompt", "gen_ai.cost.input_cost"),
    COST_PARTS[1]: ("llm.cost.completion", "gen_ai.cost.output_cost"),
}
"""Langfuse's whole usage object, and costs in US dollars that the sender states."""

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
    **PARTS,
    **OTHER_USAGE,
}
"""Keys of every role, in order of precedence."""

SUMMING_PREFIX: Final = "ai."
SPEAKING_MARK: Final = ".do"
"""Vercel's operations report the usage of their inner operations, which have names such as
`ai.generateText.doGenerate`.
"""

GATEWAY: Final = "gateway"
"""Provider name in Vercel's AI SDK for models behind Vercel's gateway."""

AGENT_OPERATIONS: Final = frozenset({"invoke_agent", "invoke_workflow"})
"""Operations that report the usage of the models they call, unless those run in another program."""

UNNESTED: Final = frozenset({"input", "inputs", "output", "outputs"})
"""Keys without meaning beyond the role, so the value is stored without the key."""

INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

SENT_WITH_INPUT_MESSAGES: Final = (SYSTEM_INSTRUCTIONS, TOOL_DEFINITIONS)
"""Inputs of a model besides messages, ignored if there are no messages."""

JSON_PREFIXES: Final = ("mlflow.",)
"""Prefixes of keys whose string values are all JSON, including quoted strings."""

EVENT_INPUTS: Final = {
    "gen_ai.content.prompt": "gen_ai.prompt",
    "gen_ai.client.inference.operation.details": INPUT_MESSAGES,
}
EVENT_OUTPUTS: Final = {
    "gen_ai.content.completion": "gen_ai.completion",
    "gen_ai.client.inference.operation.details": OUTPUT_MESSAGES,
}
"""Events with an attribute for input or output, used if the span's own attributes have none."""

INPUT_MESSAGE_EVENTS: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
OUTPUT_MESSAGE_EVENTS: Final = {"gen_ai.choice": "assistant"}
"""Events that are one message each, with the default role."""
