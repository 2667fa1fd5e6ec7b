"""Arguments of fields that name projects."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.projects import normalised_id
from stores.refs import parse, parse_entity

Arguments = Mapping[str, Any]
"""Arguments of a field by their Python names."""

NamedProject = tuple[str, str]
"""A project id, and the path of the argument that names it."""


@dataclass(frozen=True, slots=True)
class ProjectArgument:
    """Extraction of project ids from arguments, and a description of these arguments for the permission table."""

    description: str
    find: Callable[[Arguments], Iterable[NamedProject]]


def _project_id(arguments: Arguments) -> Iterator[NamedProject]:
    yield arguments["project_id"], "project_id"


def _inside(argument: str) -> Callable[[Arguments], Iterator[NamedProject]]:
    def find(arguments: Arguments) -> Iterator[NamedProject]:
        yield arguments[argument].project_id, f"{argument}.project_id"

    return find


def _batch_of_calls(arguments: Arguments) -> Iterator[NamedProject]:
    for position, item in enumerate(arguments["batch"]):
        # The field of a @oneOf input that is not set is UNSET, not None.
        name = "start" if item.start else "end"
        yield getattr(item, name).project_id, f"batch.{position}.{name}.project_id"


def _batch_of_feedback(arguments: Arguments) -> Iterator[NamedProject]:
    for position, item in enumerate(arguments["batch"]):
        yield item.project_id, f"batch.{position}.project_id"


def _ids(arguments: Arguments) -> Iterator[NamedProject]:
    for position, text in enumerate(arguments["ids"]):
        yield from _named_by(_of_entity, f"ids.{position}", text)


def _id(arguments: Arguments) -> Iterator[NamedProject]:
    return _named_by(_of_entity, "id", arguments["id"])


def _refs(arguments: Arguments) -> Iterator[NamedProject]:
    for position, text in enumerate(arguments["refs"]):
        yield from _named_by(_of_ref, f"refs.{position}", text)


def _entity_and_project(arguments: Arguments) -> Iterator[NamedProject]:
    return _named_by(normalised_id, "project", arguments["entity"], arguments["project"])


def _of_entity(text: str) -> str:
    return parse_entity(text).project_id


def _of_ref(text: str) -> str:
    return parse(text).project_id


def _named_by(read: Callable[..., str], argument: str, *texts: str) -> Iterator[NamedProject]:
    """Yield the project that some texts name; their field rejects invalid texts without a lookup."""
    try:
        project_id = read(*texts)
    except BadInputError:
        return
    yield project_id, argument


def _no_projects(_arguments: Arguments) -> Iterable[NamedProject]:
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
OWN: Final = ProjectArgument("only projects where the caller has the role", _no_projects)
