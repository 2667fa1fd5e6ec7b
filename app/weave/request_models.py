"""Requests of the Weave SDK, with the class names of its API; unknown fields are ignored."""

import dataclasses
import logging
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, create_model, field_validator

from app.auth.permissions import ACCESS
from stores import times
from stores.calls import CallEnd, CallsFilter, CallStart
from stores.calls.inputs import MAX_EXCEPTION
from stores.costs import NewCost
from stores.costs.store import check_number
from stores.errors import BadInputError
from stores.feedback import NewFeedback
from stores.images import ImageInputs
from stores.json import AnyJson
from stores.objects import ObjectsFilter, ObjectVersion, classes
from stores.query import Query
from stores.query.sort import SortBy, check_key_count
from stores.refs import is_ref, parse
from stores.refs.store import MAX_REFS
from stores.tables import Append, Insert, Pop, RowFilter, TableUpdate
from stores.threads import ThreadsFilter

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


def _few(check: Callable[[int], None]) -> BeforeValidator:
    """Reject too many members before pydantic validates each of them, which takes long."""

    def check_number_of_members(value: object) -> object:
        if isinstance(value, list | dict):
            check(len(value))
        return value

    return BeforeValidator(check_number_of_members)


_TIMES: Final = ("_at", "_date", "_datetime")
"""Endings of the names of times."""

_END_OF_INTEGERS: Final = 2**63
"""First integer that is too large for MongoDB."""


class Request(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(extra="ignore", frozen=True)


_Input = TypeVar("_Input")
_Model = TypeVar("_Model", bound="StoreInput[Any]")


class StoreInput(Request, Generic[_Input]):
    """A request, or a part of one, that becomes the input of a store; `fields_of` adds its fields."""

    input_type: ClassVar[Any]

    def to_store(self, **more: object) -> _Input:
        """Return the store's input with its fields of the request, and with `more`."""
        names = self.input_type.__dataclass_fields__
        made: _Input = self.input_type(**{name: value for name, value in self if name in names}, **more)
        return made


def fields_of(input_type: type, *server_fields: str) -> Callable[[type[_Model]], type[_Model]]:
    """Add the fields of a store's input to a request, apart from those that only the server sets."""
    types = {
        name: (Time | None if type(None) in get_args(hint) else Time) if name.endswith(_TIMES) else hint
        for name, hint in get_type_hints(input_type).items()
    }
    fields: dict[str, Any] = {
        field.name: (types[field.name], ... if field.default is dataclasses.MISSING else field.default)
        for field in dataclasses.fields(input_type)
        if field.name not in server_fields
    }

    def add(model: type[_Model]) -> type[_Model]:
        new = {name: definition for name, definition in fields.items() if name not in model.model_fields}
        whole = create_model(model.__name__, __base__=model, __module__=model.__module__, **new)
        whole.input_type = input_type
        return whole

    return add


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


@fields_of(CallStart, "is_large", "traits", "values_with_files", "span_attributes")
class Start(StoreInput[CallStart], OfProject):
    """Start of a call."""


@fields_of(CallEnd, "is_large", "traits", "values_with_files", "usage_scope")
class End(StoreInput[CallEnd], OfProject):
    """End of a call."""

    def to_store(self, **more: object) -> CallEnd:
        """Return the end as input for the store; an exception that is too long is truncated, not rejected."""
        end = super().to_store(**more)
        length = len(end.exception or "")
        if end.exception and length > MAX_EXCEPTION:
            _log.warning(
                "the exception of call %.100s of %.300s has %d characters and is cut to %d",
                *(end.id, end.project_id, length, MAX_EXCEPTION),
            )
            mark = f"… [cut by LoomQL, of {length:,} characters]"
            end.exception = end.exception[: MAX_EXCEPTION - len(mark)] + mark
        return end


class CallStartReq(Request):
    """Request to store one start."""

    start: Start


class CallEndReq(Request):
    """Request to store one end."""

    end: End


class BatchItem(Request):
    """A start or an end in a batch."""

    mode: Literal["start", "end"]
    req: AnyJson


class CallReadReq(OfProject):
    """Request for one call, and for optional fields of it."""

    id: str
    include_costs: bool | None = None
    include_storage_size: bool | None = None
    include_total_storage_size: bool | None = None


class Sort(classes.SortBy, extra="ignore"):
    """One sort key."""


class Filter(classes.CallsFilter, extra="ignore"):
    """Filter of calls."""

    def to_store(self) -> CallsFilter:
        """Return the filter as input for the store."""
        return CallsFilter(**dict(self))


class Listing(OfProject):
    """A list query: query, sort, limit and offset; without a limit it returns all rows."""

    query: AnyJson = None
    sort_by: Annotated[list[Sort] | None, _few(check_key_count)] = None
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


class CallUpdateReq(OfProject):
    """Request to rename a call."""

    call_id: str
    display_name: str | None = None
    wb_user_id: str | None = None


class CallsDeleteReq(OfProject):
    """Request to delete calls."""

    call_ids: list[str]
    wb_user_id: str | None = None


class DigestReq(OfProject):
    """Request for a file or a table."""

    digest: str


@fields_of(NewFeedback, "created_at", "takes_call_id", "is_named", "text")
class FeedbackCreateReq(StoreInput[NewFeedback], OfProject):
    """A new feedback item."""


class FeedbackReplaceReq(FeedbackCreateReq):
    """A new feedback item, and the id of the one that it replaces."""

    feedback_id: str


class FieldsQueryReq(Listing):
    """Request for feedback or costs; without `fields` it returns all fields."""

    fields: list[str] | None = None


class PurgeReq(OfProject):
    """Request to delete rows; the query selects them by id."""

    query: AnyJson


@fields_of(NewCost, "llm_id", "rates")
class Cost(StoreInput[NewCost]):
    """Prices of a model."""


class CostCreateReq(OfProject):
    """Request to set prices, by model."""

    costs: Annotated[dict[str, Cost], _few(check_number)]
    wb_user_id: str | None = None


@fields_of(ThreadsFilter)
class ThreadFilter(StoreInput[ThreadsFilter]):
    """Filter of threads."""


class ThreadsQueryReq(Listing):
    """Request for threads."""

    filter: ThreadFilter | None = None


@fields_of(ObjectVersion, "kind", "classes", "is_large")
class ObjectForInsert(StoreInput[ObjectVersion], OfProject):
    """A version of an object or op."""


class ObjCreateReq(Request):
    """Request to create a version of an object or op."""

    obj: ObjectForInsert


class ObjReadReq(OfProject):
    """Request for one version; `digest` may also be `latest` or an index such as `v3`."""

    object_id: str
    digest: str
    metadata_only: bool | None = None


@fields_of(ObjectsFilter, "ids_argument")
class ObjectFilter(StoreInput[ObjectsFilter]):
    """Filter of object versions."""


class ObjQueryReq(Listing):
    """Request for object versions: filter, sort, limit and the fields to return."""

    filter: ObjectFilter | None = None
    metadata_only: bool | None = None
    include_storage_size: bool | None = None


class ObjDeleteReq(OfProject):
    """Request to delete versions of an object; without digests it deletes all."""

    object_id: str
    digests: list[str] | None = None


class RefsReadBatchReq(Request):
    """Request for the values of refs."""

    refs: list[str]

    @field_validator("refs")
    @classmethod
    def _are_accessible(cls, refs: list[str], info: ValidationInfo) -> list[str]:
        for ref in refs if len(refs) <= MAX_REFS else ():  # the store rejects longer lists
            # Texts that are not refs, and refs to W&B files, never resolve here; the store rejects them without a
            # lookup.
            if is_ref(ref):
                check_access(parse(ref).project_id, info)
        return refs


class TableAround(Request):
    """A request to create a table, without its rows."""

    table: OfProject


class TableCreateFromDigestsReq(OfProject):
    """Request to create a table from the digests of stored rows."""

    row_digests: list[str]


@fields_of(Append)
class RowPayload(StoreInput[Append]):
    """A row to append."""


@fields_of(Pop)
class IndexPayload(StoreInput[Pop]):
    """Position of the row to remove."""


@fields_of(Insert)
class InsertPayload(StoreInput[Insert]):
    """A row and the position at which to insert it."""


class UpdateSpec(Request):
    """One change of a table; exactly one of the three fields is set."""

    append: RowPayload | None = None
    pop: IndexPayload | None = None
    insert: InsertPayload | None = None

    def to_store(self, at: str) -> TableUpdate:
        """Return the change as input for the store.

        Raises:
            BadInputError: none or several of the three fields are set.
        """
        changes = [change for change in (self.append, self.pop, self.insert) if change]
        if len(changes) != 1:
            raise BadInputError("must be just one of append, pop and insert", at)
        return changes[0].to_store()


class TableUpdateReq(OfProject):
    """Request to change a table. Each update is an `UpdateSpec`, validated one by one, because there may be many."""

    base_digest: str
    updates: list[AnyJson]


@fields_of(RowFilter)
class TableFilter(StoreInput[RowFilter]):
    """Filter of table rows."""


class TableQueryReq(Listing):
    """Request for rows of a table."""

    digest: str
    filter: TableFilter | None = None


class TablesStatsReq(OfProject):
    """Request for row counts, and storage sizes if requested, of several tables."""

    digests: list[str] | None = None
    include_storage_size: bool | None = None


class Lookup(Request):
    """A GraphQL request to the W&B API."""

    query: str
    variables: dict[str, AnyJson] | None = None
    operation_name: str | None = Field(default=None, alias="operationName")


class ActionsExecuteBatchReq(OfProject):
    """Request to run an action on calls."""

    action_ref: str
    call_ids: list[str]
    wb_user_id: str | None = None


@fields_of(ImageInputs)
class ImageGenerationRequestInputs(StoreInput[ImageInputs]):
    """Model, prompt and number of images to generate."""


class ImageGenerationCreateReq(OfProject):
    """Request to generate images."""

    inputs: ImageGenerationRequestInputs
    wb_user_id: str | None = None
    track_llm_call: bool | None = True


class CompletionsCreateReq(OfProject):
    """Request for a chat completion; the store validates the inputs."""

    inputs: dict[str, AnyJson]
    wb_user_id: str | None = None
    track_llm_call: bool | None = True
