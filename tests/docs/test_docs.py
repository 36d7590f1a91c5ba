"""What the documentation says is what the code does."""

import importlib.util
import re
from pathlib import Path

import pytest

from search.cli.main import app
from search.load import validate
from search.yaml_text import parse_yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_reference_is_what_the_models_say() -> None:
    found = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    assert (ROOT / "docs" / "reference.md").read_text() == module.reference(), "run python docs/make_reference.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_names_every_command_and_no_other() -> None:
    commands = {command.name for command in (*app.registered_commands, *app.registered_groups)}
    named = set(re.findall(r"`tunesmith (\w+)", (ROOT / "README.md").read_text()))
    assert named == commands


def test_the_spec_in_the_readme_is_valid() -> None:
    text = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert text is not None
    assert validate(parse_yaml(text[1])[0]).name == "docs-topic"
