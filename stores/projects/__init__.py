"""The projects of a database, and the sizes of each."""

from stores.projects.store import PROJECT_FIELDS, ProjectsFilter, ProjectsStore, named

__all__ = ["PROJECT_FIELDS", "ProjectsFilter", "ProjectsStore", "named"]
