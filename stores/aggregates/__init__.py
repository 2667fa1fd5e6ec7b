"""Aggregates of calls: metrics by group, facets of fields, and usage summed up the tree of a trace."""

from stores.aggregates.call_paths import CallPaths, CallPathsStore, JsonType
from stores.aggregates.facets import Facet, FacetsStore
from stores.aggregates.grouping import Bucket, GroupBy, Grouping
from stores.aggregates.store import Aggregate, AggregatesStore
from stores.usage.own import UsageOf

__all__ = [
    "Aggregate",
    "AggregatesStore",
    "Bucket",
    "CallPaths",
    "CallPathsStore",
    "Facet",
    "FacetsStore",
    "GroupBy",
    "Grouping",
    "JsonType",
    "UsageOf",
]
