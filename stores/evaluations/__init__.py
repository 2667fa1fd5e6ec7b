"""Evaluations, read from call trees: runs of a model over the examples of a dataset."""

from stores.evaluations.store import EvaluationsStore, RunsFilter

__all__ = ["EvaluationsStore", "RunsFilter"]
