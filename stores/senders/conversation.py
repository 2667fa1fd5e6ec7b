"""Conversations: the messages of model calls in their order, without the history that each call repeats.

The messages of a call, its output last, are aligned with the conversation that it continues. Messages that align are
known. So a trimmed history, a summary in its place or another system prompt adds only what is new, and a call inside
another with equal messages adds nothing. A call that continues no conversation, such as another agent's, starts one.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from stores.json import codec
from stores.senders.messages import INSTRUCTIONS, USER, Message

_MAX_CANDIDATES: Final = 20
"""Conversations with which a call is compared, the newest first."""

_LOOKED_AT: Final = 2
"""First inputs of a call of which one must be known: a summary may stand before the rest of a history."""


class _Branch:
    """The messages of one conversation by their digests."""

    def __init__(self) -> None:
        self.length = 0
        self.positions: dict[bytes, list[int]] = {}

    def append(self, digest: bytes) -> None:
        self.positions.setdefault(digest, []).append(self.length)
        self.length += 1

    def align(self, digests: Sequence[bytes]) -> tuple[list[bool], int]:
        """Return which messages are known, in order, and the position after the last of them."""
        known, after = [], 0
        for digest in digests:
            positions = self.positions.get(digest, [])
            at = bisect_left(positions, after)
            known.append(at < len(positions))
            after = positions[at] + 1 if at < len(positions) else after
        return known, after


class Conversation:
    """Collects the new messages of calls that are added in the order of their starts."""

    def __init__(self) -> None:
        self._instructions: set[bytes] = set()
        self._branches: dict[bytes, list[_Branch]] = {}
        self._asked: dict[bytes, tuple[str, int | None]] = {}

    def add(
        self,
        trace_id: str,
        started_at: int,
        ended_at: int | None,
        inputs: Sequence[Message],
        outputs: Sequence[Message],
    ) -> list[Message]:
        """Return the messages of a call that are new.

        A question alone is new if the last call with it is of another trace, or had answered before this call started.
        It is not new in a call inside that one, or in one that tries again after a failure.
        """
        new = [each for each in inputs if _is_instruction(each) and self._is_new_instruction(_digest(each))]
        asked = [each for each in inputs if not _is_instruction(each)]
        spoken = [*asked, *(each for each in outputs if not _is_instruction(each))]
        digests = [_digest(each) for each in spoken]
        questions = [digest for digest, each in zip(digests, asked, strict=False) if each["role"] == USER]
        is_asked_again = False
        if len(asked) == len(questions) == 1 and (last := self._asked.get(questions[0])):
            is_asked_again = last[0] != trace_id or (last[1] is not None and last[1] <= started_at)
        if questions:
            self._asked[questions[-1]] = trace_id, ended_at if outputs else None
        begun = () if is_asked_again else digests[: min(_LOOKED_AT, len(asked))]
        branch, known, after = self._continued(begun, digests)
        if branch is None or (after < branch.length and not all(known)):
            branch = _Branch()  # a fork has the whole history of its own
            self._append(branch, digests)
        else:
            self._append(branch, [digest for digest, is_known in zip(digests, known, strict=True) if not is_known])
        return [*new, *(message for message, is_known in zip(spoken, known, strict=True) if not is_known)]

    def _is_new_instruction(self, digest: bytes) -> bool:
        is_new = digest not in self._instructions
        self._instructions.add(digest)
        return is_new

    def _continued(self, begun: Sequence[bytes], digests: Sequence[bytes]) -> tuple[_Branch | None, list[bool], int]:
        """Return the branch with which most messages align, and how; None if none has the first inputs.

        The branches with the first of these inputs come before all that have only a later one: other agents get equal
        answers and instructions to go on.
        """
        candidates = next((self._branches[digest] for digest in begun if digest in self._branches), [])
        best: tuple[_Branch | None, list[bool], int] = None, [False] * len(digests), 0
        for branch in reversed(candidates[-_MAX_CANDIDATES:]):
            known, after = branch.align(digests)
            if sum(known) > sum(best[1]):
                best = branch, known, after
        return best

    def _append(self, branch: _Branch, digests: Sequence[bytes]) -> None:
        for digest in digests:
            branch.append(digest)
            branches = self._branches.setdefault(digest, [])
            if not branches or branches[-1] is not branch:
                branches.append(branch)


def _is_instruction(message: Message) -> bool:
    return message["role"] in INSTRUCTIONS


def _digest(message: Message) -> bytes:
    """Return a digest of what a message says, regardless of its name and finish reason."""
    text = codec.encode([message["role"], message["parts"]])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
