"""The reading that each recording must have: what the program asked, what the provider answered, who asked.

It follows from the programs and from the documented meaning of each sender's attributes, never from LoomQL's answer.
The recorder writes it into the recording, by the name of the span or op; `NAME#2` is the second of that name by start.

A message is a list: its role and its parts. A part is a text, or an object with one of the keys `reasoning`, `image`,
`audio`, `refusal`, `toolCall` and `toolResult`.
"""

from typing import Any, Final

from tests.recorded.programs import conversation as said

Reading = dict[str, Any]
Message = list[Any]

_SYSTEM: Final = ["system", said.SYSTEM]
_USAGE: Final = {"input": said.INPUT_TOKENS, "output": said.OUTPUT_TOKENS}

_QUESTIONS: Final = {
    "structured": said.FABRIC_QUESTION,
    "choices": said.LOOM_QUESTION,
    "refusal": said.SECRET_QUESTION,
    "reasoning": said.REASONING_QUESTION,
    "tool": said.WEATHER_QUESTION,
    "image": said.PICTURE_QUESTION,
}
"""Questions by a word in the case; any other case asks `QUESTION`."""

_IDENTITY: Final[Reading] = {"userId": said.USER_ID, "threadId": said.SESSION_ID, "tags": said.TAGS}
_NOBODY: Final[Reading] = {"userId": None, "threadId": None, "tags": None}

_IDENTITIES: Final[dict[str, Reading]] = {
    "openinference": _IDENTITY,
    "openllmetry": {**_IDENTITY, "tags": None},
    "openllmetry-old": {**_IDENTITY, "tags": None},
    "langfuse": {**_IDENTITY, "environment": "staging", "release": "v1.2.3"},
    "langsmith": _IDENTITY,
    "vercel": _IDENTITY,
    "vercel4": _IDENTITY,
    "weave": _IDENTITY,
}
"""User, session and tags by sender; the others have no way to state them, or state them in the root span alone."""

_MODELS: Final = {
    "openai": (said.OPENAI_ANSWERS_AS, "openai"),
    "anthropic": (said.ANTHROPIC_MODEL, "anthropic"),
    "gemini": (said.GEMINI_MODEL, "gcp.gen_ai"),
    "bedrock": (said.BEDROCK_MODEL, "aws.bedrock"),
    "cohere": (said.COHERE_MODEL, "cohere"),
    "mistral": (said.MISTRAL_MODEL, "mistral_ai"),
}
"""Model and provider by the API that a library calls; providers have their names in OpenTelemetry's conventions."""

_APIS: Final = {
    **dict.fromkeys(("litellm", "langchain", "llamaindex", "ai", "smolagents", "agents", "pydantic_ai"), "openai"),
    "adk": "gemini",
}
"""The API behind a library; the others are named after it."""

_REASONS: Final = {
    "openai": ("stop", "tool_calls"),
    "anthropic": ("end_turn", "tool_use"),
    "gemini": ("STOP", "STOP"),
    "bedrock": ("end_turn", "tool_use"),
    "cohere": ("COMPLETE", "TOOL_CALL"),
    "mistral": ("stop", "tool_calls"),
}
"""Finish reasons of a text and of a tool call by API."""


def expected_of(sender: str, library: str, case: str) -> dict[str, Reading]:
    """Return the readings of a recording by the name of the span or op."""
    others = {
        name: {"kind": kind, **_IDENTITIES.get(sender, _NOBODY)}
        for name, kind in _OTHER_SPANS.get((sender, library, case), {}).items()
    }
    names = _SPANS.get(sender, {}).get(library, {})
    name = names.get(case, names.get(""))
    if name is None or case == "retrieval":
        return others
    api = _APIS.get(library, library)
    if (library, case) in {("pydantic_ai", "reasoning"), ("ai", "reasoning")}:
        api = "anthropic"
    readings = _model_calls(api, case)
    return others | {
        f"{name}#{number}" if number > 1 else name: {
            **reading,
            **_IDENTITIES.get(sender, _NOBODY),
            **_PARTICULARS.get((sender, library, case, number), _PARTICULARS.get((sender, library, case), {})),
        }
        for number, reading in enumerate(readings, 1)
    }


def _model_calls(api: str, case: str) -> list[Reading]:
    """Return what a client of the API asked and received, one reading for each request of a case."""
    model, provider = _MODELS[api]
    if case == "embeddings":
        usage = {"input": said.INPUT_TOKENS, "output": 0}
        return [{"kind": "EMBEDDING", "model": said.EMBEDDING_MODEL, "provider": provider, "usage": usage}]
    asked = [_SYSTEM, ["user", *_question(api, case)]]
    common = {"kind": "LLM", "model": model, "provider": provider}
    if case.startswith("error"):
        failing = said.LIMITED_MODEL if case == "error-limited" else said.BROKEN_MODEL
        type_ = "RateLimitError" if case == "error-limited" else "InternalServerError"
        return [{**common, "model": failing, "errorType": type_, "messages": asked, "outputMessages": []}]
    answered = {**common, "errorType": None, "usage": _USAGE}
    text_reason, tool_reason = _REASONS[api]
    if case.startswith("responses"):
        text_reason, tool_reason = "completed", "completed"
    if "tool" not in case and case not in {"agent", "agent-chat"}:
        texts = [["assistant", *parts] for parts in _answers(api, case)]
        return [{**answered, "messages": asked, "outputMessages": texts, "finishReasons": [text_reason] * len(texts)}]
    id_ = None if api == "gemini" else said.CALL_ID
    call = {"toolCall": {"id": id_, "name": said.TOOL_NAME, "arguments": said.TOOL_ARGUMENTS}}
    called = ["assistant", call]
    first = {**answered, "messages": asked, "outputMessages": [called], "finishReasons": [tool_reason]}
    if case == "tool-stream":
        return [first]
    result = {"result": said.TOOL_RESULT} if api == "gemini" else said.TOOL_RESULT
    role = "user" if api in {"anthropic", "bedrock", "gemini"} else "tool"
    returned = [role, {"toolResult": {"id": id_, "result": result}}]
    second = {
        **answered,
        "messages": [*asked, called, returned],
        "outputMessages": [["assistant", said.ANSWER_WITH_TOOL.text]],
        "finishReasons": [text_reason],
    }
    return [first, second]


def _question(api: str, case: str) -> list[Any]:
    words = "tool" if case.startswith("agent") else case
    text = next((question for word, question in _QUESTIONS.items() if word in words), said.QUESTION)
    if "image" in case:
        picture = {"image": said.REMOTE_URL if case == "image-url" else said.PIXEL_URL}
        return [picture, text] if api in {"anthropic", "gemini"} else [text, picture]
    if case == "audio":
        return [text, {"audio": "wav"}]
    return [text]


def _answers(api: str, case: str) -> list[list[Any]]:
    """Return the parts of each choice."""
    text = _question(api, case)
    answer = said.ANSWERS[next(part for part in text if isinstance(part, str))]
    if answer.refusal:
        return [[{"refusal": answer.refusal}]]
    if case == "choices":
        return [[answer.text], [said.SECOND_LOOM]]
    return [[{"reasoning": answer.reasoning}, answer.text] if answer.reasoning else [answer.text]]


_RESPONSES: Final = ("responses", "responses-stream", "responses-tools", "responses-image", "responses-reasoning")
_WEAVE_OPENAI: Final = {
    "": "openai.chat.completions.create",
    "embeddings": "openai.embeddings.create",
    **dict.fromkeys(_RESPONSES, "openai.responses.create"),
}
_OFFICIAL: Final = {
    "openai": {
        "": "chat gpt-4o-mini",
        "embeddings": "embeddings text-embedding-3-small",
        "error-limited": "chat gpt-limited",
    },
    "gemini": {"": "generate_content gemini-2.5-flash"},
}

_SPANS: Final[dict[str, dict[str, dict[str, str]]]] = {
    "openinference": {
        "openai": {
            "": "ChatCompletion",
            "embeddings": "CreateEmbeddings",
            **dict.fromkeys(_RESPONSES, "Response"),
        },
        "anthropic": {"": "messages.create"},
        "gemini": {"": "GenerateContent", "stream": "GenerateContentStream"},
        "bedrock": {"": "bedrock.converse"},
        "mistral": {"": "MistralClient.chat"},
        "litellm": {"": "completion"},
        "langchain": {"": "ChatOpenAI"},
        "llamaindex": {"": "OpenAI.chat", "stream": "OpenAI.stream_chat"},
        "smolagents": {"": "OpenAIModel.generate"},
        "agents": {"agent": "response", "agent-chat": "generation"},
    },
    "openllmetry": {
        "openai": {
            "": "openai.chat",
            "embeddings": "openai.embeddings",
            **dict.fromkeys(_RESPONSES, "openai.response"),
        },
        "anthropic": {"": "anthropic.chat"},
        "gemini": {"": "generate_content gemini-2.5-flash"},
        "bedrock": {"": "chat claude-3-5-haiku-20241022-v1:0"},
        "cohere": {"": "cohere.chat"},
        "mistral": {"": "mistralai.chat"},
        "langchain": {"": "ChatOpenAI.chat"},
        "llamaindex": {"": "OpenAI.chat"},
    },
    "openllmetry-old": {
        "openai": {"": "openai.chat"},
        "anthropic": {"": "anthropic.chat"},
        "bedrock": {"": "bedrock.converse"},
        "cohere": {"": "cohere.chat"},
    },
    "official": _OFFICIAL,
    "official-latest": _OFFICIAL,
    "langfuse": {
        "openai": {"": "OpenAI-generation", "embeddings": "OpenAI-embedding"},
        "langchain": {"": "ChatOpenAI"},
    },
    "mlflow": {
        "openai": {"": "Completions", "responses": "Responses"},
        "anthropic": {"": "Messages.create"},
        "langchain": {"": "ChatOpenAI"},
    },
    "logfire": {
        "pydantic_ai": {"": "chat gpt-4o-mini", "reasoning": "chat claude-sonnet-4-5-20250929"},
        "openai": {"": "Chat Completion with {request_data[model]!r}"},
        "agents": {"": "Responses API with {gen_ai.request.model!r}"},
    },
    "langsmith": {"langchain": {"": "ChatOpenAI"}},
    "adk": {"adk": {"": "generate_content gemini-2.5-flash"}},
    "weave": {
        "openai": _WEAVE_OPENAI,
        "anthropic": {"": "anthropic.Messages.create"},
        "gemini": {"": "google.genai.models.Models.generate_content"},
        "bedrock": {"": "BedrockRuntime.converse"},
        "cohere": {"": "cohere.ClientV2.chat"},
        "mistral": {"": "mistralai.chat.complete"},
        "litellm": {"": "litellm.completion"},
        "langchain": {"": "langchain.Llm.ChatOpenAI"},
    },
    "vercel": {
        "ai": {
            "": "ai.generateText.doGenerate",
            "stream": "ai.streamText.doStream",
            "structured": "ai.generateObject.doGenerate",
            "embeddings": "ai.embed.doEmbed",
        }
    },
    "vercel4": {"ai": {"": "ai.generateText.doGenerate", "stream": "ai.streamText.doStream"}},
}
"""Names of the spans of model calls, by sender, library and case; `""` stands for the other cases."""

_OTHER_SPANS: Final[dict[tuple[str, str, str], dict[str, str | None]]] = {
    ("openinference", "langchain", "retrieval"): {"Shelf": "RETRIEVER"},
    ("openinference", "langchain", "tools"): {"get_temperature": "TOOL"},
    ("openinference", "langchain", "chain"): {"RunnableSequence": "CHAIN", "ChatPromptTemplate": "PROMPT"},
    ("openinference", "llamaindex", "retrieval"): {"VectorIndexRetriever.retrieve": "RETRIEVER"},
    ("openinference", "agents", "agent"): {"get_temperature": "TOOL", "weather": "AGENT"},
    ("openllmetry", "langchain", "tools"): {"execute_tool get_temperature": "TOOL"},
    ("logfire", "pydantic_ai", "agent"): {"execute_tool get_temperature": "TOOL", "invoke_agent weaver": "AGENT"},
    ("weave", "weave_op", "agent"): {"answer": "AGENT", "get_temperature": "TOOL"},
    ("weave", "weave_op", "error-op"): {"fails": None},
    ("weave", "weave_op", "retrieval"): {"retrieve": None},
    ("weave", "langchain", "tools"): {"langchain.Tool.get_temperature": "TOOL"},
    ("vercel", "ai", "tools"): {"ai.toolCall": "TOOL"},
    ("vercel4", "ai", "tools"): {"ai.toolCall": "TOOL"},
}
"""Kinds of further spans, whose messages no rule of this table states."""

_PARTICULARS: Final[dict[tuple[Any, ...], Reading]] = {}
"""What a sender does not send of a case, or sends otherwise, by sender, library, case and number of the call."""
