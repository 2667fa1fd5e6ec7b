"""What clients send about objects and ops."""

import strawberry
from strawberry.scalars import JSON

from graphql_schema.fields import optional_input, plain_field
from stores import objects as store
from stores.errors import BadInputError


@strawberry.input(
    description="Which versions: each list matches any of its members, all that is given must match, "
    "and a list that is empty or left out asks nothing. A list holds at most 1,000 members."
)
class ObjectVersionFilter:
    """The filter of objects and ops."""

    base_object_classes: list[str] | None = optional_input("The classes that they descend from.")
    exclude_base_object_classes: list[str] | None = optional_input(
        "The classes that they do not descend from; what has no class is left out, too."
    )
    leaf_object_classes: list[str] | None = optional_input("The classes that they are of.")
    object_ids: list[str] | None = optional_input("Their names.")
    is_op: bool | None = optional_input("With true only ops, with false only other objects.")
    latest_only: bool | None = optional_input("With true, only the latest version of each name.")

    def to_store(self) -> store.ObjectsFilter:
        """The filter as the store takes it."""
        return store.ObjectsFilter(**vars(self))


@strawberry.input(description="Which versions of ops; a list that is empty or left out asks nothing.")
class OpVersionFilter:
    """The filter of ops."""

    op_names: list[str] | None = optional_input("Their names, at most 1,000.")
    latest_only: bool | None = optional_input("With true, only the latest version of each op.")


@strawberry.input(
    description="A version of an object or op. It is called by the digest of its value; one that is there already "
    "keeps its index, comes back if it was deleted, and is the latest again."
)
class ObjSchemaForInsert:
    """A version to make."""

    project_id: strawberry.ID = plain_field("The project, as entity/project.")
    object_id: str = plain_field("The name: 1 to 128 letters, digits, dots, underscores and hyphens.")
    val: JSON | None = strawberry.field(
        description='The value: any JSON, null only if it is said. With `_type` "Op" it is an op; `_class_name` and '
        "`_bases` say its class.",
        default=strawberry.UNSET,
    )
    builtin_object_class: str | None = optional_input(
        "A built-in class, such as AnnotationSpec, Provider or SavedView: the value is checked and completed by it."
    )
    set_base_object_class: str | None = optional_input("The same, by its old name.")
    wb_user_id: str | None = optional_input("Who writes; the caller if left out.")

    def to_store(self) -> store.ObjectVersion:
        """The version as the store takes it.

        Raises:
            BadInputError: it has no value.
        """
        if self.val is strawberry.UNSET:
            raise BadInputError("is required; write null if that is the value", "val")
        return store.ObjectVersion(**vars(self))
