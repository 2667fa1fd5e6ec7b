"""Requests of the Weave SDK about objects and tables."""

from pydantic import ValidationInfo, field_validator

from app.weave.request_models import Json, Listing, OfProject, Request, check_access
from stores.errors import BadInputError
from stores.objects import ObjectsFilter, ObjectVersion
from stores.refs import is_ref, parse
from stores.refs.store import MAX_REFS
from stores.tables.inputs import Append, Insert, Pop, RowFilter, TableUpdate


class ObjectForInsert(OfProject):
    """A version of an object or op."""

    object_id: str
    val: Json
    builtin_object_class: str | None = None
    set_base_object_class: str | None = None
    wb_user_id: str | None = None


class ObjCreateReq(Request):
    """Request to create a version of an object or op."""

    obj: ObjectForInsert

    def to_store(self, *, is_large: bool = False) -> ObjectVersion:
        """Return the version as input for the store."""
        return ObjectVersion(**dict(self.obj), is_large=is_large)


class ObjReadReq(OfProject):
    """Request for one version; `digest` may also be `latest` or an index such as `v3`."""

    object_id: str
    digest: str
    metadata_only: bool | None = None


class ObjectFilter(Request):
    """Filter of object versions."""

    base_object_classes: list[str] | None = None
    exclude_base_object_classes: list[str] | None = None
    leaf_object_classes: list[str] | None = None
    object_ids: list[str] | None = None
    is_op: bool | None = None
    latest_only: bool | None = None


class ObjQueryReq(Listing):
    """Request for object versions: filter, sort, limit and the fields to return."""

    filter: ObjectFilter | None = None
    metadata_only: bool | None = None
    include_storage_size: bool | None = None

    @property
    def which(self) -> ObjectsFilter | None:
        """The filter as input for the store."""
        return ObjectsFilter(**dict(self.filter)) if self.filter else None


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


class RowPayload(Request):
    """A row to append."""

    row: Json


class IndexPayload(Request):
    """Position of the row to remove."""

    index: int


class InsertPayload(Request):
    """A row and the position at which to insert it."""

    index: int
    row: Json


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
        match self.append, self.pop, self.insert:
            case RowPayload() as appended, None, None:
                return Append(appended.row)
            case None, IndexPayload() as popped, None:
                return Pop(popped.index)
            case None, None, InsertPayload() as inserted:
                return Insert(inserted.index, inserted.row)
            case _:
                raise BadInputError("must be just one of append, pop and insert", at)


class TableUpdateReq(OfProject):
    """Request to change a table. Each update is an `UpdateSpec`, validated one by one, because there may be many."""

    base_digest: str
    updates: list[Json]


class TableFilter(Request):
    """Filter of table rows."""

    row_digests: list[str] | None = None


class TableQueryReq(Listing):
    """Request for rows of a table."""

    digest: str
    filter: TableFilter | None = None

    @property
    def which(self) -> RowFilter | None:
        """The filter as input for the store."""
        return RowFilter(self.filter.row_digests) if self.filter else None


class TableStatsReq(OfProject):
    """Request for the number of rows of a table."""

    digest: str


class TablesStatsReq(OfProject):
    """Request for row counts, and storage sizes if requested, of several tables."""

    digests: list[str] | None = None
    include_storage_size: bool | None = None
