"""Runs of evaluations that the server does by itself: of models that are prompts, judged by models."""

from stores.evaluations.running.store import ROWS_AT_ONCE, RUNS_AT_ONCE, EvaluationRunsStore

__all__ = ["ROWS_AT_ONCE", "RUNS_AT_ONCE", "EvaluationRunsStore"]
