"""README's section on typed clients: the files that it shows, and the commands over them."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Final

from tests.installation import ROOT

_SECTION: Final = re.findall(
    r"^## Typed clients\n(.*?)^## ", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
)
_PARTS: Final = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", _SECTION[0], re.DOTALL | re.MULTILINE))


class Example:
    """The example in one language."""

    def __init__(self, language: str) -> None:
        text = _PARTS[language]
        self._files = dict(re.findall(r"^```\w+\n(?://|#) (\S+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
        installing, running = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        self.packages = [word for word in installing.split() if not word.startswith("-")]
        """The words of the commands that install what is needed."""
        self.commands = [shlex.split(line) for line in running.splitlines()]
        """The commands, in their order; the last one runs the program."""

    def write(self, folder: Path) -> None:
        """Write its files and the committed schema into a folder."""
        shutil.copy(ROOT / "graphql_schema" / "schema.graphql", folder)
        for name, text in self._files.items():
            (folder / name).write_text(text)


TYPESCRIPT: Final = Example("TypeScript")
PYTHON: Final = Example("Python")
