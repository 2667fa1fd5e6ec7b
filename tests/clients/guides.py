"""The guides to typed clients: their files and commands."""

import shutil
from pathlib import Path
from typing import Final

from tests.docs.pages import page, parse_commands
from tests.installation import ROOT


class Example:
    """The example in one language."""

    def __init__(self, language: str) -> None:
        blocks = page(f"how-to/{language}-client").blocks
        self._files = {block.file_name: block.text.partition("\n")[2] for block in blocks if block.file_name}
        *_, installing, running = [block.text for block in blocks if block.language == "sh"]
        self.packages = [word for word in installing.split() if not word.startswith("-")]
        """Words of the commands that install the packages, without options."""
        self.commands = parse_commands(running)
        """Commands in order; the last one runs the program."""

    def write(self, folder: Path) -> None:
        """Write its files and the committed schema into a folder."""
        shutil.copy(ROOT / "graphql_schema" / "schema.graphql", folder)
        for name, text in self._files.items():
            (folder / name).write_text(text)


TYPESCRIPT: Final = Example("typescript")
PYTHON: Final = Example("python")
