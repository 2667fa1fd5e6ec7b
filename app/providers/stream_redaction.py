"""Secrets in streams, which may be split: what comes in two chunks is whole where they are put together."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from app.providers.secrets import HIDDEN, SHORTEST_HIDDEN
from stores.providers import JsonObject

_Path = tuple[str | int, ...]
_DEEPEST: Final = 8
_MOST_PATHS: Final = 10_000


class StreamedSecrets:
    """Chunks of a chat completion without the secrets in their texts, also those that begin in one and end in another.

    The end of a text that may be the beginning of a secret is kept back until more of the text comes, or its choice is
    finished.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._kept_back: dict[_Path, str] = {}
        self._head: JsonObject = {}

    def passed(self, chunk: JsonObject) -> Iterator[JsonObject]:
        """A chunk, before it what was kept back of the choices that it finishes."""
        choices = chunk.get("choices")
        if not self._secrets or not isinstance(choices, list):
            yield chunk
            return
        self._head = {name: value for name, value in chunk.items() if name not in ("choices", "usage")}
        finished = set()
        for choice in choices:
            if isinstance(choice, dict) and isinstance(index := choice.get("index", 0), int):
                is_finished = bool(choice.get("finish_reason"))
                if isinstance(choice.get("delta"), dict):
                    self._pass(choice["delta"], (index,), is_last=is_finished)
                if is_finished:
                    finished.add(index)
        yield from self._given_back([path for path in self._kept_back if path[0] in finished])
        yield chunk

    def rest(self) -> Iterator[JsonObject]:
        """What is kept back of all choices, where nothing more comes."""
        yield from self._given_back(list(self._kept_back))

    def _pass(self, delta: JsonObject, path: _Path, *, is_last: bool) -> None:
        for name, value in delta.items():
            if isinstance(value, str):
                delta[name] = self._safe((*path, name), value, is_last=is_last)
            elif len(path) < _DEEPEST and isinstance(value, dict):
                self._pass(value, (*path, name), is_last=is_last)
            elif len(path) < _DEEPEST and isinstance(value, list):
                for member in value:
                    if isinstance(member, dict) and isinstance(member.get("index"), int):
                        self._pass(member, (*path, name, member["index"]), is_last=is_last)

    def _safe(self, path: _Path, text: str, *, is_last: bool) -> str:
        text = self._kept_back.pop(path, "") + text
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        begun = max(_begun(text, secret) for secret in self._secrets)
        if not begun or is_last or len(self._kept_back) >= _MOST_PATHS:
            return _without_begun(text, begun)
        self._kept_back[path] = text[-begun:]
        return text[:-begun]

    def _given_back(self, paths: Sequence[_Path]) -> Iterator[JsonObject]:
        for path in paths:
            text = self._kept_back.pop(path)
            delta: Any = _without_begun(text, len(text))
            for step in reversed(path[1:]):
                delta = {step: delta} if isinstance(step, str) else [{"index": step, **delta}]
            yield {**self._head, "choices": [{"index": path[0], "delta": delta, "finish_reason": None}]}


def _begun(text: str, secret: str) -> int:
    """How many characters at the end of a text are those that a secret begins with."""
    return next(
        (length for length in range(min(len(text), len(secret) - 1), 0, -1) if text.endswith(secret[:length])), 0
    )


def _without_begun(text: str, begun: int) -> str:
    """A text whose end stays: if that is a good part of a secret, it is hidden, too."""
    return text[:-begun] + HIDDEN if begun >= SHORTEST_HIDDEN else text
