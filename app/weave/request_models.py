"""What the Weave SDK sends, class by class as its API names them; fields that are not known here are left out."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from app.auth.callers import ACCESS
from app.weave.errors import log
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


def _micros(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a time in ISO 8601")  # noqa: TRY004 -- what pydantic takes for a verdict
    try:
        return times.parse(value)
    except BadInputError as error:
        raise ValueError(error.message) from None


Time = Annotated[int, BeforeValidator(_micros)]
"""Microseconds since the epoch, of a time in ISO 8601."""

Json = Any

_END_OF_INTEGERS: Final = 2**63
"""What MongoDB's integers do not reach."""


class Request(BaseModel):
    """What all requests have in common."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def check_access(project_id: str, info: ValidationInfo) -> None:
    """See, as soon as a request is read, that its caller may do there what the route is for.

    Raises:
        ForbiddenError: they may not.
    """
    access = (info.context or {})[ACCESS]
    access.check(project_id)


class OfProject(Request):
    """A request that concerns one project."""

    project_id: str

    @field_validator("project_id")
    @classmethod
    def _is_accessible(cls, project_id: str, info: ValidationInfo) -> str:
        check_access(project_id, info)
        return project_id


class Start(OfProject):
    """The start of a call."""

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
        """The start as the store takes it."""
        return CallStart(**{name: getattr(self, name) for name in Start.model_fields}, is_large=is_large)


class End(OfProject):
    """The end of a call."""

    id: str
    ended_at: Time
    summary: Json
    exception: str | None = None
    output: Json = None
    wb_run_step_end: int | None = None

    def to_store(self, *, is_large: bool = False) -> CallEnd:
        """The end as the store takes it; an exception that is too long is cut, so that all else of the end is kept."""
        fields = {name: getattr(self, name) for name in End.model_fields}
        return CallEnd(**fields | {"exception": self._short_exception()}, is_large=is_large)

    def _short_exception(self) -> str | None:
        length = len(self.exception or "")
        if self.exception is None or length <= MAX_EXCEPTION:
            return self.exception
        log.warning(
            "the exception of call %.100s of %.300s has %d characters and is cut to %d",
            *(self.id, self.project_id, length, MAX_EXCEPTION),
        )
        mark = f"… [cut by LoomQL, of {length:,} characters]"
        return self.exception[: MAX_EXCEPTION - len(mark)] + mark


class CallStartReq(Request):
    """One start."""

    start: Start


class CallEndReq(Request):
    """One end."""

    end: End


class BatchItem(Request):
    """A start or an end in a batch."""

    mode: Literal["start", "end"]
    req: Json


class CallReadReq(OfProject):
    """Which call, and what of it."""

    id: str
    include_costs: bool | None = None
    include_storage_size: bool | None = None
    include_total_storage_size: bool | None = None


class Sort(Request):
    """One key of a sort."""

    field: str
    direction: Literal["asc", "desc"]


def _few_keys(value: object) -> object:
    """The keys of a sort, unless there are more than the stores take."""
    if isinstance(value, list):
        check_key_count(len(value))
    return value


class Filter(Request):
    """The filter of calls."""

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
    """What lists are asked: an order and a part of it, all of it where there is no limit."""

    query: Json = None
    sort_by: Annotated[list[Sort] | None, BeforeValidator(_few_keys)] = None
    limit: int | None = Field(default=None, ge=0, lt=_END_OF_INTEGERS)
    offset: int | None = Field(default=None, ge=0, lt=_END_OF_INTEGERS)

    @property
    def sort_keys(self) -> list[SortBy]:
        """The sort as the stores take it."""
        return [SortBy(key.field, key.direction == "desc") for key in self.sort_by or ()]

    @property
    def where(self) -> Query | None:
        """The query as the stores take it."""
        return None if self.query is None else Query(self.query)


class CallsQueryReq(Listing):
    """Which calls, and what of them."""

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
        """The filter as the store takes it."""
        return CallsFilter(**dict(self.filter)) if self.filter else None


class CallUpdateReq(OfProject):
    """A call's new name."""

    call_id: str
    display_name: str | None = None
    wb_user_id: str | None = None


class CallsDeleteReq(OfProject):
    """The calls that go."""

    call_ids: list[str]
    wb_user_id: str | None = None


class FileReq(OfProject):
    """Which file."""

    digest: str


class FeedbackCreateReq(OfProject):
    """A piece of feedback."""

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
        """The feedback as the store takes it."""
        return NewFeedback(**{name: getattr(self, name) for name in FeedbackCreateReq.model_fields})


class FeedbackReplaceReq(FeedbackCreateReq):
    """A piece of feedback, and which goes for it."""

    feedback_id: str


class FieldsQueryReq(Listing):
    """Which feedback or costs, and which fields of theirs; all where none are named."""

    fields: list[str] | None = None


class PurgeReq(OfProject):
    """What goes, by ids."""

    query: Json


class Cost(Request):
    """The prices of a model."""

    prompt_token_cost: float
    completion_token_cost: float
    prompt_token_cost_unit: str | None = None
    completion_token_cost_unit: str | None = None
    effective_date: Time | None = None
    provider_id: str | None = None


def _few_costs(value: object) -> object:
    """The costs, unless there are more than the store takes: to look at each of them would take long."""
    if isinstance(value, dict):
        check_number(len(value))
    return value


class CostCreateReq(OfProject):
    """Prices by model."""

    costs: Annotated[dict[str, Cost], BeforeValidator(_few_costs)]
    wb_user_id: str | None = None

    def to_store(self) -> list[NewCost]:
        """The prices as the store takes them."""
        return [NewCost(llm_id, **dict(cost)) for llm_id, cost in self.costs.items()]


class ThreadFilter(Request):
    """The filter of threads."""

    after_datetime: Time | None = None
    before_datetime: Time | None = None
    thread_ids: list[str] | None = None


class ThreadsQueryReq(Listing):
    """Which threads."""

    filter: ThreadFilter | None = None

    @property
    def which(self) -> ThreadsFilter | None:
        """The filter as the store takes it."""
        return ThreadsFilter(**dict(self.filter)) if self.filter else None


class Lookup(Request):
    """A GraphQL request."""

    query: str
    variables: dict[str, Json] | None = None
    operation_name: str | None = Field(default=None, alias="operationName")


class ActionsExecuteBatchReq(OfProject):
    """An action, and the calls that it is carried out on."""

    action_ref: str
    call_ids: list[str]
    wb_user_id: str | None = None


class ImageGenerationRequestInputs(Request):
    """What is asked of a model that paints."""

    model: str
    prompt: str
    n: int | None = None

    def to_store(self) -> ImageInputs:
        """The inputs as the store takes them."""
        return ImageInputs(self.model, self.prompt, self.n)


class ImageGenerationCreateReq(OfProject):
    """A request for images."""

    inputs: ImageGenerationRequestInputs
    wb_user_id: str | None = None
    track_llm_call: bool | None = True


class CompletionsCreateReq(OfProject):
    """A request for a completion; the inputs are held to their forms where they are used."""

    inputs: dict[str, Json]
    wb_user_id: str | None = None
    track_llm_call: bool | None = True
