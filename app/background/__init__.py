"""Periodic jobs and workers, and the supervisor that runs them."""
