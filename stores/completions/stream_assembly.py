"""Assembly of a chat completion from the chunks of a stream."""

from typing import Any, Final

from stores.json import AnyJson
from stores.providers import JsonObject

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


class _Fragments(list[str]):
    """A string in the fragments that arrived."""


class _Indexed(dict[int, JsonObject]):
    """List members by their index, merged as they arrive."""


def _merge(whole: JsonObject, part: JsonObject) -> None:
    for name, value in part.items():
        current = whole.get(name)
        match value:
            case None:
                whole.setdefault(name, None)
            case str() if name in _JOINED_STRINGS:
                whole[name] = current if isinstance(current, _Fragments) else _Fragments()
                whole[name].append(value)
            case dict():
                whole[name] = current if isinstance(current, dict) else {}
                _merge(whole[name], value)
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
            return "".join(value)
        case _Indexed():
            return [_assembled(member) for _, member in sorted(value.items())]
        case dict():
            return {name: _assembled(inner) for name, inner in value.items()}
        case _:
            return value
