"""Results of an action run, collected call by call."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from stores import refs
from stores.actions.specs import Action
from stores.database.project_registry import RegisteredProjects
from stores.errors import NotFoundError, PayloadTooLargeError, StoreError
from stores.feedback import NewFeedback
from stores.feedback.inputs import RUNNABLE
from stores.json import codec
from stores.paging import Row

MAX_OUTPUT_CHARACTERS: Final = 32 * 1024 * 1024
"""Limit on the JSON characters of all outputs of a batch, which stay in memory until the response is sent."""


@dataclass(frozen=True, slots=True)
class ActionResults:
    """Results of an action, one row per requested call, in request order.

    A row has `call_id`, and either the action's output as `json.output` with the `feedback` that stores it, or `error`
    with `code` and `message`.
    """

    results: list[Row]

    @property
    def num_failed(self) -> int:
        """Number of rows with an error."""
        return sum("error" in row for row in self.results)


@dataclass(slots=True)
class ActionRun:
    """One action on calls of one project; repeated call ids are processed once."""

    project_id: str
    action: Action
    wb_user_id: str | None
    listed: RegisteredProjects
    """Registration of the project at the start. If it is purged meanwhile, no feedback is stored."""
    results: dict[str, Row] = field(default_factory=dict)
    characters: int = 0
    """JSON characters of all outputs so far."""

    def check_size(self) -> None:
        """Check that another output may be added.

        Raises:
            PayloadTooLargeError: the outputs have reached `MAX_OUTPUT_CHARACTERS`.
        """
        if self.characters >= MAX_OUTPUT_CHARACTERS:
            raise PayloadTooLargeError(
                f"the outputs of the batch have {self.characters:,} characters of JSON; the limit is "
                f"{MAX_OUTPUT_CHARACTERS:,}, so send the remaining calls in another request"
            )

    def feedback(self, call_id: str, output: object) -> NewFeedback:
        """Build the feedback that stores an output."""
        return NewFeedback(
            project_id=self.project_id,
            weave_ref=refs.call_ref({"project_id": self.project_id, "id": call_id}),
            feedback_type=f"{RUNNABLE}.{self.action.name}",
            payload={"output": output},
            runnable_ref=self.action.ref,
            wb_user_id=self.wb_user_id,
        )

    def record(self, call_id: str, output: object, feedback: Row) -> None:
        """Record the output of a call and its feedback."""
        texts = {"output": codec.encode(output)}
        self.characters += len(texts["output"])
        self.results[call_id] = {"call_id": call_id, "json": texts, "feedback": feedback}

    def record_error(self, call_id: str, error: StoreError) -> None:
        """Record the error of a call."""
        self.results[call_id] = {"call_id": call_id, "error": {"code": error.code, "message": error.message}}

    def record_missing(self, call_id: str) -> None:
        """Record that a call does not exist."""
        self.record_error(
            call_id, NotFoundError(f"there is no call {call_id!r} in {self.project_id}, or it is deleted")
        )

    @contextmanager
    def recording_errors(self, call_ids: Iterable[str]) -> Iterator[None]:
        """Record a store error raised in the block as the error of all `call_ids`."""
        try:
            yield
        except StoreError as error:
            for call_id in call_ids:
                self.record_error(call_id, error)
