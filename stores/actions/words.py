"""Looking for words in what calls gave."""

from collections.abc import Iterator, Sequence
from typing import Final

from stores import json_text
from stores.json_fields import JsonField
from stores.objects.builtin.actions import ContainsWordsActionConfig
from stores.paging import Row

_OUTPUT: Final = JsonField("output")


class WordSearch:
    """Whether an output has any of some words in it: anywhere in its compact JSON text, or in a string within it.

    Case counts, and words need no bounds: `art` is in `Start`. A call without an output has null.
    """

    def __init__(self, config: ContainsWordsActionConfig) -> None:
        self._words = config.target_words

    def is_found(self, row: Row) -> bool:
        """Whether one is in the output of a call, of which that is given."""
        text = _OUTPUT.text(row) or "null"
        if _has_any(text, self._words):
            return True
        # Without a backslash the strings stand in the text as they are.
        return "\\" in text and any(_has_any(part, self._words) for part in _strings(json_text.loads(text.encode())))


def _has_any(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)


def _strings(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as members:
                yield from members
                waiting.extend(members.values())
            case list() as entries:
                waiting.extend(entries)
