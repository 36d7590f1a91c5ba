"""init, check, schema and --help as a user meets them: quick, quiet and true."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bad_specs import OWN, SCRATCH, TUNED
from conftest import Run
from jsonschema import Draft202012Validator
from patience import HANG_SECONDS

from search.load import json_schema
from search.yaml_text import parse_yaml

ROOT = Path(__file__).parents[2]
EXAMPLES = [*sorted((ROOT / "examples").glob("*.yaml")), *sorted((ROOT / "search" / "templates").glob("*.yaml"))]
HEAVY = ("torch", "transformers", "ray", "optuna", "wandb", "datasets", "pandas", "plotly", "numpy", "sklearn")


def heavy_imports(code: str, folder: Path) -> set[str]:
    """What of HEAVY is imported after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"],
        cwd=folder, capture_output=True, text=True, timeout=HANG_SECONDS, check=True,
    )  # fmt: skip
    return set(HEAVY) & set(done.stderr.split())


def test_help_names_every_command(tunesmith: Run) -> None:
    done = tunesmith("--help")
    assert done.returncode == 0
    for command in ("init", "check", "run", "trial", "resume", "leaderboard", "presets", "schema", "doctor", "cache"):
        assert f" {command} " in done.stdout


@pytest.mark.parametrize(
    "command", ["init", "check", "run", "trial", "resume", "leaderboard", "presets", "schema", "doctor", "cache"]
)
def test_every_command_explains_itself(command: str) -> None:
    from typer.testing import CliRunner

    from search.cli.main import app

    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.output


def test_the_command_line_imports_nothing_heavy(tmp_path: Path) -> None:
    assert heavy_imports("import search.cli.main", tmp_path) == set()


@pytest.mark.parametrize("text", [SCRATCH, TUNED, OWN], ids=["from scratch", "pretrained", "own function"])
def test_check_imports_nothing_heavy(tmp_path: Path, text: str) -> None:
    (tmp_path / "spec.yaml").write_text(text)
    (tmp_path / "own_module.py").write_text("def train(config, report): ...\n")
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text('{"num_hidden_layers": 2}')
    code = "sys.argv = ['tunesmith', 'check', 'spec.yaml']\nfrom search.cli.main import app\napp(standalone_mode=False)"
    assert heavy_imports(code, tmp_path) == set()


@pytest.mark.parametrize("template", ["classification", "fine-tuning", "causal-lm", "custom"])
def test_init_writes_what_check_accepts(tunesmith_here: Run, tmp_path: Path, template: str) -> None:
    assert tunesmith_here("init", "--template", template, "new.yaml").returncode == 0
    done = tunesmith_here("check", "new.yaml")
    assert done.returncode == 0, done.stderr


def test_init_leaves_a_module_that_is_there_already(tunesmith_here: Run, tmp_path: Path) -> None:
    (tmp_path / "my_module.py").write_text("mine")
    assert tunesmith_here("init", "--template", "custom").returncode == 0
    assert (tmp_path / "my_module.py").read_text() == "mine"


def test_the_module_that_init_writes_trains_and_goes_on_where_it_was(tunesmith: Run, tmp_path: Path) -> None:
    assert "my_module.py" in tunesmith("init", "--template", "custom").stdout
    done = tunesmith("trial", "spec.yaml", "--json")
    assert done.returncode == 0, done.stderr
    losses = [evaluation["metrics"]["loss"] for evaluation in json.loads(done.stdout)["evaluations"]]
    assert len(losses) == 10
    assert losses == sorted(losses, reverse=True)


def test_a_spec_finds_its_module_from_any_folder(tunesmith_here: Run, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    assert tunesmith_here("init", "deep/spec.yaml", "--template", "custom").returncode == 0
    shown = tunesmith_here("check", "deep/spec.yaml")
    assert "deep/my_module.py:train, called as function(config, report)" in shown.stdout


def test_init_does_not_overwrite(tunesmith_here: Run, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("mine")
    done = tunesmith_here("init")
    assert done.returncode == 2
    assert "`--force` overwrites it" in done.stderr
    assert (tmp_path / "spec.yaml").read_text() == "mine"
    assert tunesmith_here("init", "--force").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--template", "clasification"], "Did you mean `classification`? Known: causal-lm, classification, custom"),
        (["gone/spec.yaml"], "there is no folder `gone`"),
        (["."], "`.` is a folder"),
    ],
)
def test_init_refuses_what_it_cannot_write(
    tunesmith_here: Run, tmp_path: Path, arguments: list[str], says: str
) -> None:
    done = tunesmith_here("init", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_check_prints_one_json_document_and_leaves_no_files(tunesmith: Run, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SCRATCH)
    done = tunesmith("check", "spec.yaml", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["trials"] == 12
    assert [path.name for path in tmp_path.iterdir()] == ["spec.yaml"]


def test_check_shows_the_plan_with_its_overrides(tunesmith_here: Run, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SCRATCH)
    done = tunesmith_here("check", "spec.yaml", "--set", "search.algorithm=random", "--set", "search.trials=7")
    for words in ("random, seed 0", "trials       7", "1, 3 of 6 epochs", "log_uniform 0.0001 .. 0.03"):
        assert " ".join(words.split()) in " ".join(done.stdout.split())


# --- the schema ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(json_schema())


def test_schema_is_a_valid_schema(tunesmith: Run) -> None:
    done = tunesmith("schema")
    schema = json.loads(done.stdout)
    Draft202012Validator.check_schema(schema)
    assert schema == json_schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_schema_accepts_what_we_ship(validator: Draft202012Validator, path: Path) -> None:
    validator.validate(parse_yaml(path.read_text("utf-8"))[0])


@pytest.mark.parametrize(
    "change",
    [
        {"search": {"algorithm": "grid", "scheduler": "none"}},
        {"search": {"algorithm": {"name": "tpe", "candidates": 5}}},
        {"data": {"source": {"hub": "imdb"}, "tokenizer": {"pretrained": "./here"}}},
        {"data": {"source": {"files": {"train": "a.csv", "test": "b.csv"}}, "tokenizer": {"train": "bpe"}}},
        {"resources": {"concurrent_trials": 3}},
        {"tracking": {"wandb": {"tags": ["a", "b"]}}},
    ],
)
def test_schema_accepts_short_forms(validator: Draft202012Validator, change: dict[str, Any]) -> None:
    validator.validate({"name": "x", "task": "causal_lm", **change})


@pytest.mark.parametrize(
    "change",
    [
        {"search": {"algorithm": "bayes"}},
        {"search": {"algorithm": {"name": "bayes"}}},
        {"search": {"trails": 3}},
        {"data": {"source": {"builtin": "stdlib"}}},
        {"name": "../up"},
        {"unknown": 1},
    ],
)
def test_schema_refuses_mistakes(validator: Draft202012Validator, change: dict[str, Any]) -> None:
    assert not validator.is_valid({"name": "x", "task": "causal_lm", **change})


def test_schema_describes_every_field() -> None:
    schema = json_schema()
    sections = schema["$defs"]
    for name, section in {"the spec": schema, **sections}.items():
        for field, facts in section.get("properties", {}).items():
            described = facts if "description" in facts else sections[facts.get("$ref", name).rpartition("/")[2]]
            assert described.get("description"), f"{field} of {name} has no description"
