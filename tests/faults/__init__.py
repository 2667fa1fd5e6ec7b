"""Tests that run a real `loomql serve` on real mongods and cause failures while clients write."""
