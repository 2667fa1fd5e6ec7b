"""The arguments of fields that name projects."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.projects import normalised_id
from stores.refs import parse, parse_entity

Given = Mapping[str, Any]
"""The arguments of a field by their names in Python."""

Named = tuple[str, str]
"""A project, and the path of the argument that names it."""


@dataclass(frozen=True, slots=True)
class ProjectArgument:
    """How the projects are found in the arguments, and how people are told where that is."""

    told: str
    find: Callable[[Given], Iterable[Named]]


def _project_id(given: Given) -> Iterator[Named]:
    yield given["project_id"], "project_id"


def _inside(argument: str) -> Callable[[Given], Iterator[Named]]:
    def find(given: Given) -> Iterator[Named]:
        yield given[argument].project_id, f"{argument}.project_id"

    return find


def _batch_of_calls(given: Given) -> Iterator[Named]:
    for position, item in enumerate(given["batch"]):
        # The one that was not given is UNSET, which is no None.
        name = "start" if item.start else "end"
        yield getattr(item, name).project_id, f"batch.{position}.{name}.project_id"


def _batch_of_feedback(given: Given) -> Iterator[Named]:
    for position, item in enumerate(given["batch"]):
        yield item.project_id, f"batch.{position}.project_id"


def _ids(given: Given) -> Iterator[Named]:
    for position, text in enumerate(given["ids"]):
        yield from _named_by(_of_entity, f"ids.{position}", text)


def _id(given: Given) -> Iterator[Named]:
    return _named_by(_of_entity, "id", given["id"])


def _refs(given: Given) -> Iterator[Named]:
    for position, text in enumerate(given["refs"]):
        yield from _named_by(_of_ref, f"refs.{position}", text)


def _entity_and_project(given: Given) -> Iterator[Named]:
    return _named_by(normalised_id, "project", given["entity"], given["project"])


def _of_entity(text: str) -> str:
    return parse_entity(text).project_id


def _of_ref(text: str) -> str:
    return parse(text).project_id


def _named_by(read: Callable[..., str], argument: str, *texts: str) -> Iterator[Named]:
    """The project that some texts name; what breaks a rule names none, and its field refuses it without a look-up."""
    try:
        project_id = read(*texts)
    except BadInputError:
        return
    yield project_id, argument


def _nowhere(_given: Given) -> Iterable[Named]:
    return ()


PROJECT_ID: Final = ProjectArgument("`projectId`", _project_id)
CALL: Final = ProjectArgument("`call.projectId`", _inside("call"))
START: Final = ProjectArgument("`start.projectId`", _inside("start"))
END: Final = ProjectArgument("`end.projectId`", _inside("end"))
OBJ: Final = ProjectArgument("`obj.projectId`", _inside("obj"))
OP_OBJ: Final = ProjectArgument("`opObj.projectId`", _inside("op_obj"))
TABLE: Final = ProjectArgument("`table.projectId`", _inside("table"))
BATCH_OF_CALLS: Final = ProjectArgument("`projectId` of each item of `batch`", _batch_of_calls)
BATCH_OF_FEEDBACK: Final = ProjectArgument("`projectId` of each item of `batch`", _batch_of_feedback)
ID: Final = ProjectArgument("ref in `id`", _id)
IDS: Final = ProjectArgument("each ref in `ids`", _ids)
REFS: Final = ProjectArgument("each ref in `refs`", _refs)
ENTITY_AND_PROJECT: Final = ProjectArgument("`entity` and `project`", _entity_and_project)
OWN: Final = ProjectArgument("only projects where the caller has the role", _nowhere)
