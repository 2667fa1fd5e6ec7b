"""The projects of a database and their sizes."""

from stores.projects.store import PROJECT_FIELDS, ProjectsFilter, ProjectsStore, normalised_id

__all__ = ["PROJECT_FIELDS", "ProjectsFilter", "ProjectsStore", "normalised_id"]
