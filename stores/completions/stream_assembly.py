"""A chat completion put together from the chunks in which it came."""

from typing import Any, Final

from stores.providers import JsonObject

_HEAD: Final = ("id", "created", "model", "system_fingerprint", "service_tier")
_JOINED: Final = frozenset({"content", "refusal", "arguments", "reasoning_content", "reasoning", "data", "transcript"})
_MAX_CHOICES: Final = 1000
"""Choices, and calls of tools in each, that are kept: indexes beyond make no room."""


class StreamedCompletion:
    """What has come of a completion so far.

    Deltas say what is added: texts are joined, lists whose members have an `index` are merged member by member, other
    lists grow, and of all else the last is kept.
    """

    def __init__(self) -> None:
        self._head: JsonObject = {}
        self._choices: dict[int, JsonObject] = {}
        self._usage: object = None
        self.is_empty = True

    def add(self, chunk: JsonObject) -> None:
        """Take in a chunk; what in it is of no known form is left out."""
        self.is_empty = False
        for name in _HEAD:
            if chunk.get(name) is not None:
                self._head.setdefault(name, chunk[name])
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            self._add_choice(choice)

    def _add_choice(self, part: Any) -> None:  # noqa: ANN401 -- any JSON
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
        """The completion, as it would have come whole."""
        choices = [
            {
                "index": index,
                "message": _whole(choice["message"]),
                **({"logprobs": _whole(choice["logprobs"])} if "logprobs" in choice else {}),
                "finish_reason": choice.get("finish_reason"),
            }
            for index, choice in sorted(self._choices.items())
        ]
        usage = {} if self._usage is None else {"usage": self._usage}
        return {"object": "chat.completion", **self._head, "choices": choices, **usage}


class _Texts(list[str]):
    """A text in the parts in which it came."""


class _Indexed(dict[int, JsonObject]):
    """A list whose members came in parts, by their index."""


def _merge(whole: JsonObject, part: JsonObject) -> None:
    for name, value in part.items():
        there = whole.get(name)
        match value:
            case None:
                whole.setdefault(name, None)
            case str() if name in _JOINED:
                whole[name] = there if isinstance(there, _Texts) else _Texts()
                whole[name].append(value)
            case dict():
                whole[name] = there if isinstance(there, dict) else {}
                _merge(whole[name], value)
            case [{"index": int()}, *_]:
                whole[name] = there if isinstance(there, _Indexed) else _Indexed()
                _merge_members(whole[name], value)
            case list() if isinstance(there, list):
                there.extend(value)
            case _:
                whole[name] = list(value) if isinstance(value, list) else value


def _merge_members(whole: _Indexed, part: list[Any]) -> None:
    for member in part:
        index = member.get("index") if isinstance(member, dict) else None
        if isinstance(index, int) and 0 <= index < _MAX_CHOICES:
            _merge(whole.setdefault(index, {}), {name: value for name, value in member.items() if name != "index"})


def _whole(value: Any) -> Any:  # noqa: ANN401 -- any JSON
    match value:
        case _Texts():
            return "".join(value)
        case _Indexed():
            return [_whole(member) for _, member in sorted(value.items())]
        case dict():
            return {name: _whole(inner) for name, inner in value.items()}
        case _:
            return value
