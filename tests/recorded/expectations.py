"""The reading that each recording must have: what the program asked, what the provider answered, who asked.

It follows from the programs and from the documented meaning of each sender's attributes, never from LoomQL's answer.
The recorder writes it into the recording, by the name of the span or op; `NAME#2` is the second of that name by start.

Tags are in alphabetic order, since LangSmith sends them in any. A message is a list: its role and its parts. A part is
a text, or an object with one of the keys `reasoning`, `image`, `audio`, `file`, `refusal`, `toolCall` and `toolResult`.
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

_IDENTITY: Final[Reading] = {"userId": said.USER_ID, "threadId": said.SESSION_ID, "tags": sorted(said.TAGS)}
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
    named = others | {
        f"{name}#{number}" if number > 1 else name: {
            **reading,
            **_IDENTITIES.get(sender, _NOBODY),
            **_particulars(sender, library, case, number),
        }
        for number, reading in enumerate(readings, 1)
    }
    return {
        name: {column: value for column, value in reading.items() if value is not ...}
        for name, reading in named.items()
    }


def _particulars(*path: object) -> Reading:
    found: Reading = {}
    for length in range(1, len(path) + 1):
        found |= _PARTICULARS.get(path[:length], {})
    return found


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
    if case == "documents":
        asked.insert(1, ["system", {"file": "Weft"}, said.DOCUMENTS[0], {"file": None}, said.DOCUMENTS[1]])
    if case == "titan":
        common["model"], asked = said.TITAN_MODEL, asked[1:]
    answered = {**common, "errorType": None, "usage": _USAGE}
    text_reasons: list[str] | None
    tool_reasons: list[str] | None
    text_reasons, tool_reasons = ["stop"], ["stop" if api == "gemini" else "tool_calls"]
    if case.startswith("responses"):  # they have a status instead
        text_reasons = tool_reasons = None
    if "tool" not in case and case not in {"agent", "agent-chat"}:
        texts = [["assistant", *parts] for parts in _answers(api, case)]
        return [{**answered, "messages": asked, "outputMessages": texts, "finishReasons": text_reasons}]
    id_ = None if api == "gemini" else said.CALL_ID
    call = {"toolCall": {"id": id_, "name": said.TOOL_NAME, "arguments": said.TOOL_ARGUMENTS}}
    called = ["assistant", *(["I will look up the temperature."] if api == "cohere" else []), call]
    first = {**answered, "messages": asked, "outputMessages": [called], "finishReasons": tool_reasons}
    if case == "tool-stream":
        return [first]
    result = {"result": said.TOOL_RESULT} if api == "gemini" else said.TOOL_RESULT
    returned = ["tool", {"toolResult": {"id": id_, "result": result}}]
    second = {
        **answered,
        "messages": [*asked, called, returned],
        "outputMessages": [["assistant", said.ANSWER_WITH_TOOL.text]],
        "finishReasons": text_reasons,
    }
    return [first, second]


def _question(api: str, case: str) -> list[Any]:
    words = "tool" if case.startswith("agent") else case
    text = next((question for word, question in _QUESTIONS.items() if word in words), said.QUESTION)
    if "image" in case:
        picture = {"image": said.REMOTE_URL if case == "image-url" else said.PIXEL_URL}
        return [picture, text] if api in {"anthropic", "gemini"} else [text, picture]
    if case == "guardrail":
        return [said.DOCUMENTS[0], text]
    if case == "audio":
        return [text, {"audio": "audio/wav"}]
    return [text]


def _answers(api: str, case: str) -> list[list[Any]]:
    """Return the parts of each choice."""
    text = _question(api, case)
    answer = said.ANSWERS[next(part for part in text if isinstance(part, str) and part in said.ANSWERS)]
    if answer.refusal:
        return [[{"refusal": answer.refusal}]]
    if case == "choices":
        return [[answer.text], [said.SECOND_LOOM]]
    return [[{"reasoning": answer.reasoning}, answer.text] if answer.reasoning else [answer.text]]


_RESPONSES: Final = ("responses", "responses-stream", "responses-tools", "responses-image", "responses-reasoning")


def _of_openai(chat: str, embeddings: str, response: str) -> dict[str, str]:
    """Return the names of the spans of OpenAI's three APIs, by case."""
    return {"": chat, "embeddings": embeddings, **dict.fromkeys(_RESPONSES, response)}


_OFFICIAL: Final = {
    "openai": {
        "": "chat gpt-4o-mini",
        "embeddings": "embeddings text-embedding-3-small",
        "error-limited": "chat gpt-limited",
    },
}

_SPANS: Final[dict[str, dict[str, dict[str, str]]]] = {
    "openinference": {
        "openai": _of_openai("ChatCompletion", "CreateEmbeddings", "Response"),
        "anthropic": {"": "messages.create"},
        "gemini": {"": "GenerateContent", "stream": "GenerateContentStream"},
        "bedrock": {"": "bedrock.converse", "titan": "bedrock.invoke_model"},
        "mistral": {"": "MistralClient.chat"},
        "litellm": {"": "completion"},
        "langchain": {"": "ChatOpenAI"},
        "llamaindex": {"": "OpenAI.chat", "stream": "OpenAI.stream_chat"},
        "smolagents": {"": "OpenAIModel.generate"},
        "agents": {"agent": "response", "agent-chat": "generation"},
    },
    "openllmetry": {
        "openai": _of_openai("openai.chat", "openai.embeddings", "openai.response"),
        "anthropic": {"": "anthropic.chat"},
        "gemini": {"": "generate_content gemini-2.5-flash"},
        "bedrock": {"": "chat claude-3-5-haiku-20241022-v1:0"},
        "cohere": {"": "cohere.chat"},
        "mistral": {"": "mistralai.chat"},
        "langchain": {"": "ChatOpenAI.chat"},
        "llamaindex": {"": "openai.chat"},
    },
    "openllmetry-old": {
        "openai": {"": "openai.chat"},
        "anthropic": {"": "anthropic.chat"},
        "bedrock": {"": "bedrock.converse"},
    },
    "official": _OFFICIAL,
    "official-events": _OFFICIAL,
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
        "openai": _of_openai("openai.chat.completions.create", "openai.embeddings.create", "openai.responses.create"),
        "anthropic": {"": "anthropic.Messages.create"},
        "gemini": {
            "": "google.genai.models.Models.generate_content",
            "stream": "google.genai.models.Models.generate_content_stream",
        },
        "bedrock": {"": "BedrockRuntime.converse", "titan": "BedrockRuntime.invoke"},
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
    ("weave", "weave_op", "agent"): {"answer": "AGENT", "get_temperature": "TOOL"},
    ("weave", "weave_op", "error-op"): {"fails": None},
    ("weave", "weave_op", "retrieval"): {"retrieve": None},
    ("weave", "langchain", "tools"): {"langchain.Tool.get_temperature": "TOOL"},
    ("vercel", "ai", "tools"): {"ai.toolCall": "TOOL"},
}
"""Kinds of further spans, whose messages no rule of this table states."""

_REQUESTED: Final = {"model": said.OPENAI_MODEL}
_NO_REASON: Final = {"finishReasons": None}
_NO_USAGE: Final = {"usage": None}
_NO_CONTENT: Final[Reading] = {"messages": [], "outputMessages": []}
_UNPREFIXED: Final = {"model": said.BEDROCK_MODEL.removeprefix("anthropic.")}
_ITEM_CALL: Final = {"toolCall": {"id": "fc_1", "name": said.TOOL_NAME, "arguments": said.TOOL_ARGUMENTS}}
_WEATHER: Final = [_SYSTEM, ["user", said.WEATHER_QUESTION]]
_ADK_WEATHER: Final = [
    ["system", f'{said.SYSTEM}\n\nYou are an agent. Your internal name is "weather".'],
    ["user", said.WEATHER_QUESTION],
]
_ADK_CALL_ID: Final = f"{said.TOOL_NAME}_0"
_ADK_CALLED: Final = [
    "assistant",
    {"toolCall": {"id": _ADK_CALL_ID, "name": said.TOOL_NAME, "arguments": said.TOOL_ARGUMENTS}},
]

_PARTICULARS: Final[dict[tuple[object, ...], Reading]] = {
    # ADK adds to the instruction, and gives each call an id. It names Google's API as the convention does.
    ("adk",): {"provider": "gcp.gemini", "threadId": said.SESSION_ID},
    ("adk", "adk", "agent", 1): {"messages": _ADK_WEATHER, "outputMessages": [_ADK_CALLED]},
    ("adk", "adk", "agent", 2): {
        "messages": [
            *_ADK_WEATHER,
            _ADK_CALLED,
            ["tool", {"toolResult": {"id": _ADK_CALL_ID, "result": {"result": said.TOOL_RESULT}}}],
        ]
    },
    # Langfuse states no provider, no finish reason and no type of an error.
    ("langfuse",): {"provider": None, **_NO_REASON},
    ("langfuse", "openai", "error-limited"): {"errorType": None},
    ("langsmith", "langchain"): _REQUESTED,
    ("langsmith", "langchain", "agent"): {"tags": sorted([*said.TAGS, "seq:step:1"])},
    # Logfire's integration of OpenAI tags its spans. pydantic-ai gives each conversation a random id.
    ("logfire", "openai"): {"tags": ["LLM"]},
    ("logfire", "pydantic_ai"): {"threadId": ...},
    ("mlflow", "openai"): {"provider": None},
    ("mlflow", "langchain"): {**_REQUESTED, **_NO_REASON},
    ("mlflow", "openai", "image-data"): {"messages": ...},  # it sends the picture elsewhere
    # The official instrumentation records no content in its stable form.
    ("official", "openai"): _NO_CONTENT,
    ("official", "openai", "stream"): _NO_REASON,
    ("openinference", "agents", "agent-chat"): {**_REQUESTED, **_NO_REASON},
    ("openinference", "agents", "agent"): {"finishReasons": ["stop"]},  # even for a tool call
    ("openinference", "langchain", "image-data"): {"messages": [["user", *_question("openai", "image-data")]]},
    ("openinference", "bedrock", "titan"): {"messages": []},  # it has the question among the parameters alone
    ("openinference", "langchain", "stream"): _REQUESTED,
    ("openinference", "litellm"): {"model": f"openai/{said.OPENAI_MODEL}"},
    ("openinference", "llamaindex"): _REQUESTED,
    ("openinference", "llamaindex", "stream"): _NO_USAGE,
    # smolagents asks with a long prompt of its own, and the stand-in answers each question with a call.
    ("openinference", "smolagents"): {**_REQUESTED, **_NO_REASON, "messages": ...},
    ("openinference", "smolagents", "agent", 2): {"outputMessages": ...},
    ("openllmetry-old", "bedrock"): {**_UNPREFIXED, "provider": "anthropic", **_NO_REASON},
    ("openllmetry-old", "openai", "stream"): _NO_USAGE,
    # OpenLLMetry uploads pictures instead, and drops the messages if it cannot.
    ("openllmetry", "openai", "image-data"): {"messages": []},
    ("openllmetry", "anthropic", "image-data"): {"messages": []},
    # It adds the output tokens of the first event to those of the last.
    ("openllmetry", "anthropic", "stream"): {"usage": {**_USAGE, "output": said.OUTPUT_TOKENS + 1}},
    ("openllmetry", "bedrock"): _UNPREFIXED,
    # It drops the tool calls of requests to Cohere, and most messages of Mistral.
    ("openllmetry", "cohere", "tools", 2): {
        "messages": [*_WEATHER, ["assistant"], ["tool", {"toolResult": {"id": None, "result": said.TOOL_RESULT}}]]
    },
    ("openllmetry", "mistral"): {"messages": [["user"]]},
    ("openllmetry", "mistral", "tools", 1): {"outputMessages": [["assistant"]]},
    ("openllmetry", "gemini", "image-data"): {
        "messages": [_SYSTEM, ["user", {"image": said.PIXEL_URL}], ["user", said.PICTURE_QUESTION]]
    },
    ("openllmetry", "gemini", "stream"): {"outputMessages": [["assistant", "the warp."]]},  # the last chunk alone
    # It states a reason for responses, as Vercel's SDK does, and takes the id of the item for that of the call.
    ("openllmetry", "openai", "responses"): {"finishReasons": ["stop"]},
    ("vercel", "ai", "responses"): {"finishReasons": ["stop"]},
    ("openllmetry", "openai", "responses-tools", 1): {
        "outputMessages": [["assistant", _ITEM_CALL]],
        "finishReasons": ["tool_calls"],
    },
    ("openllmetry", "openai", "responses-tools", 2): {
        "messages": [
            *_WEATHER,
            ["assistant", _ITEM_CALL],
            ["tool", {"toolResult": {"id": said.CALL_ID, "result": said.TOOL_RESULT}}],
        ],
        "finishReasons": ["stop"],
    },
    ("vercel", "ai", "error-limited"): {"errorType": "AI_APICallError"},
    ("vercel4", "ai", "stream"): _NO_USAGE,  # NaN, because the provider was not asked for it
    ("weave", "cohere"): _NO_USAGE,
    ("weave", "gemini", "stream"): _NO_REASON,  # it keeps that of the first chunk, which has none
    # Weave's integrations of these two do not state which provider they call.
    ("weave", "langchain"): {"provider": None},
    ("weave", "litellm"): {"provider": None},
}
"""What a sender does not send or sends otherwise: by sender, or sender and library, and so on to the call's number.

`...` stands for a value that the program does not decide, which is not compared.
"""
