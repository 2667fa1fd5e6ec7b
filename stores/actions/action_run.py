"""What comes of an action, call by call, as it is carried out."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from stores import refs
from stores.actions.specs import Action
from stores.database.project_registry import RegisteredProjects
from stores.errors import NotFoundError, PayloadTooLargeError, StoreError
from stores.feedback import NewFeedback
from stores.feedback.kinds import RUNNABLE
from stores.json import codec
from stores.paging import Row

MAX_OUTPUTS: Final = 32 * 1024 * 1024
"""Characters of the JSON of all outputs of a batch together: they are in memory until it is answered."""


@dataclass(frozen=True, slots=True)
class Executed:
    """What came of an action: a row for each call that was named, in that order.

    A row has its `call_id` and either the action's `output`, as text under `json`, and the `feedback` that keeps it,
    a row of `stores.feedback`; or the `error`, with `code` and `message`.
    """

    results: list[Row]

    @property
    def num_failed(self) -> int:
        """How many have an error."""
        return sum("error" in row for row in self.results)


@dataclass(slots=True)
class Run:
    """An action on calls of one project; a call that is named twice is looked at once."""

    project_id: str
    action: Action
    wb_user_id: str | None
    listed: RegisteredProjects
    """How the project was listed at first: what is purged meanwhile gets no feedback on what was in it."""
    results: dict[str, Row] = field(default_factory=dict)
    characters: int = 0
    """Of the JSON of all outputs so far."""

    def check_room(self) -> None:
        """See that there is room for another output.

        Raises:
            PayloadTooLargeError: there is none.
        """
        if self.characters >= MAX_OUTPUTS:
            raise PayloadTooLargeError(
                f"what came of other calls of the batch has {self.characters:,} characters as JSON; the limit is "
                f"{MAX_OUTPUTS:,}, so send the rest in another"
            )

    def feedback(self, call_id: str, output: object) -> NewFeedback:
        """What keeps an output."""
        return NewFeedback(
            project_id=self.project_id,
            weave_ref=refs.call_ref({"project_id": self.project_id, "id": call_id}),
            feedback_type=f"{RUNNABLE}.{self.action.name}",
            payload={"output": output},
            runnable_ref=self.action.ref,
            wb_user_id=self.wb_user_id,
        )

    def keep(self, call_id: str, output: object, feedback: Row) -> None:
        """Note what came of a call."""
        kept = {"output": codec.encode(output)}
        self.characters += len(kept["output"])
        self.results[call_id] = {"call_id": call_id, "json": kept, "feedback": feedback}

    def fail(self, call_id: str, error: StoreError) -> None:
        """Note that nothing did."""
        self.results[call_id] = {"call_id": call_id, "error": {"code": error.code, "message": error.message}}

    def miss(self, call_id: str) -> None:
        """Note that there is no such call."""
        self.fail(call_id, NotFoundError(f"there is no call {call_id!r} in {self.project_id}, or it is deleted"))

    @contextmanager
    def failing(self, call_ids: Iterable[str]) -> Iterator[None]:
        """Work for some calls; what goes wrong is noted with each."""
        try:
            yield
        except StoreError as error:
            for call_id in call_ids:
                self.fail(call_id, error)
