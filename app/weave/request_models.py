"""Requests of the Weave SDK, with the class names of its API; unknown fields are ignored."""

import logging
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from app.auth.permissions import ACCESS
from stores import times
from stores.calls import CallEnd, CallsFilter, CallStart
from stores.calls.inputs import MAX_EXCEPTION
from stores.costs import NewCost
from stores.costs.store import check_number
from stores.errors import BadInputError
from stores.feedback import NewFeedback
from stores.images import ImageInputs
from stores.query import Query
from stores.query.sort import SortBy, check_key_count
from stores.threads.filters import ThreadsFilter

_log: Final = logging.getLogger("loomql")


def _micros(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a time in ISO 8601")  # noqa: TRY004 -- what pydantic takes for a verdict
    try:
        return times.parse(value)
    except BadInputError as error:
        raise ValueError(error.message) from None


Time = Annotated[int, BeforeValidator(_micros)]
"""Microseconds since the epoch, parsed from ISO 8601."""

Json = Any

_END_OF_INTEGERS: Final = 2**63
"""First integer that is too large for MongoDB."""


class Request(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def check_access(project_id: str, info: ValidationInfo) -> None:
    """Check during validation that the caller has the role that the route requires in the project.

    Raises:
        ForbiddenError: the caller does not have the role.
    """
    access = (info.context or {})[ACCESS]
    access.check(project_id)


class OfProject(Request):
    """A request about one project."""

    project_id: str

    @field_validator("project_id")
    @classmethod
    def _is_accessible(cls, project_id: str, info: ValidationInfo) -> str:
        check_access(project_id, info)
        return project_id


class Start(OfProject):
    """Start of a call."""

    op_name: str
    started_at: Time
    attributes: Json
    inputs: Json
    id: str | None = None
    trace_id: str | None = None
    display_name: str | None = None
    parent_id: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None
    wb_user_id: str | None = None
    wb_run_id: str | None = None
    wb_run_step: int | None = None

    def to_store(self, *, is_large: bool = False) -> CallStart:
        """Return the start as input for the store."""
        return CallStart(**{name: getattr(self, name) for name in Start.model_fields}, is_large=is_large)


class End(OfProject):
    """End of a call."""

    id: str
    ended_at: Time
    summary: Json
    exception: str | None = None
    output: Json = None
    wb_run_step_end: int | None = None

    def to_store(self, *, is_large: bool = False) -> CallEnd:
        """Return the end as input for the store; an exception that is too long is truncated, not rejected."""
        fields = {name: getattr(self, name) for name in End.model_fields}
        return CallEnd(**fields | {"exception": self._short_exception()}, is_large=is_large)

    def _short_exception(self) -> str | None:
        length = len(self.exception or "")
        if self.exception is None or length <= MAX_EXCEPTION:
            return self.exception
        _log.warning(
            "the exception of call %.100s of %.300s has %d characters and is cut to %d",
            *(self.id, self.project_id, length, MAX_EXCEPTION),
        )
        mark = f"… [cut by LoomQL, of {length:,} characters]"
        return self.exception[: MAX_EXCEPTION - len(mark)] + mark


class CallStartReq(Request):
    """Request to store one start."""

    start: Start


class CallEndReq(Request):
    """Request to store one end."""

    end: End


class BatchItem(Request):
    """A start or an end in a batch."""

    mode: Literal["start", "end"]
    req: Json


class CallReadReq(OfProject):
    """Request for one call, and for optional fields of it."""

    id: str
    include_costs: bool | None = None
    include_storage_size: bool | None = None
    include_total_storage_size: bool | None = None


class Sort(Request):
    """One sort key."""

    field: str
    direction: Literal["asc", "desc"]


def _few_keys(value: object) -> object:
    """Reject too many sort keys before pydantic validates each of them."""
    if isinstance(value, list):
        check_key_count(len(value))
    return value


class Filter(Request):
    """Filter of calls."""

    op_names: list[str] | None = None
    input_refs: list[str] | None = None
    output_refs: list[str] | None = None
    parent_ids: list[str] | None = None
    trace_ids: list[str] | None = None
    call_ids: list[str] | None = None
    thread_ids: list[str] | None = None
    turn_ids: list[str] | None = None
    trace_roots_only: bool | None = None
    wb_user_ids: list[str] | None = None
    wb_run_ids: list[str] | None = None


class Listing(OfProject):
    """A list query: query, sort, limit and offset; without a limit it returns all rows."""

    query: Json = None
    sort_by: Annotated[list[Sort] | None, BeforeValidator(_few_keys)] = None
    limit: int | None = Field(default=None, ge=0, lt=_END_OF_INTEGERS)
    offset: int | None = Field(default=None, ge=0, lt=_END_OF_INTEGERS)

    @property
    def sort_keys(self) -> list[SortBy]:
        """The sort as input for the stores."""
        return [SortBy(key.field, key.direction == "desc") for key in self.sort_by or ()]

    @property
    def where(self) -> Query | None:
        """The query as input for the stores; None if there is none."""
        return None if self.query is None else Query(self.query)


class CallsQueryReq(Listing):
    """Request for calls: filter, columns, refs to expand, and optional fields."""

    filter: Filter | None = None
    include_costs: bool | None = None
    include_feedback: bool | None = None
    include_storage_size: bool | None = None
    include_total_storage_size: bool | None = None
    columns: list[str] | None = None
    expand_columns: list[str] | None = None
    return_expanded_column_values: bool | None = True

    @property
    def which(self) -> CallsFilter | None:
        """The filter as input for the store."""
        return CallsFilter(**dict(self.filter)) if self.filter else None


class CallUpdateReq(OfProject):
    """Request to rename a call."""

    call_id: str
    display_name: str | None = None
    wb_user_id: str | None = None


class CallsDeleteReq(OfProject):
    """Request to delete calls."""

    call_ids: list[str]
    wb_user_id: str | None = None


class FileReq(OfProject):
    """Request for the content of a file."""

    digest: str


class FeedbackCreateReq(OfProject):
    """A new feedback item."""

    weave_ref: str
    feedback_type: str
    payload: Json
    id: str | None = None
    creator: str | None = None
    annotation_ref: str | None = None
    runnable_ref: str | None = None
    call_ref: str | None = None
    trigger_ref: str | None = None
    wb_user_id: str | None = None

    def to_store(self) -> NewFeedback:
        """Return the feedback as input for the store."""
        return NewFeedback(**{name: getattr(self, name) for name in FeedbackCreateReq.model_fields})


class FeedbackReplaceReq(FeedbackCreateReq):
    """A new feedback item, and the id of the one that it replaces."""

    feedback_id: str


class FieldsQueryReq(Listing):
    """Request for feedback or costs; without `fields` it returns all fields."""

    fields: list[str] | None = None


class PurgeReq(OfProject):
    """Request to delete rows; the query selects them by id."""

    query: Json


class Cost(Request):
    """Prices of a model."""

    prompt_token_cost: float
    completion_token_cost: float
    prompt_token_cost_unit: str | None = None
    completion_token_cost_unit: str | None = None
    effective_date: Time | None = None
    provider_id: str | None = None


def _few_costs(value: object) -> object:
    """Reject too many costs before pydantic validates each of them, which takes long."""
    if isinstance(value, dict):
        check_number(len(value))
    return value


class CostCreateReq(OfProject):
    """Request to set prices, by model."""

    costs: Annotated[dict[str, Cost], BeforeValidator(_few_costs)]
    wb_user_id: str | None = None

    def to_store(self) -> list[NewCost]:
        """Return the prices as input for the store."""
        return [NewCost(llm_id, **dict(cost)) for llm_id, cost in self.costs.items()]


class ThreadFilter(Request):
    """Filter of threads."""

    after_datetime: Time | None = None
    before_datetime: Time | None = None
    thread_ids: list[str] | None = None


class ThreadsQueryReq(Listing):
    """Request for threads."""

    filter: ThreadFilter | None = None

    @property
    def which(self) -> ThreadsFilter | None:
        """The filter as input for the store."""
        return ThreadsFilter(**dict(self.filter)) if self.filter else None


class Lookup(Request):
    """A GraphQL request to the W&B API."""

    query: str
    variables: dict[str, Json] | None = None
    operation_name: str | None = Field(default=None, alias="operationName")


class ActionsExecuteBatchReq(OfProject):
    """Request to run an action on calls."""

    action_ref: str
    call_ids: list[str]
    wb_user_id: str | None = None


class ImageGenerationRequestInputs(Request):
    """Model, prompt and number of images to generate."""

    model: str
    prompt: str
    n: int | None = None

    def to_store(self) -> ImageInputs:
        """Return the inputs as input for the store."""
        return ImageInputs(self.model, self.prompt, self.n)


class ImageGenerationCreateReq(OfProject):
    """Request to generate images."""

    inputs: ImageGenerationRequestInputs
    wb_user_id: str | None = None
    track_llm_call: bool | None = True


class CompletionsCreateReq(OfProject):
    """Request for a chat completion; the store validates the inputs."""

    inputs: dict[str, Json]
    wb_user_id: str | None = None
    track_llm_call: bool | None = True
