"""Saved views: lists of calls with their filter, sort and layout."""

from typing import Literal

from pydantic import Field

from stores.objects.builtin.base import BaseObject, JsonObject, Strict


class BaseModelStrict(Strict):
    """Base class in Weave, by its name in `_bases`."""


class CallsFilter(BaseModelStrict):
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


class Query(BaseModelStrict):
    """A condition of the Query DSL, as JSON."""

    expr: JsonObject = Field(alias="$expr")


class SortBy(BaseModelStrict):
    """One key of a sort."""

    field: str
    direction: Literal["asc", "desc"]


class Pin(Strict):
    """Columns pinned to the left or right."""

    left: list[str]
    right: list[str]


class Column(Strict):
    """One column and its title."""

    path: list[str | int] | None = None
    label: str | None = None


class ChartConfig(Strict):
    """One chart above the list."""

    x_axis: str
    y_axis: str
    plot_type: Literal["scatter", "line", "bar"] | None = None
    bin_count: int | None = None
    aggregation: Literal["average", "sum", "min", "max", "p95", "p99"] | None = None
    group_keys: list[str] | None = None
    custom_name: str | None = None


class SavedViewDefinition(Strict):
    """Content and layout of the view."""

    filter: CallsFilter | None = None
    query: Query | None = None
    cols: dict[str, bool] | None = None
    columns: list[Column] | None = None
    pin: Pin | None = None
    sort_by: list[SortBy] | None = None
    page: int | None = None
    page_size: int | None = None
    charts: list[ChartConfig] | None = None
    dataset_selector: str | None = None
    evaluation_selector: str | None = None


class SavedView(BaseObject):
    """A saved view of traces or evaluations, with a label."""

    view_type: str
    label: str
    definition: SavedViewDefinition
