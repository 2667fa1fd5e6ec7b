"""Leaderboards: models side by side, by the results of evaluations."""

from stores.objects.builtin.base import BaseObject, Strict


class LeaderboardColumn(Strict):
    """One number of one scorer in an evaluation's summary."""

    evaluation_object_ref: str
    scorer_name: str
    summary_metric_path: str
    should_minimize: bool | None = None


class Leaderboard(BaseObject):
    """The columns to compare by."""

    columns: list[LeaderboardColumn]
