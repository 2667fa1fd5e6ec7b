"""Looking for words in what calls gave."""

from collections.abc import Sequence
from typing import Final

from stores.errors import BadInputError
from stores.json import codec
from stores.json.traversal import iter_strings
from stores.objects.builtin.actions import ContainsWordsActionConfig
from stores.paging import Row
from stores.row_fields import JsonField

MAX_WORDS: Final = 1_000
"""Of one spec: each output is gone through once for each of them."""

_OUTPUT: Final = JsonField("output")


class WordSearch:
    """Whether an output has any of some words in it: anywhere in its compact JSON text, or in a string within it.

    Case counts, and words need no bounds: `art` is in `Start`. A call without an output has null.
    """

    def __init__(self, config: ContainsWordsActionConfig) -> None:
        """Take the words.

        Raises:
            BadInputError: they are too many.
        """
        count = len(config.target_words)
        if count > MAX_WORDS:
            raise BadInputError(f"leads to a spec of {count:,} target_words; the limit is {MAX_WORDS:,}", "action_ref")
        self._words = config.target_words
        self._escaped = [word for word in self._words if codec.encode(word) != f'"{word}"']

    def is_found(self, row: Row) -> bool:
        """Whether one is in the output of a call, of which that is given."""
        text = _OUTPUT.text(row) or "null"
        if _has_any(text, self._words):
            return True
        # All other words stand in the text as they do in the strings.
        if not self._escaped or "\\" not in text:
            return False
        parts = iter_strings(codec.loads(text.encode()), with_keys=True)
        return any(_has_any(part, self._escaped) for part in parts)


def _has_any(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)
