"""Messages of calls in one shape: from provider payloads, tracing clients, and OpenTelemetry's conventions.

The senders share most forms, so the rules recognise structure, not senders: a message by its role or content, a request
by its messages, a response by its choices. Spans keep all attributes, of which the ones that structure messages best
are read. What no rule recognises becomes one message with its JSON as text, so no text is lost.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from stores.json import AnyJson, codec
from stores.senders.attributes import ROLES, UNNESTED, indexed_list
from stores.senders.message_parts import (
    MAX_LEVELS,
    REASONING,
    REFUSAL,
    TOOL_CALL,
    TOOL_RESULT,
    Part,
    decoded,
    decoded_container,
    document_parts,
    first,
    first_text,
    is_typed_part,
    json_part,
    known_parts,
    parts_of,
    text_part,
    tool_calls,
    tool_result,
)
from stores.senders.stream_assembly import assembled

Message = dict[str, Any]
"""A message: `role`, `name`, `parts` and `finish_reason`."""

SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
INSTRUCTIONS: Final = frozenset({SYSTEM, "developer"})
"""Roles of the application, whose messages are no turns of a conversation."""

_ROLES: Final = {
    **{role: role for role in (SYSTEM, USER, ASSISTANT, TOOL, "developer")},
    **dict.fromkeys(("human", "humanmessage", "humanmessagechunk"), USER),
    **dict.fromkeys(("ai", "model", "chatbot", "aimessage", "aimessagechunk"), ASSISTANT),
    **dict.fromkeys(("systemmessage", "systemmessagechunk"), SYSTEM),
    **dict.fromkeys(("function", "toolmessage", "toolmessagechunk", "functionmessage"), TOOL),
}
"""Roles of all senders by their names in lower case; others are kept as sent."""

_MESSAGE_TYPES: Final = frozenset(_ROLES) - {"function", "model"} | {"chat"}
"""Types of LangChain's messages, which have no role. `function` is a tool in OpenAI's requests."""


def input_messages(attributes: AnyJson, inputs: AnyJson) -> list[Message]:
    """Return the messages of a call's inputs; `attributes` are the call's, with the span that it was, if any."""
    span = _span_attributes(attributes)
    if span and (found := _best(span, _SPAN_INPUTS, USER)):
        return found if found[0]["role"] == SYSTEM else [*_system_messages(_span_system(span)), *found]
    arguments = _tool_payload(attributes, inputs, _TOOL_INPUTS)
    if arguments is not None:
        call = {"type": TOOL_CALL, "id": _tool_call_id(span), "name": _tool_name(attributes)}
        return [_message(ASSISTANT, [{**call, "arguments": decoded(arguments)}])]
    return _messages(inputs, USER)


def output_messages(attributes: AnyJson, output: AnyJson) -> list[Message]:
    """Return the messages of a call's output; `attributes` are the call's, with the span that it was, if any."""
    span = _span_attributes(attributes)
    found = _best(span, _SPAN_OUTPUTS, ASSISTANT) if span else []
    if not found:
        result = _tool_payload(attributes, output, _TOOL_OUTPUTS)
        if result is not None:
            return [_message(TOOL, [tool_result(_tool_call_id(span), result)])]
        found = _messages(output, ASSISTANT)
    if span and not any(message["finish_reason"] for message in found):
        reasons = _listed(_first_at(span, _FINISH_REASONS))
        for message, reason in zip(found, reasons, strict=False):
            message["finish_reason"] = _reason(reason)
    return found


def _messages(payload: AnyJson, role: str) -> list[Message]:
    """Return the messages of any payload; none if it is empty."""
    if payload is None or payload in ("", {}, []):
        return []
    return _payload(payload, role, 0) or [_message(role, [json_part(payload)])]


def _message(role: str, parts: list[Part], name: str | None = None, finish_reason: str | None = None) -> Message:
    if role == USER and parts and all(part["type"] == TOOL_RESULT for part in parts):
        role = TOOL  # Anthropic, Gemini and Bedrock send results in the user's name
    return {"role": role, "name": name, "parts": parts, "finish_reason": finish_reason}


# Spans

_SPAN_INPUTS: Final = (
    ("gen_ai.input.messages",),
    ("llm.input_messages", "input.value"),
    ("gen_ai.prompt",),
    ("ai.prompt",),
    ("raw_input",),  # Logfire, of OpenAI's agents
)
_SPAN_OUTPUTS: Final = (
    ("gen_ai.output.messages",),
    ("llm.output_messages", "output.value"),
    ("gen_ai.completion",),
    ("response",),
)
"""Attributes that structure messages better than the call's inputs and output, the best first.

Of those in one row, the one with more parts, ids and finish reasons applies, if the first is present. If it has no
instructions, those of the other precede it.
"""

_SPAN_SYSTEM: Final = "gen_ai.system_instructions"
_FINISH_REASONS: Final = ("gen_ai.response.finish_reasons", "ai.response.finishReason", "llm.finish_reason")


def _span_attributes(attributes: AnyJson) -> dict[str, Any]:
    span = attributes.get("otel_span") if isinstance(attributes, dict) else None
    found = span.get("attributes") if isinstance(span, dict) else None
    return found if isinstance(found, dict) else {}


def _span_system(span: dict[str, Any]) -> AnyJson:
    response = _at(span, "response")
    return _at(span, _SPAN_SYSTEM) or (response.get("instructions") if isinstance(response, dict) else None)


def _best(span: dict[str, Any], choices: Sequence[tuple[str, ...]], role: str) -> list[Message]:
    for keys in choices:
        values = [_at(span, key) for key in keys]
        if not values[0]:
            continue
        readings = [_payload(value, role, 0) or [] for value in values if value]
        best = max(readings, key=_richness)
        if best:
            instructions = [[each for each in reading if each["role"] in INSTRUCTIONS] for reading in (best, *readings)]
            return best if instructions[0] else [*max(instructions, key=len), *best]
    return []


def _richness(messages: list[Message]) -> tuple[int, int]:
    """Return the number of parts, then that of the ids and finish reasons."""
    parts = [part for message in messages for part in message["parts"]]
    ids = sum(bool(part.get("id")) for part in parts)
    return len(parts), ids + sum(bool(message["finish_reason"]) for message in messages)


def _first_at(span: dict[str, Any], keys: Iterable[str]) -> AnyJson:
    """Return the first value among some attributes that is not empty; None if there is none."""
    return next(filter(None, (_at(span, key) for key in keys)), None)


def _at(span: dict[str, Any], key: str) -> AnyJson:
    """Return the value of an attribute in nested ones; a JSON text is parsed, as the mapping of spans does."""
    value: AnyJson = span
    rest = key
    while isinstance(value, dict):
        if rest in value:
            return _with_lists(decoded_container(value[rest]), 0)
        step, _, rest = rest.partition(".")
        if not rest:
            return None
        value = value.get(step)
    return None


def _with_lists(value: AnyJson, level: int) -> AnyJson:
    """Return a value whose objects with the keys 0, 1, 2, ... are lists, as the indexes in flat keys mean."""
    if not isinstance(value, dict) or level > MAX_LEVELS:
        return value
    return indexed_list({name: _with_lists(member, level + 1) for name, member in value.items()})


def _system_messages(value: AnyJson) -> list[Message]:
    parts = parts_of(_unwrapped(value)) if value else []
    return [_message(SYSTEM, parts)] if parts else []


def _unwrapped(value: AnyJson) -> AnyJson:
    """Return the parts of Gemini's content."""
    return value["parts"] if isinstance(value, dict) and isinstance(value.get("parts"), list) else value


# Tools

_TOOL_KINDS: Final = frozenset({"tool", "execute_tool"})
_TOOL_INPUTS: Final = frozenset(ROLES["inputs"]) - UNNESTED
_TOOL_OUTPUTS: Final = frozenset(ROLES["output"]) - UNNESTED
"""Keys under which spans have their inputs and output; a tool itself may have an argument named `input`."""


def _tool_payload(attributes: AnyJson, payload: AnyJson, keys: frozenset[str]) -> AnyJson:
    """Return the arguments or the result of a call that a span reports as that of a tool; None for other calls."""
    kind = attributes.get("kind") if isinstance(attributes, dict) else None
    key = next(iter(payload)) if isinstance(payload, dict) and len(payload) == 1 else None
    names_tool = key in keys and ".tool" in str(key)
    if not names_tool and not (isinstance(kind, str) and kind.lower() in _TOOL_KINDS):
        return None
    return payload[key] if key in keys else payload or None


def _tool_name(attributes: dict[str, Any]) -> str | None:
    name = attributes.get("tool")
    return name if isinstance(name, str) else None


def _tool_call_id(span: dict[str, Any]) -> str | None:
    found = _first_at(span, _TOOL_IDS)
    return found if isinstance(found, str) else None


_TOOL_IDS: Final = ("gen_ai.tool.call.id", "ai.toolCall.id", "tool_call.id", "tool.id")


# Payloads: each function returns None for what it does not recognise


def _payload(value: AnyJson, role: str, level: int) -> list[Message] | None:
    if level > MAX_LEVELS:
        return None
    if isinstance(value, str):
        parsed = decoded_container(value) if any(mark in value for mark in _MARKS) else value
        found = None if isinstance(parsed, str) else _payload(parsed, role, level + 1)
        return found or [_message(role, parts_of(value))]
    if isinstance(value, list):
        return _list(value, role, level)
    if isinstance(value, dict):
        for rule in (_one_message, *((_request, _response) if role == USER else (_response, _request)), *_PLAIN_RULES):
            found = rule(value, role, level)
            if found is not None:
                return found
    return None


def _typed_parts(value: dict[str, Any], role: str, level: int) -> list[Message] | None:
    parts = known_parts(value, level) if is_typed_part(value) else None
    return [_message(_role_of(parts, role), parts)] if parts else None


_MARKS: Final = ('"role"', '"parts"', '"choices"', '"messages"', '"candidates"', '"generations"')
"""Keys in a JSON text that is a payload, not the JSON that a model was asked for."""


def _listed(value: AnyJson) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _list(items: list[Any], role: str, level: int) -> list[Message] | None:
    """Return the messages of a list: of messages, content, response items, chunks of a stream, or lists of these."""
    if not items:
        return None
    if all(isinstance(item, str) for item in items):
        return [_message(role, parts_of(items))]
    stream = None if isinstance(items[0], dict) and "role" in items[0] else assembled(items)
    if stream is not None:
        return _payload(stream, role, level + 1)
    found: list[Message] = []
    is_known = False
    is_open = False
    for item in items:
        messages, is_part = _item(item, role, level + 1)
        is_known |= messages is not None
        for message in messages if messages is not None else [_message(role, [json_part(item)])]:
            # The items of one turn (reasoning, calls, text) are one message, as in other forms of it.
            joins = found and message["role"] == found[-1]["role"] and message["role"] != TOOL and (is_part or is_open)
            if joins and not (message["name"] and found[-1]["name"]):
                found[-1]["parts"] += message["parts"]
                found[-1]["finish_reason"] = message["finish_reason"] or found[-1]["finish_reason"]
            else:
                found.append(message)
            is_open = is_part
    return found if is_known else None


def _item(item: AnyJson, role: str, level: int) -> tuple[list[Message] | None, bool]:
    """Return the messages of a list's item, and True if it is a part of a message."""
    match item:
        case [str(name), str() | list() as content] if name.lower() in _ROLES:  # LangChain's pairs
            return [_message(_ROLES[name.lower()], parts_of(content))], False
        case str():
            return [_message(role, parts_of(item))], True
        case list():
            return _list(item, role, level), False
        case {"role": "tool", "content": {"type": "function", "function": {"parameters": _}}}:
            return [], False  # a definition of a tool, which Langfuse lists after LangChain's messages
        case dict():
            message = _as_message(item, role, level)
            if message is not None:
                return [message], False
            parts = known_parts(item)
            if parts is not None:
                return [_message(_role_of(parts, role), parts)] if parts else [], True
            return _response(item, role, level), False
    return None, False


def _role_of(parts: list[Part], role: str) -> str:
    """Return the role of parts that are in no message."""
    kinds = {part["type"] for part in parts}
    return TOOL if kinds == {TOOL_RESULT} else ASSISTANT if kinds & {TOOL_CALL, REASONING, REFUSAL} else role


# Messages

_CONTENTS: Final = ("contents", "parts", "blocks", "content", "message", "text", "tool_results")
_FINISH_KEYS: Final = ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "completionReason")
_TOOL_CALL_IDS: Final = ("tool_call_id", "toolCallId", "tool_use_id", "id")


_PLAIN: Final = frozenset({"role", "content", "name"})
"""Keys of most messages, which are read without the rules for all others: 100,000 of them take a second."""


def _one_message(value: dict[str, Any], role: str, level: int) -> list[Message] | None:
    is_request = isinstance(value.get("contents"), dict) or len(_REQUEST_KEYS & value.keys()) > 1
    if role == USER and "role" not in value and is_request:
        return None  # a request with one message, and perhaps with instructions
    message = _as_message(value, role, level)
    return None if message is None else [message]


def _as_message(members: dict[str, Any], default: str, level: int) -> Message | None:
    """Return the message that an object is; None if it has no role, nor a message inside."""
    if _PLAIN.issuperset(members) and isinstance(members.get("content"), str):
        role = _role(members)
        if role is not None and role != TOOL:
            return _message(role, parts_of(members["content"]), first_text(members, ("name",)))
    if level > MAX_LEVELS or ("role" not in members and is_typed_part(members)):
        return None
    unwrapped = _without_wrapper(members)
    inner = first(unwrapped, ("message", "delta"))
    if isinstance(inner, dict):
        return _inner_message(members, {"role": default, **inner}, default, level)
    role = _role(unwrapped)
    content = next((unwrapped[name] for name in _CONTENTS if unwrapped.get(name)), unwrapped.get("content"))
    is_gemini = isinstance(content, dict) and isinstance(content.get("parts"), list)
    if role is None and not is_gemini and not _has_content(unwrapped):
        return None
    if isinstance(content, dict) and (is_gemini or _role(content)):
        return _inner_message(members, {"role": role or default, **content}, default, level)
    parts = _parts(unwrapped, role or default, content)
    return _message(role or default, parts, first_text(unwrapped, ("name",)), _finish_reason(unwrapped))


def _without_wrapper(members: dict[str, Any]) -> dict[str, Any]:
    """Return the message inside LangChain's serialized forms."""
    kwargs, data, ids = members.get("kwargs"), members.get("data"), members.get("id")
    if isinstance(kwargs, dict) and isinstance(ids, list) and ids:
        return {"type": ids[-1], **kwargs}
    if isinstance(data, dict) and members.get("type") in _MESSAGE_TYPES:
        return {"type": members["type"], **data}
    return members


def _inner_message(outer: dict[str, Any], inner: dict[str, Any], default: str, level: int) -> Message | None:
    message = _as_message(inner, default, level + 1)
    return message and {**message, "finish_reason": message["finish_reason"] or _finish_reason(outer)}


def _has_content(members: dict[str, Any]) -> bool:
    """Return True for an object with parts, or with a list of typed parts: a message without a role."""
    if isinstance(members.get("parts"), list):
        return True
    match members.get("content"):
        case [{} as part, *_]:
            return is_typed_part(part)
    return False


def _parts(members: dict[str, Any], role: str, content: AnyJson) -> list[Part]:
    """Return the parts of a message; if it has none that a rule recognises, the JSON of its unknown keys."""
    if role == TOOL:
        return _results(members, content)
    parts = parts_of(content)
    if not _PART_KEYS.isdisjoint(members):
        everything = _with_additional(members)
        parts = [*_reasoning(everything, parts), *parts, *_further_parts(everything, parts)]
    if parts or _has_only(members, _METADATA):
        return parts
    return [json_part({name: other for name, other in members.items() if name not in _METADATA})]


def _role(members: dict[str, Any]) -> str | None:
    """Return the role of a message in its unified name; None if it has none."""
    role = members.get("role")
    if isinstance(role, str) and role:
        return _ROLES.get(role.lower().rpartition(".")[2], role)
    kind = members.get("type")
    if isinstance(kind, str) and kind.lower() in _MESSAGE_TYPES and members.get("content") is not None:
        return _ROLES.get(kind.lower(), kind)
    return None


def _results(members: dict[str, Any], content: AnyJson) -> list[Part]:
    """Return the parts of a tool's message: its results, or else its content as one result."""
    inner = parts_of(content) if isinstance(content, list) else []
    if any(part["type"] == TOOL_RESULT for part in inner):
        return inner
    return [tool_result(first_text(_with_additional(members), _TOOL_CALL_IDS), content)]


_METADATA: Final = frozenset(
    {
        *("role", "name", "id", "type", "index", "status", "object", "annotations", "content", "usage", "model", "lc"),
        *("response_metadata", "usage_metadata", "additional_kwargs", "example", "phase", "channel", "container"),
        *(*_FINISH_KEYS, "stop_sequence", "created_at", "function_call", "tool_calls", "invalid_tool_calls", "delta"),
    }
)
"""Keys of a message that are no text of it."""


_REASONING_KEYS: Final = ("reasoning_content", "reasoning", "thinking", "tool_plan")


_PART_KEYS: Final = frozenset(
    {
        *(*_REASONING_KEYS, "additional_kwargs", "refusal", "audio", "images", "tool_calls", "toolCalls"),
        *("function_call", "invalid_tool_calls"),
    }
)
"""Keys of parts that are not in the content; a message without these keys needs no further rules."""


def _with_additional(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a message that are not empty, and those of the provider's message that LangChain adds."""
    extra = members.get("additional_kwargs")
    sources = (extra, members) if isinstance(extra, dict) else (members,)
    return {name: value for source in sources for name, value in source.items() if value}


def _reasoning(members: dict[str, Any], parts: list[Part]) -> list[Part]:
    """Return the reasoning that some providers send outside the content, under one of several keys."""
    if any(part["type"] == REASONING for part in parts):
        return []
    text = first_text(members, _REASONING_KEYS)
    return [{"type": REASONING, "text": text}] if text else []


def _further_parts(members: dict[str, Any], parts: list[Part]) -> list[Part]:
    """Return refusal, audio, images and tool calls that are outside the content, unless this has them already."""
    further: list[Part] = []
    kinds = {part["type"] for part in parts}
    refusal = first_text(members, ("refusal",))
    if refusal and REFUSAL not in kinds:
        further.append({"type": REFUSAL, "text": refusal})
    audio = members.get("audio")
    if audio and isinstance(audio, dict):
        further += known_parts({"audio": audio}) or [json_part(audio)]
    for image in _listed(members.get("images")):
        further += known_parts(image if isinstance(image, dict) else {"type": "image", "image": image}) or []
    if TOOL_CALL not in kinds:
        further += tool_calls(first(members, ("tool_calls", "toolCalls")) or members.get("function_call"))
        further += tool_calls(members.get("invalid_tool_calls"))
    return further


def _finish_reason(members: dict[str, Any]) -> str | None:
    for source in (members, members.get("response_metadata"), members.get("generation_info")):
        if isinstance(source, dict) and (found := _reason(first(source, _FINISH_KEYS))):
            return found
    return None


def _reason(value: AnyJson) -> str | None:
    return str(value).removeprefix("FinishReason.") if isinstance(value, str | int) and value else None


# Requests and responses

_SYSTEM_KEYS: Final = (
    *("system", "instructions", "system_instruction", "systemInstruction", _SPAN_SYSTEM),
    *("system_instructions", "preamble"),
)
_MESSAGE_KEYS: Final = (
    *("chat_history", "history", "messages", "gen_ai.input.messages", "gen_ai.output.messages", "llm.input_messages"),
    *("llm.output_messages", "ai.prompt.messages", "contents", "prompts", "prompt", "input", "inputText", "message"),
    "tool_results",
)
"""Keys of a request with messages, in the order of the conversation."""

_REQUEST_KEYS: Final = frozenset({*_SYSTEM_KEYS, *_MESSAGE_KEYS})

_OUTPUT_KEYS: Final = ("messages", "gen_ai.output.messages", "llm.output_messages", "contents")
"""Those of outputs, such as the state of an agent."""


def _request(value: dict[str, Any], role: str, level: int) -> list[Message] | None:
    """Return the messages of a request, the instructions first."""
    found: list[Message] = []
    for key in _MESSAGE_KEYS if role == USER else _OUTPUT_KEYS:
        content = decoded_container(value.get(key))
        if isinstance(content, str):
            if not _has_only(value, _REQUEST_KEYS | _PARAMETERS):
                return None  # other texts may belong to the question
            found.append(_message(USER, parts_of(content)))
        elif isinstance(content, list | dict) and content:
            if key == "prompts" and isinstance(content, list):
                messages = [_message(USER, parts_of(each)) for each in content]
            else:
                inner = _payload(content, role, level + 1)
                if inner is None:
                    return None
                messages = inner
            found += messages
    if not found:
        return None
    config = value.get("config")
    sources = (value, config if isinstance(config, dict) else {})
    system = next(filter(None, (first(source, _SYSTEM_KEYS) for source in sources)), None)
    return _with_documents([*_system_messages(system), *found], value.get("documents") if role == USER else None)


def _with_documents(messages: list[Message], documents: AnyJson) -> list[Message]:
    """Add the documents of a request, such as Cohere's, after its instructions."""
    parts = [part for document in _listed(documents) for part in document_parts(document)]
    if not parts:
        return messages
    first_turn = next((at for at, each in enumerate(messages) if each["role"] not in INSTRUCTIONS), len(messages))
    return [*messages[:first_turn], _message(SYSTEM, parts), *messages[first_turn:]]


_PARAMETERS: Final = frozenset(
    {
        *("model", "model_id", "modelId", "model_name", "engine", "user", "stop", "suffix", "self", "name", "id"),
        *("temperature", "max_tokens", "stream", "tools", "tool_choice", "response_format", "metadata", "config"),
        *("text", "reasoning", "include", "previous_response_id", "conversation", "store", "service_tier"),
        *("truncation", "conversation_id", "documents", "connectors", "stop_sequences", "options", "extra_headers"),
        *("extra_body", "safety_identifier", "prompt_cache_key", "api_key", "base_url", "timeout", "object", "type"),
        *("accept", "contentType", "textGenerationConfig", "embeddingConfig", "embeddingTypes"),
        "ResponseMetadata",
    }
)
"""Keys of requests that are no messages."""


def _has_only(value: dict[str, Any], names: frozenset[str]) -> bool:
    """Return True if an object has content (a text, list or object) under these keys alone."""
    return not any(
        other and isinstance(other, str | list | dict) and name not in names for name, other in value.items()
    )


_QUESTIONS: Final = (
    *("question", "query", "user_input", "user_message", "text", "completion", "answer", "generation", "outputText"),
    *("output_text", "content"),
)


_IGNORED_WITH_QUESTION: Final = frozenset({"self", *_FINISH_KEYS})
"""Other keys that an object with a question may have: the object whose method a Weave op is, and finish reasons."""


def _question(value: dict[str, Any], role: str, _level: int) -> list[Message] | None:
    """Return the only text of an object, under a usual key."""
    for key in _QUESTIONS:
        text = value.get(key)
        if isinstance(text, str) and _has_only(value, _IGNORED_WITH_QUESTION | {key}):
            return [_message(role, parts_of(text), finish_reason=_finish_reason(value))]
    return None


_CHOICES: Final = ("choices", "candidates", "generations")


def _response(value: dict[str, Any], role: str, level: int) -> list[Message] | None:
    """Return the messages of a provider's response."""
    for key in _CHOICES:
        choices = value.get(key)
        if isinstance(choices, list) and choices:
            return _choices(choices, level)
    results = [value] if "inputTextTokenCount" in value and "outputText" in value else value.get("results")
    if isinstance(results, list) and any(_is_titan(result) for result in results):
        return _choices(results, level)
    output = value.get("output")
    if isinstance(output, list) and (value.get("object") == "response" or str(value.get("id")).startswith("resp_")):
        # OpenAI's responses API
        messages = _list(output, ASSISTANT, level + 1)
        details = value.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        finish_reason = _reason(reason) or _reason(value.get("status"))
        return messages and [*messages[:-1], {**messages[-1], "finish_reason": finish_reason}]
    if isinstance(output, dict) and isinstance(output.get("message"), dict):  # Bedrock
        message = _as_message(output, ASSISTANT, level + 1)
        return None if message is None else [{**message, "finish_reason": _finish_reason(value)}]
    if isinstance(value.get("run_type"), str):  # a run of LangChain's tracer
        return _payload(value.get("inputs" if role == USER else "outputs"), role, level + 1)
    response = value.get("response")
    if isinstance(response, dict) and (found := _payload(response, role, level + 1)):
        return found
    is_chat = isinstance(value.get("text"), str) and (_listed(value.get("toolCalls")) or _COHERE_KEYS & value.keys())
    if is_chat or _VERCEL_KEYS & value.keys():
        return _vercel_or_cohere(value)
    return None


def _is_titan(result: AnyJson) -> bool:
    """Return True for a result of Amazon Titan, or a chunk of one."""
    return isinstance(result, dict) and isinstance(result.get("outputText"), str)


_COHERE_KEYS: Final = {"chat_history", "generation_id"}
_VERCEL_KEYS: Final = {"toolCalls", "finishReason", "msToFinish", "msToFirstChunk"}


def _vercel_or_cohere(value: dict[str, Any]) -> list[Message] | None:
    """Return the response of Vercel's AI SDK or of Cohere's first API, whose text is not in a message."""
    found = decoded(value.get("object")) if value.get("object") else None
    content = first_text(value, ("text",)) or (found if found is None else codec.encode(found))
    calls = decoded_container(first(value, ("toolCalls", "tool_calls")))
    parts = [*_reasoning(value, []), *parts_of(content), *tool_calls(calls)]
    return [_message(ASSISTANT, parts, finish_reason=_finish_reason(value))] if parts else None


def _choices(choices: Sequence[AnyJson], level: int) -> list[Message] | None:
    found: list[Message] = []
    for choice in choices:
        if isinstance(choice, list):
            found += _choices(choice, level) or []
        elif isinstance(choice, dict):
            message = _as_message(choice, ASSISTANT, level + 1)
            if message is None:
                text = first_text(choice, ("text", "outputText"))
                parts = [text_part(text)] if text else [] if _finish_reason(choice) else [json_part(choice)]
                message = _message(ASSISTANT, parts, finish_reason=_finish_reason(choice))
            found.append(message)
        else:
            found.append(_message(ASSISTANT, [json_part(choice)]))
    return found or None


_WRAPPERS: Final = (
    *("kwargs", "inputs", "input", "request", "body", "params", "arguments", "api_params", "input.value"),
    *("mlflow.spanInputs", "langfuse.observation.input", "langfuse.trace.input", "traceloop.entity.input", "ai.prompt"),
    *("gen_ai.prompt", "gcp.vertex.agent.llm_request", "output", "outputs", "result", "return_value", "data"),
    *("output.value", "mlflow.spanOutputs", "langfuse.observation.output", "langfuse.trace.output", "ai.response"),
    *("traceloop.entity.output", "gen_ai.completion", "gen_ai.content.completion", "gcp.vertex.agent.llm_response"),
)


def _wrapped(value: dict[str, Any], role: str, level: int) -> list[Message] | None:
    """Return the messages of the payload inside an object without other content."""
    for key in _WRAPPERS:
        inner = decoded_container(value.get(key))
        if inner and _has_only(value, _PARAMETERS | {key}):
            return _payload(inner, role, level + 1)
    return None


_PLAIN_RULES: Final = (_typed_parts, _question, _wrapped)
