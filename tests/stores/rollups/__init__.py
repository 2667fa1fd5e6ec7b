"""Tests of roll-ups of calls."""
