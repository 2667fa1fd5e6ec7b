"""GraphQL inputs that filter and write objects and ops."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import optional_input, plain_field
from stores import objects as store
from stores.errors import BadInputError


@strawberry.input(
    description="Filter of versions. A version matches if each non-empty list contains its value and all other "
    "conditions hold. An empty or omitted list sets no condition. Each list has at most 1,000 entries."
)
class ObjectVersionFilter:
    """Filter of objects and ops; `to_store` converts it to `stores.objects.ObjectsFilter`."""

    base_object_classes: list[str] | None = optional_input("Base classes of the objects.")
    exclude_base_object_classes: list[str] | None = optional_input(
        "Base classes to exclude; objects without a class are excluded too."
    )
    leaf_object_classes: list[str] | None = optional_input("Classes of the objects themselves.")
    object_ids: list[str] | None = optional_input("Names of the objects.")
    is_op: bool | None = optional_input(
        "True if only ops match, false if only other objects match; both match if omitted."
    )
    latest_only: bool | None = optional_input("True if only the latest version of each name matches.")

    def to_store(self) -> store.ObjectsFilter:
        """Convert to the filter of `stores.objects`."""
        return store.ObjectsFilter(**vars(self))


@strawberry.input(description="Filter of versions of ops; an empty or omitted list sets no condition.")
class OpVersionFilter:
    """Filter of ops."""

    op_names: list[str] | None = optional_input("Names of the ops, at most 1,000.")
    latest_only: bool | None = optional_input("True if only the latest version of each op matches.")

    def to_store(self) -> store.ObjectsFilter:
        """Convert to a filter of `stores.objects` that only ops match."""
        return store.ObjectsFilter(
            object_ids=self.op_names, latest_only=self.latest_only, is_op=True, ids_argument="op_names"
        )


@strawberry.input(
    description="Version of an object or op, identified by the digest of its value. An existing version keeps its "
    "index, is restored if it was deleted, and becomes the latest."
)
class ObjSchemaForInsert:
    """Version to create."""

    project_id: strawberry.ID = plain_field("Id of the project, as entity/project.")
    object_id: str = plain_field("Name of the object: 1 to 128 letters, digits, dots, underscores and hyphens.")
    val: JSON | None = strawberry.field(
        description='Value of the version: any JSON value; null must be explicit. A value with `_type` "Op" '
        "makes an op; `_class_name` and `_bases` state the class.",
        default=strawberry.UNSET,
    )
    builtin_object_class: str | None = optional_input(
        "Built-in class, such as AnnotationSpec, Provider or SavedView, that validates and completes the value; none "
        "if omitted."
    )
    set_base_object_class: str | None = optional_input("Built-in class, under its old argument name.")
    wb_user_id: str | None = optional_input("User who writes; the caller if omitted.")

    def to_store(self) -> store.ObjectVersion:
        """Convert to the version of `stores.objects`.

        Raises:
            BadInputError: if the client omitted `val`.
        """
        if self.val is strawberry.UNSET:
            raise BadInputError("is required; send null explicitly if the value is null", "val")
        return store.ObjectVersion(**vars(self))
