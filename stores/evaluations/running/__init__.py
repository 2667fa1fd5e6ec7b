"""Evaluation runs executed by the server: prompt models, scored by judge models."""

from stores.evaluations.running.store import CONCURRENT_ROWS, CONCURRENT_RUNS, EvaluationRunsStore

__all__ = ["CONCURRENT_ROWS", "CONCURRENT_RUNS", "EvaluationRunsStore"]
