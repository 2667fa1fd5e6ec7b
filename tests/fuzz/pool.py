"""Ids, digests, cursors and refs from the server's answers, so that requests reach existing data."""

import re
from collections import defaultdict
from random import Random
from typing import Any, Final

_KINDS: Final = {
    "id": "id",
    "callId": "id",
    "call_id": "id",
    "parentId": "id",
    "traceId": "trace",
    "trace_id": "trace",
    "threadId": "thread",
    "thread_id": "thread",
    "turnId": "turn",
    "turn_id": "turn",
    "opName": "op",
    "op_name": "op",
    "objectId": "object",
    "object_id": "object",
    "digest": "digest",
    "rowDigests": "row",
    "row_digests": "row",
    "ref": "ref",
    "weaveRef": "ref",
    "weave_ref": "ref",
    "cursor": "cursor",
    "endCursor": "cursor",
    "startCursor": "cursor",
    "callEventsCursor": "cursor",
    "projectId": "project",
}
_MOST: Final = 300
_ALIAS: Final = re.compile(r"^[a-z]\d+_")


class Pool:
    """The names that answers contained, by kind. Each kind has a limit, after which a new name replaces an old one."""

    def __init__(self) -> None:
        self._seen: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, name: str) -> None:
        seen = self._seen[kind]
        if len(seen) < _MOST:
            seen.append(name)
        else:
            seen[hash(name) % _MOST] = name

    def pick(self, random: Random, kind: str) -> str | None:
        """Return a random name of a kind, or None."""
        seen = self._seen.get(kind)
        return random.choice(seen) if seen else None

    def learn(self, answer: object, depth: int = 12) -> None:
        """Remember the names in an answer."""
        if depth == 0:
            return
        if isinstance(answer, list):
            for item in answer[:20]:
                self.learn(item, depth - 1)
        elif isinstance(answer, dict):
            for key, value in answer.items():
                self._learn_member(_ALIAS.sub("", str(key)), value, depth)

    def _learn_member(self, key: str, value: Any, depth: int) -> None:
        kind = _KINDS.get(key)
        if kind is None or isinstance(value, dict):
            self.learn(value, depth - 1)
            return
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and name and len(name) < 1000:
                self.add(kind, name)
