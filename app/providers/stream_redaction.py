"""Hide secrets in streams, even if a secret is split between chunks."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from app.providers.secrets import HIDDEN, SHORTEST_HIDDEN
from stores.providers import JsonObject

_Path = tuple[str | int, ...]
_MAX_DEPTH: Final = 8
_MAX_PATHS: Final = 10_000


class StreamedSecrets:
    """Hides secrets in the texts of chat completion chunks, even if a secret spans several chunks.

    The end of a text that may be the start of a secret is withheld until more text arrives or the choice ends.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._withheld: dict[_Path, str] = {}
        self._head: JsonObject = {}

    def passed(self, chunk: JsonObject) -> Iterator[JsonObject]:
        """Yield a chunk with its secrets hidden, preceded by the withheld text of choices that it finishes."""
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
        yield from self._release([path for path in self._withheld if path[0] in finished])
        yield chunk

    def rest(self) -> Iterator[JsonObject]:
        """Yield the withheld text of all choices at the end of the stream."""
        yield from self._release(list(self._withheld))

    def _pass(self, delta: JsonObject, path: _Path, *, is_last: bool) -> None:
        for name, value in delta.items():
            if isinstance(value, str):
                delta[name] = self._safe((*path, name), value, is_last=is_last)
            elif len(path) < _MAX_DEPTH and isinstance(value, dict):
                self._pass(value, (*path, name), is_last=is_last)
            elif len(path) < _MAX_DEPTH and isinstance(value, list):
                for member in value:
                    if isinstance(member, dict) and isinstance(member.get("index"), int):
                        self._pass(member, (*path, name, member["index"]), is_last=is_last)

    def _safe(self, path: _Path, text: str, *, is_last: bool) -> str:
        text = self._withheld.pop(path, "") + text
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        partial = max(_partial_length(text, secret) for secret in self._secrets)
        if not partial or is_last or len(self._withheld) >= _MAX_PATHS:
            return _hide_partial(text, partial)
        self._withheld[path] = text[-partial:]
        return text[:-partial]

    def _release(self, paths: Sequence[_Path]) -> Iterator[JsonObject]:
        for path in paths:
            text = self._withheld.pop(path)
            delta: Any = _hide_partial(text, len(text))
            for step in reversed(path[1:]):
                delta = {step: delta} if isinstance(step, str) else [{"index": step, **delta}]
            yield {**self._head, "choices": [{"index": path[0], "delta": delta, "finish_reason": None}]}


def _partial_length(text: str, secret: str) -> int:
    """Return the length of the longest end of `text` that is a prefix of `secret`."""
    return next(
        (length for length in range(min(len(text), len(secret) - 1), 0, -1) if text.endswith(secret[:length])), 0
    )


def _hide_partial(text: str, partial: int) -> str:
    """Return the final text; hide its last `partial` characters if they are long enough to reveal a secret."""
    return text[:-partial] + HIDDEN if partial >= SHORTEST_HIDDEN else text
