"""Resolution of refs in batches: each hop reads the targets of all refs together."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from stores.concurrency.time_slices import cooperative
from stores.errors import BadInputError
from stores.json import codec
from stores.refs.grammar import Ref, parse
from stores.refs.ref_steps import Step, follow
from stores.refs.targets import Budget, Content, RowKey, Target, TargetReader

MAX_HOPS: Final = 32
"""Maximum refs on the path from a ref to its value, itself included."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The result of a ref: JSON text, or None for null and deleted values.

    Otherwise `missing` names the entity that does not exist, or `problem` says why the ref cannot be followed.
    """

    text: str | None = None
    missing: str | None = None
    problem: str | None = None


async def resolve(reader: TargetReader, refs: Iterable[Ref], budget: Budget | None = None) -> dict[Ref, Resolved]:
    """Resolve refs to objects and ops, in at most four commands per hop; all hops share one budget.

    Raises:
        BadInputError: if the texts that are read or returned exceed the budget.
    """
    budget = budget or Budget()
    walks = {ref: _Walk(ref.project_id, replace(ref, steps=()), ref.steps) for ref in refs}
    known: dict[Target, Content] = {}
    pending = list(walks.values())
    for _ in range(MAX_HOPS):
        new = {walk.target for walk in pending if walk.target not in known}
        known |= await reader.read_targets(new, budget) if new else {}
        async for walk in cooperative(pending):
            walk.advance(known.get(walk.target))
            budget.count_returned(walk.result.text if walk.result else None)
        pending = [walk for walk in pending if not walk.result]
        if not pending:
            break
    too_many_hops = Resolved(problem=f"leads through more than {MAX_HOPS} refs, perhaps in a cycle")
    return {ref: walk.result or too_many_hops for ref, walk in walks.items()}


@dataclass(slots=True)
class _Walk:
    """The progress of one ref: its next target, the remaining steps, and the result once known."""

    project_id: str
    target: Target
    steps: tuple[Step, ...]
    result: Resolved | None = field(default=None)

    def advance(self, content: Content | None) -> None:
        """Set the result, or the next target."""
        if content is None:
            self.result = Resolved(missing=self._target_ref)
        elif content.text is None or not self.steps:
            self.result = Resolved(content.text)
        else:
            try:
                self._follow(*follow(content.value, self.steps))
            except BadInputError as error:
                self.result = Resolved(problem=error.message)

    def _follow(self, value: object, remaining: tuple[Step, ...]) -> None:
        if not remaining:
            self.result = Resolved(None if value is None else codec.encode(value))
            return
        ref = parse(str(value))
        if ref.project_id != self.project_id or ref.kind == "call":
            self.result = Resolved()
        elif ref.kind == "table":
            (step, digest), *inner_steps = remaining
            if step != "id":
                raise BadInputError(f"{step} does not apply to a table; use id and the digest of a row")
            self.target, self.steps = RowKey(self.project_id, ref.name, digest), tuple(inner_steps)
        else:
            self.target, self.steps = replace(ref, steps=()), (*ref.steps, *remaining)

    @property
    def _target_ref(self) -> str:
        if isinstance(self.target, Ref):
            return str(self.target)
        return f"{Ref(self.target.project_id, 'table', self.target.table)}/id/{self.target.digest}"
