"""Tests of lists of traces."""
