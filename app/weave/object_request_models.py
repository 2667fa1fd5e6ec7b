"""What the Weave SDK sends of objects and tables."""

from pydantic import ValidationInfo, field_validator

from app.weave.request_models import Json, Listing, OfProject, Request, check_access
from stores.errors import BadInputError
from stores.objects import ObjectsFilter, ObjectVersion
from stores.refs import is_ref, parse
from stores.refs.store import MAX_REFS
from stores.tables.inputs import Append, Insert, Pop, RowFilter, TableUpdate


class ObjectForInsert(OfProject):
    """A version of an object."""

    object_id: str
    val: Json
    builtin_object_class: str | None = None
    set_base_object_class: str | None = None
    wb_user_id: str | None = None


class ObjCreateReq(Request):
    """A version of an object that is to be made."""

    obj: ObjectForInsert

    def to_store(self, *, is_large: bool = False) -> ObjectVersion:
        """The version as the store takes it."""
        return ObjectVersion(**dict(self.obj), is_large=is_large)


class ObjReadReq(OfProject):
    """Which version."""

    object_id: str
    digest: str
    metadata_only: bool | None = None


class ObjectFilter(Request):
    """The filter of objects."""

    base_object_classes: list[str] | None = None
    exclude_base_object_classes: list[str] | None = None
    leaf_object_classes: list[str] | None = None
    object_ids: list[str] | None = None
    is_op: bool | None = None
    latest_only: bool | None = None


class ObjQueryReq(Listing):
    """Which objects, and what of them."""

    filter: ObjectFilter | None = None
    metadata_only: bool | None = None
    include_storage_size: bool | None = None

    @property
    def which(self) -> ObjectsFilter | None:
        """The filter as the store takes it."""
        return ObjectsFilter(**dict(self.filter)) if self.filter else None


class ObjDeleteReq(OfProject):
    """The versions that go."""

    object_id: str
    digests: list[str] | None = None


class RefsReadBatchReq(Request):
    """The refs to look up."""

    refs: list[str]

    @field_validator("refs")
    @classmethod
    def _are_accessible(cls, refs: list[str], info: ValidationInfo) -> list[str]:
        for ref in refs if len(refs) <= MAX_REFS else ():  # more are refused by their number
            # What is no ref, or that of a file of W&B's, leads nowhere here: it is refused without a look.
            if is_ref(ref):
                check_access(parse(ref).project_id, info)
        return refs


class TableAround(Request):
    """A table that is to be made, without its rows."""

    table: OfProject


class TableCreateFromDigestsReq(OfProject):
    """The digests of a table's rows."""

    row_digests: list[str]


class RowPayload(Request):
    """A row for the end."""

    row: Json


class IndexPayload(Request):
    """A position."""

    index: int


class InsertPayload(Request):
    """A row and the position before which it goes."""

    index: int
    row: Json


class UpdateSpec(Request):
    """One change of a table: just one of the three."""

    append: RowPayload | None = None
    pop: IndexPayload | None = None
    insert: InsertPayload | None = None

    def to_store(self, at: str) -> TableUpdate:
        """The change as the store takes it.

        Raises:
            BadInputError: it is none of the three, or several.
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
    """Changes of a table, each an `UpdateSpec`; there may be so many that they are read in turns."""

    base_digest: str
    updates: list[Json]


class TableFilter(Request):
    """The filter of rows."""

    row_digests: list[str] | None = None


class TableQueryReq(Listing):
    """Which rows."""

    digest: str
    filter: TableFilter | None = None

    @property
    def which(self) -> RowFilter | None:
        """The filter as the store takes it."""
        return RowFilter(self.filter.row_digests) if self.filter else None


class TableStatsReq(OfProject):
    """Which table."""

    digest: str


class TablesStatsReq(OfProject):
    """Which tables, and what of them."""

    digests: list[str] | None = None
    include_storage_size: bool | None = None
