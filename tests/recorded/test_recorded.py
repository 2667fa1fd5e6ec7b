"""Tests that replay requests of real libraries, and compare the calls with what the programs asked and received."""

import pytest

from tests.recorded.replay import RECORDINGS, Recording, Replay

LEAST_RECORDINGS = 60
LEAST_SENDERS = 5


def test_recordings_are_many_and_of_many_senders() -> None:
    assert len(RECORDINGS) >= LEAST_RECORDINGS
    assert len({recording.content["sender"] for recording in RECORDINGS}) >= LEAST_SENDERS


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
def test_each_recorded_span_or_op_becomes_one_call(recording: Recording, replay: Replay) -> None:
    project_id = replay.send(recording)
    query = "query Ids($projectId: ID!) { calls(projectId: $projectId, first: 1000) { nodes { id } } }"
    nodes = replay.graphql(query, projectId=project_id)["calls"]["nodes"]
    assert sorted(node["id"] for node in nodes) == sorted(recording.ids().values())
