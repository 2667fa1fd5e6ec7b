"""Evaluations: runs of a model over the examples of a dataset, as trees of calls."""

from stores.evaluations.store import EvaluationsStore

__all__ = ["EvaluationsStore"]
