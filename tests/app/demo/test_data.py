"""The data files of the demo."""

from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

from app import demo

FOLDER = Path(demo.__file__).parent
ROOT = Path(__file__).parents[3]


def test_wheel_contains_the_data_of_the_demo() -> None:
    packed = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}

    files = {path.relative_to(ROOT).as_posix() for path in FOLDER.glob("*.toml")}
    assert files
    assert files <= packed
