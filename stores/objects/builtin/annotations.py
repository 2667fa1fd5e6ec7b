"""Annotations: what people may note about calls, and in which form."""

from pydantic import Field

from stores.objects.builtin.base import BaseObject, OwnJsonSchema


class AnnotationSpec(BaseObject):
    """One thing to note: the JSON Schema of its values, and the ops for whose calls it is asked."""

    field_schema: OwnJsonSchema = Field(default_factory=dict)
    unique_among_creators: bool = False
    op_scope: list[str] | None = None
