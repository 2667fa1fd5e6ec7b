"""Tests that replay requests of real libraries, and compare the calls with what the programs asked and received."""

import pytest

from tests.recorded.expectations import expected_of
from tests.recorded.replay import RECORDINGS, Recording, Replay

LEAST_RECORDINGS = 60
LEAST_SENDERS = 10


def test_recordings_are_many_and_of_many_senders() -> None:
    assert len(RECORDINGS) >= LEAST_RECORDINGS
    assert len({recording.content["sender"] for recording in RECORDINGS}) >= LEAST_SENDERS


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
def test_calls_of_a_recording_have_the_expected_reading(recording: Recording, replay: Replay) -> None:
    readings = replay.readings(replay.send(recording))
    ids = recording.ids()
    assert sorted(readings) == sorted(ids.values())
    expected = recording.expected
    assert expected
    assert {
        name: {column: readings[ids[name]][column] for column in reading} for name, reading in expected.items()
    } == expected


def test_recordings_keep_the_readings_that_the_programs_imply() -> None:
    for recording in RECORDINGS:
        content = recording.content
        assert content["expected"] == expected_of(content["sender"], content["library"], content["case"]), recording
