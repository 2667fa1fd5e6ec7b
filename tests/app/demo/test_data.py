"""The data files of the demo."""

from pathlib import Path
from random import Random

from hatchling.builders.wheel import WheelBuilder

from app import demo
from app.demo.library import COMPANY, FOREIGN_TOPICS, TOPICS, draw_case

FOLDER = Path(demo.__file__).parent
ROOT = Path(__file__).parents[3]


def test_wheel_contains_the_data_of_the_demo() -> None:
    packed = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}

    files = {path.relative_to(ROOT).as_posix() for path in FOLDER.glob("*.toml")}
    assert files
    assert files <= packed


def test_facts_of_a_case_fill_every_placeholder() -> None:
    case = draw_case(Random(1))
    phrases = ("greetings", "sign_offs", "lead_ins", "openings", "closings")
    texts = [tool["error"] for tool in COMPANY["tools"].values()]
    for topic in [*TOPICS, *FOREIGN_TOPICS]:
        pairs = [*topic["exchanges"], *topic["follow_ups"], *topic["thanks"]]
        texts += [text for pair in pairs for text in pair]
        texts += [topic["apology"], *(text for name in phrases for text in topic[name])]

    assert len(texts) > 200
    assert not any("{" in text.format_map(case) for text in texts)


def test_topics_use_known_tools_and_releases_known_models() -> None:
    assert {tool for topic in [*TOPICS, *FOREIGN_TOPICS] for tool in topic["tools"]} <= COMPANY["tools"].keys()
    assert {release["planner"] for release in COMPANY["releases"]} <= COMPANY["models"].keys()
