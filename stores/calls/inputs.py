"""Input of call writes: the start and the end of a call, with their validation."""

import functools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from stores import ids, refs
from stores.errors import BadInputError, StoreError
from stores.input_checks import MAX_NAME, check_length, check_object
from stores.senders.attributes import Attributes

MAX_OP_NAME: Final = 128
MAX_DISPLAY_NAME: Final = 1024
MAX_EXCEPTION: Final = 262_144


@dataclass(slots=True)
class CallStart:
    """The start of a call. Times are microseconds since the epoch; attributes and inputs are JSON objects.

    Attributes:
        is_large: True if preparing the JSON takes so long that a thread should do it.
        values_with_files: names of the JSON values whose long data URLs become files.
        span_attributes: the attributes of the call's span, laid out; None if there is no span or it is laid out later.
    """

    project_id: str
    op_name: str
    started_at: int
    attributes: object
    inputs: object
    id: str | None = None
    trace_id: str | None = None
    display_name: str | None = None
    parent_id: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None
    wb_user_id: str | None = None
    wb_run_id: str | None = None
    wb_run_step: int | None = None
    is_large: bool = False
    values_with_files: Collection[str] = ("inputs",)
    span_attributes: Attributes | None = None

    @property
    def json_values(self) -> dict[str, object]:
        """The JSON values by name."""
        return {"attributes": self.attributes, "inputs": self.inputs}

    def checked(self) -> "CallStart":
        """Validate the start, fill in missing ids, and return it.

        Raises:
            BadInputError: if a field is invalid; the error names the field.
        """
        ids.check_project_id(self.project_id)
        self.id = ids.new_id() if self.id is None else self.id
        self.trace_id = ids.new_id() if self.trace_id is None else self.trace_id
        ids.check_call_id(self.id, "id")
        ids.check_trace_id(self.trace_id, "trace_id")
        if self.parent_id is not None:
            ids.check_call_id(self.parent_id, "parent_id")
        op_trace_name(self.op_name)
        check_length(self.display_name, MAX_DISPLAY_NAME, "display_name")
        for name in ("thread_id", "turn_id", "wb_user_id"):
            check_length(getattr(self, name), MAX_NAME, name)
        if self.wb_run_id is not None:
            ids.check_run_id(self.wb_run_id, "wb_run_id")
        check_object(self.attributes, "attributes")
        check_object(self.inputs, "inputs")
        check_step(self.wb_run_step, "wb_run_step")
        self.wb_user_id = self.wb_user_id or ids.LOCAL_USER
        return self


@dataclass(slots=True)
class CallEnd:
    """The end of a call. `output` is any JSON value, `summary` a JSON object.

    `usage_scope` is that of the summary's usage (`stores.usage.entries`); if it is None, the summary shows it. For the
    further attributes see `CallStart`.
    """

    project_id: str
    id: str
    ended_at: int
    summary: object
    exception: str | None = None
    output: object = None
    wb_run_step_end: int | None = None
    is_large: bool = False
    values_with_files: Collection[str] = ("output",)
    usage_scope: str | None = None

    @property
    def json_values(self) -> dict[str, object]:
        """The JSON values by name."""
        return {"output": self.output, "summary": self.summary}

    def checked(self) -> "CallEnd":
        """Validate the end and return it.

        Raises:
            BadInputError: if a field is invalid; the error names the field.
        """
        ids.check_project_id(self.project_id)
        ids.check_call_id(self.id, "id")
        check_length(self.exception, MAX_EXCEPTION, "exception")
        check_object(self.summary, "summary")
        check_step(self.wb_run_step_end, "wb_run_step_end")
        return self


CallWrite = CallStart | CallEnd
"""A write of a call. GraphQL, OTLP, Weave, imports and completions all produce these."""


@functools.lru_cache(1024)  # programs call few distinct ops; errors are not cached
def op_trace_name(op_name: str) -> str:
    """Return the plain name in an op name: a plain name, or the ref of an op version.

    Plain names have at most 128 characters, refs at most 1,024.

    Raises:
        BadInputError: if it is neither.
    """
    if not op_name.startswith((refs.SCHEME, refs.INTERNAL_SCHEME)):
        check_length(op_name, MAX_OP_NAME, "op_name")
        return op_name
    try:
        ref = refs.parse(op_name)
    except StoreError as error:
        raise error.prefixed("op_name") from None
    if ref.kind != "op":
        raise BadInputError(f"must be the ref of an op, not of kind {ref.kind}", "op_name")
    check_length(op_name, MAX_NAME, "op_name")
    return ref.name


def check_step(step: int | None, argument: str) -> None:
    """Check that a run's step is a non-negative 64-bit integer.

    Raises:
        BadInputError: if it is negative or too large.
    """
    if step is not None and not 0 <= step < 1 << 63:
        raise BadInputError(f"{step} is not a step; steps run from 0 to 2^63 - 1", argument)
