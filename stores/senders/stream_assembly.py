"""Assembly of responses from the chunks or events of a stream, in the forms of several providers."""

from collections.abc import Callable, Container, Iterable, Sequence
from itertools import groupby
from typing import Any, Final

from stores.json import AnyJson

JsonObject = dict[str, Any]

_JOINED_STRINGS: Final = frozenset(
    {"content", "refusal", "arguments", "reasoning_content", "reasoning", "data", "transcript"}
)
_MAX_CHOICES: Final = 1000
"""Limit on choices and tool calls; entries with a higher index are dropped."""


class AssembledCompletion:
    """A completion assembled from chunks.

    Deltas merge by type: strings are joined, lists with `index` members are merged member by member, other lists grow.
    For any other value the last one wins.
    """

    def __init__(self) -> None:
        self._head: JsonObject = {}
        self._choices: dict[int, JsonObject] = {}
        self._usage: object = None
        self.is_empty = True

    def add(self, chunk: JsonObject) -> None:
        """Merge a chunk; unknown fields are dropped."""
        self.is_empty = False
        for name in ("id", "created", "model", "system_fingerprint", "service_tier"):
            if chunk.get(name) is not None:
                self._head.setdefault(name, chunk[name])
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            self._add_choice(choice)

    def _add_choice(self, part: AnyJson) -> None:
        index = part.get("index", 0) if isinstance(part, dict) else None
        if not isinstance(index, int) or not 0 <= index < _MAX_CHOICES:
            return
        choice = self._choices.setdefault(index, {"message": {"role": "assistant", "content": None}})
        if isinstance(part.get("delta"), dict):
            _merge(choice["message"], part["delta"])
        if isinstance(part.get("logprobs"), dict):
            _merge(choice.setdefault("logprobs", {}), part["logprobs"])
        if part.get("finish_reason"):
            choice["finish_reason"] = part["finish_reason"]

    @property
    def completion(self) -> JsonObject:
        """The completion in the format of a response that was not streamed."""
        choices = [
            {
                "index": index,
                "message": _assembled(choice["message"]),
                **({"logprobs": _assembled(choice["logprobs"])} if "logprobs" in choice else {}),
                "finish_reason": choice.get("finish_reason"),
            }
            for index, choice in sorted(self._choices.items())
        ]
        usage = {} if self._usage is None else {"usage": self._usage}
        return {"object": "chat.completion", **self._head, "choices": choices, **usage}


class _Fragments(list[Any]):
    """The fragments of a text that arrived; Mistral's reasoning arrives between them, as typed parts."""


class _Indexed(dict[int, JsonObject]):
    """List members by their index, merged as they arrive."""


def _merge(whole: JsonObject, part: JsonObject, joined: Container[str] | None = _JOINED_STRINGS) -> None:
    """Merge a delta; `joined` names the strings that grow, None for all of them."""
    for name, value in part.items():
        current = whole.get(name)
        match value:
            case None:
                whole.setdefault(name, None)
            case str() if joined is None or name in joined:
                if not isinstance(current, _Fragments):
                    current = whole[name] = _Fragments(current if isinstance(current, list) else ())
                current.append(value)
            case dict():
                whole[name] = current if type(current) is dict else {}
                _merge(whole[name], value, joined)
            case [{"index": int()}, *_]:
                whole[name] = current if isinstance(current, _Indexed) else _Indexed()
                _merge_members(whole[name], value)
            case list() if isinstance(current, list):
                current.extend(value)
            case _:
                whole[name] = list(value) if isinstance(value, list) else value


def _merge_members(whole: _Indexed, part: list[Any]) -> None:
    for member in part:
        index = member.get("index") if isinstance(member, dict) else None
        if isinstance(index, int) and 0 <= index < _MAX_CHOICES:
            _merge(whole.setdefault(index, {}), {name: value for name, value in member.items() if name != "index"})


def _assembled(value: AnyJson) -> AnyJson:
    match value:
        case _Fragments():
            parts = [part for kind, group in groupby(value, _kind_of) for part in _joined(kind, group)]
            return parts[0] if len(parts) == 1 and isinstance(parts[0], str) else [part for part in parts if part != ""]
        case _Indexed():
            return [_assembled(member) for _, member in sorted(value.items())]
        case dict():
            return {name: _assembled(inner) for name, inner in value.items()}
        case _:
            return value


def _kind_of(fragment: AnyJson) -> str | None:
    """Return the kind of a fragment that its neighbours of this kind continue; None for any other."""
    match fragment:
        case str():
            return "text"
        case {"type": "thinking", "thinking": [{"type": "text", "text": str()}]}:
            return "thinking"
    return None


def _joined(kind: str | None, fragments: Iterable[Any]) -> Iterable[Any]:
    if kind == "text":
        return ["".join(fragments)]
    if kind == "thinking":
        return [{"type": kind, kind: "".join(fragment[kind][0]["text"] for fragment in fragments)}]
    return fragments


def assembled(items: Sequence[AnyJson]) -> JsonObject | None:
    """Return the response of which a list has the chunks or events; None for any other list."""
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    try:
        return next((found for rule in _STREAMS if (found := rule(items)) is not None), None)
    except RecursionError:  # a delta that nests deeply is of no provider
        return None


def _chat_chunks(chunks: Sequence[JsonObject]) -> JsonObject | None:
    """Assemble chunks of chat completions, whose choices have deltas; Mistral's are inside `data`."""
    chunks = [chunk["data"] if isinstance(chunk.get("data"), dict) else chunk for chunk in chunks]
    choices = [choice for chunk in chunks for choice in _list(chunk.get("choices"))]
    if not any(isinstance(choice, dict) and isinstance(choice.get("delta"), dict) for choice in choices):
        return None
    whole = AssembledCompletion()
    for chunk in chunks:
        whole.add(chunk)
    return whole.completion


def _anthropic_events(events: Sequence[JsonObject]) -> JsonObject | None:
    if not any(event.get("type") in ("message_start", "content_block_delta") for event in events):
        return None
    message: JsonObject = {"role": "assistant"}
    blocks: dict[object, JsonObject] = {}
    for event in events:
        part = _object(event, ("message", "content_block", "delta"))
        kind, block = event.get("type"), blocks.setdefault(str(event.get("index")), {})
        if kind in ("message_start", "message_delta"):
            message |= {name: value for name, value in part.items() if name != "content"}
        elif kind == "content_block_start":
            block.clear()  # another message of the same list
            _merge(block, {name: value for name, value in part.items() if name != "input" or value}, None)
        elif kind == "content_block_delta":
            renamed = {"input" if name == "partial_json" else name: value for name, value in part.items()}
            _merge(block, {name: value for name, value in renamed.items() if name != "type"}, None)
            block.setdefault("type", _ANTHROPIC_TYPES.get(str(part.get("type")), "text"))
    return message | {"content": [_assembled(block) for block in blocks.values() if block]}


_ANTHROPIC_TYPES: Final = {"thinking_delta": "thinking", "signature_delta": "thinking", "input_json_delta": "tool_use"}


def _response_events(events: Sequence[JsonObject]) -> JsonObject | None:
    """Return the response of the last event of OpenAI's responses API, or the texts of one that broke off."""
    names = [str(event.get("type")) for event in events]
    if not any(name.startswith("response.") for name in names):
        return None
    for event in reversed(events):
        response = event.get("response")
        if isinstance(response, dict) and response.get("output"):
            return {"object": "response", **response}
    done = [event["item"] for event in events if event.get("type") == "response.output_item.done" and "item" in event]
    deltas = [event.get("delta") for event in events if event.get("type") == "response.output_text.delta"]
    text = "".join(delta for delta in deltas if isinstance(delta, str))
    message = [{"role": "assistant", "content": text}] if text and not done else []
    return {"object": "response", "output": [*done, *message]}


def _bedrock_events(events: Sequence[JsonObject]) -> JsonObject | None:
    if not any("contentBlockDelta" in event for event in events):
        return None
    blocks: dict[str, JsonObject] = {}
    stop: JsonObject = {}
    for event in events:
        start, delta = event.get("contentBlockStart"), event.get("contentBlockDelta")
        for part in (start, delta):
            if isinstance(part, dict):
                inner = _object(part, ("start", "delta"))
                _merge(blocks.setdefault(str(part.get("contentBlockIndex")), {}), inner, None)
        if isinstance(event.get("messageStop"), dict):
            stop = event["messageStop"]
    message = {"role": "assistant", "content": [_assembled(block) for block in blocks.values()]}
    return {"output": {"message": message}, **stop}


def _titan_chunks(chunks: Sequence[JsonObject]) -> JsonObject | None:
    if not all(isinstance(chunk.get("outputText"), str) and "inputTextTokenCount" in chunk for chunk in chunks):
        return None
    reason = next(filter(None, (chunk.get("completionReason") for chunk in reversed(chunks))), None)
    text = "".join(chunk["outputText"] for chunk in chunks)
    return {"results": [{"outputText": text, "completionReason": reason}]}


def _response_list(responses: Sequence[JsonObject]) -> JsonObject | None:
    """Join the responses of a stream whose chunks have the form of a whole response: Gemini, Ollama, LangChain."""
    if all(_list(response.get("candidates")) or "usageMetadata" in response for response in responses):
        found = [candidate for response in responses for candidate in _list(response.get("candidates"))]
        contents = [_object(candidate, ("content",)) for candidate in found if isinstance(candidate, dict)]
        parts = [part for content in contents for part in _list(content.get("parts"))]
        reasons = {name: value for each in found if isinstance(each, dict) for name, value in each.items() if value}
        return {"candidates": [reasons | {"content": {"role": "model", "parts": _joined_parts(parts)}}]}
    if all("done" in response and isinstance(response.get("message"), dict) for response in responses):
        message: JsonObject = {}
        for response in responses:
            _merge(message, response["message"], None)
        return {**responses[-1], "message": _assembled(message) | {"role": "assistant"}}
    return None


_STREAMS: Final[tuple[Callable[[Sequence[JsonObject]], JsonObject | None], ...]] = (
    _chat_chunks,
    _anthropic_events,
    _response_events,
    _bedrock_events,
    _titan_chunks,
    _response_list,
)


def _list(value: AnyJson) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(members: JsonObject, names: Sequence[str]) -> JsonObject:
    """Return the first object under some keys; an empty one if there is none."""
    return next((members[name] for name in names if isinstance(members.get(name), dict)), {})


def _joined_parts(parts: Sequence[AnyJson]) -> list[Any]:
    """Join neighbouring texts of the same kind."""
    joined: list[Any] = []
    for kind, group in groupby(parts, lambda part: (_is_text(part), _is_text(part) and bool(part.get("thought")))):
        some = list(group)
        joined += [{**some[0], "text": "".join(part["text"] for part in some)}] if kind[0] else some
    return joined


def _is_text(part: AnyJson) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("text"), str):
        return False
    return all(name in ("text", "thought", "thoughtSignature", "thought_signature") or not part[name] for name in part)
