"""Resolving refs: all together, hop by hop, where a value on the way is itself a ref that leads elsewhere."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from stores.concurrency.time_slices import cooperative
from stores.errors import BadInputError
from stores.json import codec
from stores.refs.grammar import Ref, parse
from stores.refs.ref_steps import Edge, follow
from stores.refs.targets import Budget, Content, RowKey, Target, TargetReader

MAX_HOPS: Final = 32
"""Refs on the way from one ref to its value, itself included."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a ref leads to: a JSON text, or None for null and what is deleted.

    Instead there may be the ref of what is `missing`, or the `problem` of a ref that cannot lead anywhere.
    """

    text: str | None = None
    missing: str | None = None
    problem: str | None = None


async def resolve(sources: TargetReader, refs: Iterable[Ref], budget: Budget | None = None) -> dict[Ref, Resolved]:
    """What each of some refs to objects and ops leads to, in at most four commands a hop; all hops on one budget.

    Raises:
        BadInputError: what is read, or what is made of it, goes beyond the budget.
    """
    budget = budget or Budget()
    walks = {ref: _Walk(ref.project_id, replace(ref, edges=()), ref.edges) for ref in refs}
    known: dict[Target, Content] = {}
    waiting = list(walks.values())
    for _ in range(MAX_HOPS):
        new = {walk.target for walk in waiting if walk.target not in known}
        known |= await sources.read_targets(new, budget) if new else {}
        async for walk in cooperative(waiting):
            walk.go_on(known.get(walk.target))
            budget.give(walk.end.text if walk.end else None)
        waiting = [walk for walk in waiting if not walk.end]
        if not waiting:
            break
    circling = Resolved(problem=f"leads on through more than {MAX_HOPS} refs, or in a circle")
    return {ref: walk.end or circling for ref, walk in walks.items()}


@dataclass(slots=True)
class _Walk:
    """One ref on its way: what it leads into next, and the edges from there on; the end once it is reached."""

    project_id: str
    target: Target
    edges: tuple[Edge, ...]
    end: Resolved | None = field(default=None)

    def go_on(self, content: Content | None) -> None:
        """Go on to the end, or to the next target."""
        if content is None:
            self.end = Resolved(missing=self._name)
        elif content.text is None or not self.edges:
            self.end = Resolved(content.text)
        else:
            try:
                self._follow(*follow(content.value, self.edges))
            except BadInputError as error:
                self.end = Resolved(problem=error.message)

    def _follow(self, value: object, rest: tuple[Edge, ...]) -> None:
        if not rest:
            self.end = Resolved(None if value is None else codec.encode(value))
            return
        ref = parse(str(value))
        if ref.project_id != self.project_id or ref.kind == "call":
            self.end = Resolved()
        elif ref.kind == "table":
            (edge, digest), *others = rest
            if edge != "id":
                raise BadInputError(f"{edge} leads into a table, where an edge is id and the digest of a row")
            self.target, self.edges = RowKey(self.project_id, ref.name, digest), tuple(others)
        else:
            self.target, self.edges = replace(ref, edges=()), (*ref.edges, *rest)

    @property
    def _name(self) -> str:
        if isinstance(self.target, Ref):
            return str(self.target)
        return f"{Ref(self.target.project_id, 'table', self.target.table)}/id/{self.target.digest}"
