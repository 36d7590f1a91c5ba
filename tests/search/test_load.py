"""What a user reads who made a mistake: the key, the line, the rule, the nearest name; and never a traceback."""

import os
from pathlib import Path

import pytest
from bad_specs import BAD_SPECS, CHATS, OWN, PAIRS, PROMPT, SCRATCH, TUNED, BadSpec
from conftest import Run

from search.load import SpecErrors, load_spec
from search.plan import make_plan
from spaces.errors import SpecError

pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pretrained model, some that are none, and a module."""
    facts = '{"model_type": "bert", "num_hidden_layers": 2, "max_position_embeddings": 64}'
    for name, config in {"tiny": facts, "broken": "{", "empty": None}.items():
        (tmp_path / name).mkdir()
        if config is not None:
            (tmp_path / name / "config.json").write_text(config)
    (tmp_path / "own_module.py").write_text("def train(config, report): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def refusal(text: str | bytes, *overrides: str) -> SpecError:
    """The error for a spec."""
    path = Path("spec.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as caught:
        make_plan(load_spec(path, overrides=overrides))
    return caught.value


def files_here() -> set[str]:
    return {os.path.relpath(path) for path in Path.cwd().rglob("*") if "__pycache__" not in path.parts}


GOOD = {
    "from scratch": SCRATCH,
    "pretrained": TUNED,
    "own function": OWN,
    "chats": CHATS,
    "pairs": PAIRS,
    "prompt": PROMPT,
}


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
def test_the_specs_that_are_broken_below_are_good(good: str) -> None:
    Path("spec.yaml").write_text(good)
    # The least are the five points of `prompt`: no point is run twice.
    assert make_plan(load_spec(Path("spec.yaml"))).num_trials >= 5


@pytest.mark.parametrize("bad", BAD_SPECS.values(), ids=BAD_SPECS.keys())
def test_a_mistake_is_explained_on_its_line(bad: BadSpec) -> None:
    error = refusal(bad.text)
    for words in bad.says:
        assert words in str(error)
    assert error.line == bad.line
    assert "\n" not in str(error)
    assert "Traceback" not in str(error)


def test_a_mistake_leaves_no_files() -> None:
    before = files_here()
    refusal(SCRATCH.replace("name: good", "name: ''"))
    assert files_here() - before == {"spec.yaml"}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "holds nothing"),
        ("# only a comment", None, "holds nothing"),
        ("- a\n- b", None, "holds a list"),
        ("just words", None, "holds a text"),
        ("5", None, "holds a number"),
        ("name: x\nmodel:\n\tarchitecture: bert", 3, "a tab stands where YAML wants spaces"),
        ("name: x\nname: y", 2, "`name` stands twice: on lines 1 and 2"),
        ("name: !!python/name:os.system x", 1, "not allowed"),
        (b"name: \xff\xfe", None, "is not UTF-8 text"),
        ("name: x".encode("utf-16"), None, "is not UTF-8 text"),
    ],
)
def test_a_file_that_holds_no_spec_is_refused(text: str | bytes, line: int | None, says: str) -> None:
    error = refusal(text)
    assert says in str(error)
    assert error.line == line


def test_a_missing_file_suggests_the_nearest() -> None:
    Path("quickstart.yaml").write_text(SCRATCH)
    with pytest.raises(
        SpecError, match=r"no file `quickstrat.yaml`. Did you mean `quickstart.yaml`\? `tunesmith init`"
    ):
        load_spec(Path("quickstrat.yaml"))


@pytest.mark.parametrize("path", ["gone/spec.yaml", "own_module.py/spec.yaml", "x" * 300])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(SpecError, match=r"no file|cannot read"):
        load_spec(Path(path))


def test_a_folder_is_no_spec() -> None:
    Path("tiny/spec.yaml").write_text(SCRATCH)
    with pytest.raises(SpecError, match=r"`tiny` is a folder\. Did you mean `tiny/spec\.yaml`"):
        load_spec(Path("tiny"))


def test_all_mistakes_of_the_sections_are_told_at_once() -> None:
    error = refusal(SCRATCH.replace("trials:", "trails:").replace("keep:", "keeps:"))
    assert isinstance(error, SpecErrors)
    assert [(single.path, single.line) for single in error.errors] == [("search.trails", 36), ("checkpoints.keeps", 44)]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("search.trials", "`--set` takes PATH=VALUE"),
        ("=5", "`--set` takes PATH=VALUE"),
        ("search.trials=[1", "search.trials: the value of `--set search.trials=[1` is no valid YAML"),
        ("search..trials=5", "a path is made of keys and single dots"),
        ("search.trails=5", "search.trails: unknown key"),
        ("search.trials=many", "search.trials: expected a whole number, but got 'many'"),
        ("name.first=x", "`name.first` cannot be set: `name` is 'good'"),
        ("space.training.learning_rat={uniform: [0, 1]}", "space.training.learning_rat:"),
        ("space=5", "space: expected a mapping, but got 5"),
        ("derive=[]", "derive: expected a mapping, but got []"),
    ],
)
def test_a_bad_override_is_refused_and_blames_no_line_of_the_file(override: str, says: str) -> None:
    error = refusal(SCRATCH, override)
    assert says in str(error)
    assert error.line is None


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("search.trials=3", "trials", 3),
        ("search.trials=", "trials", None),
        ("search.metric=eval/f1", "metric", "eval/f1"),
        ("search.seed= 7", "seed", 7),
    ],
)
def test_an_override_wins_over_the_file(override: str, path: str, value: object) -> None:
    Path("spec.yaml").write_text(SCRATCH)
    assert getattr(load_spec(Path("spec.yaml"), overrides=[override]).spec.search, path) == value


def test_an_override_reaches_a_dotted_key_of_an_empty_space() -> None:
    Path("spec.yaml").write_text(OWN.replace("\n  config.step_size: {log_uniform: [1e-3, 1]}", ""))
    loaded = load_spec(Path("spec.yaml"), overrides=["space.config.step_size={choice: [1, 2]}"])
    assert loaded.spec.space == {"config.step_size": {"choice": [1, 2]}}


@pytest.mark.parametrize(
    "algorithm", ["tpe", "{name: random, candidates: 24, startup_trials: null}", "{name: tpe, candidates: 5}"]
)
def test_recorded_defaults_of_other_algorithms_are_accepted(algorithm: str) -> None:
    Path("spec.yaml").write_text(SCRATCH)
    load_spec(Path("spec.yaml"), overrides=[f"search.algorithm={algorithm}"])


# --- the real command ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "run", "trial"])
@pytest.mark.parametrize(
    ("text", "starts"),
    [
        (SCRATCH.replace("trials: 12", "trails: 12"), "error: line 36: search.trails: unknown key"),
        (SCRATCH.replace("num_attention_heads: 2", "num_attention_heads: 3"), "error: line 8: model.config.num_att"),
        (SCRATCH.replace("  num_train", "\tnum_train"), "error: line 21: this is no valid YAML: a tab"),
    ],
    ids=["unknown key", "heads", "tab"],
)
def test_the_command_says_error_and_does_nothing(tunesmith_here: Run, command: str, text: str, starts: str) -> None:
    Path("spec.yaml").write_text(text)
    before = files_here()
    done = tunesmith_here(command, "spec.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(starts)
    assert "Traceback" not in done.stderr
    assert files_here() == before


@pytest.mark.parametrize("arguments", [["check", "gone.yaml"], ["check", "."], ["check", "spec.yaml", "--set", "x"]])
def test_the_command_explains_bad_arguments(tunesmith_here: Run, arguments: list[str]) -> None:
    Path("spec.yaml").write_text(SCRATCH)
    done = tunesmith_here(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
