"""Random values for the arguments of the schema, chosen by type and name, and sometimes broken."""

import base64
import uuid
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
)

from tests.fuzz import damage, queries, texts
from tests.fuzz.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

OWN_PROJECTS: Final = ("fuzz/own", "fuzz/other")
"""Projects that mutations change."""

DEMO: Final = "demo/assistant"
"""Project that contains the demo data."""

_KIND_BY_NAME: Final = {
    "id": "id", "ids": "ref", "callId": "id", "callIds": "id", "parentId": "id", "parentIds": "id", "feedbackId": "id",
    "evaluationCallId": "id", "traceId": "trace", "traceIds": "trace", "threadId": "thread", "threadIds": "thread",
    "turnId": "turn", "turnIds": "turn", "opName": "op", "opNames": "op", "name": "op", "objectId": "object",
    "objectIds": "object", "digest": "digest", "digests": "digest", "baseDigest": "digest", "rowDigests": "row",
    "refs": "ref", "weaveRef": "ref", "annotationRef": "ref", "runnableRef": "ref", "callRef": "ref",
    "triggerRef": "ref", "actionRef": "ref", "evaluationRef": "ref", "modelRef": "ref", "inputRefs": "ref",
    "outputRefs": "ref", "after": "cursor", "before": "cursor",
}  # fmt: skip
_SMALL: Final = {"first", "last", "offset", "limit", "maxDepth", "maxHighlights", "keepDays", "keepCalls", "n", "index"}
_MODELS: Final = (
    "gpt-4o",
    "gpt-4o-mini",
    "status-500",
    "cut",
    "no-json",
    "huge",
    "redirect",
    "unfinished",
    "none/such",
)


class Enum(str):
    """A value of an enum, which a document writes without quotes."""

    __slots__ = ()


@dataclass
class Values:
    """Generates random values; the share `wildness` of them is broken."""

    random: Random
    pool: Pool
    wildness: float
    writes: bool = False

    def of(self, kind: GraphQLInputType, name: str, depth: int = 4) -> Any:
        """Return a value for an argument or input field."""
        if self.random.random() < self.wildness:
            return texts.broken(self.random)
        if isinstance(kind, GraphQLNonNull):
            return self.of(kind.of_type, name, depth)
        if isinstance(kind, GraphQLList):
            many = self.random.choice((0, 1, 1, 2, 3)) if self.random.random() < 0.99 else 300
            return [self.of(kind.of_type, name, depth - 1) for _ in range(many)]
        if isinstance(kind, GraphQLEnumType):
            return Enum(self.random.choice(list(kind.values)))
        if isinstance(kind, GraphQLInputObjectType):
            return self._object(kind, depth)
        return self._scalar(kind, name)

    def _object(self, kind: GraphQLInputObjectType, depth: int) -> dict[str, Any]:
        fields = kind.fields
        if kind.is_one_of:
            leaves = [name for name in fields if name in {"literal", "nullLiteral", "getField", "json"}]
            names = leaves if depth <= 0 and leaves else list(fields)
            chosen = [self.random.choice(names)]
        else:
            likely = 0.5 if depth > 0 else 0.0
            chosen = [
                n for n, f in fields.items() if isinstance(f.type, GraphQLNonNull) or self.random.random() < likely
            ]
        if self.random.random() < self.wildness:
            chosen = self.random.sample(list(fields), self.random.randint(0, min(3, len(fields))))
        return {name: self.of(fields[name].type, name, depth - 1) for name in chosen}

    def _scalar(self, kind: GraphQLScalarType, name: str) -> Any:
        makers: dict[str, Callable[[str], Any]] = {
            "Int": self._int,
            "BigInt": self._int,
            "Float": lambda _name: self.random.random() * 10,
            "Boolean": lambda _name: self.random.random() < 0.5,
            "JSON": self._json,
            "DateTime": lambda _name: self.random.choice(texts.TIMES),
            "Base64": lambda _name: base64.b64encode(self.random.randbytes(self.random.randint(0, 50))).decode(),
            "Literal": lambda _name: self.random.choice((1, 0.5, True, "a", texts.word(self.random))),
            "Upload": lambda _name: None,
        }
        return makers.get(kind.name, self._text)(name)

    def _int(self, name: str) -> int:
        return self.random.randint(0, 5) if name in _SMALL else self.random.choice((0, 1, 7, 1000))

    def _json(self, name: str) -> Any:
        if name == "json":
            return queries.query(self.random, self.wildness)
        if name == "messages":
            return {"role": "user", "content": texts.word(self.random)}
        if name in {"attributes", "inputs", "summary", "payload", "row"}:
            members = texts.json(self.random, wild=self.wildness > 0)
            return members if isinstance(members, dict) else {"a": members}
        return texts.json(self.random, wild=self.wildness > 0)

    def _text(self, name: str) -> str:
        if name == "projectId":
            return self.project()
        if name in {"field", "path", "getField", "expandColumns"}:
            return queries.field(self.random, self.wildness)
        if name == "model":
            return self.random.choice(_MODELS)
        known = self.pool.pick(self.random, _KIND_BY_NAME[name]) if name in _KIND_BY_NAME else None
        chance = self.random.random()
        if known is None or chance < 0.1:
            return (
                str(uuid.UUID(int=self.random.getrandbits(128), version=4))
                if name.endswith("d")
                else texts.word(self.random)
            )
        return damage.of_text(self.random, known) if chance < 0.1 + self.wildness else known

    def project(self) -> str:
        """Return a project; mutations use only the fuzzer's own projects."""
        own = self.random.choice(OWN_PROJECTS)
        if self.writes:
            return own
        return self.random.choice((DEMO, DEMO, DEMO, own, "no/body"))
