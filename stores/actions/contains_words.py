"""The contains-words action: search the outputs of calls for words."""

from collections.abc import Sequence
from typing import Final

from stores.errors import BadInputError
from stores.json import codec
from stores.json.paths import iter_strings
from stores.objects.builtin import ContainsWordsActionConfig
from stores.paging import Row
from stores.row_fields import JsonField

MAX_WORDS: Final = 1_000
"""Limit on the words of a spec, because each output is scanned once per word."""

_OUTPUT: Final = JsonField("output")


class WordSearch:
    """Tests whether an output contains any word, in its compact JSON text or in a string inside it.

    Matching is case-sensitive and ignores word boundaries: `art` matches `Start`. A call without output counts as null.
    """

    def __init__(self, config: ContainsWordsActionConfig) -> None:
        """Read the words from a spec.

        Raises:
            BadInputError: there are more than `MAX_WORDS`.
        """
        count = len(config.target_words)
        if count > MAX_WORDS:
            raise BadInputError(f"has a spec with {count:,} target_words; the limit is {MAX_WORDS:,}", "action_ref")
        self._words = config.target_words
        self._escaped = [word for word in self._words if codec.encode(word) != f'"{word}"']

    def matches(self, row: Row) -> bool:
        """Return True if the output of a call contains a word."""
        text = _OUTPUT.text(row) or "null"
        if _has_any(text, self._words):
            return True
        # Words without JSON escapes appear in the text exactly as in the strings.
        if not self._escaped or "\\" not in text:
            return False
        parts = iter_strings(codec.loads(text.encode()), with_keys=True)
        return any(_has_any(part, self._escaped) for part in parts)


def _has_any(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)
