"""What the nodes of a cluster say of themselves, and what that means."""

from pathlib import Path

import pytest

from cluster.nodes import NodeAnswer, judge, look
from spaces.errors import SpecError

FOLDER = Path("/shared/searches/words")


def answer(node: str, *, sees: bool = True, problem: str = "", torch: str = "2.13.0") -> NodeAnswer:
    return NodeAnswer(node=node, sees_mark=sees, problem=problem, versions={"python": "3.11.2", "torch": torch})


def test_nodes_that_agree_are_worth_no_word() -> None:
    assert judge([answer("10.0.0.1"), answer("10.0.0.2")], FOLDER) == ()


def test_a_node_that_sees_another_folder_is_named() -> None:
    with pytest.raises(SpecError, match=r"node 10\.0\.0\.2 of the cluster does not see `/shared/searches/words`") as e:
        judge([answer("10.0.0.1"), answer("10.0.0.2", sees=False)], FOLDER)
    assert e.value.path == "storage"


def test_a_node_that_cannot_write_is_named_with_its_reason() -> None:
    with pytest.raises(SpecError, match=r"10\.0\.0\.2 of the cluster cannot write .*: read-only file system"):
        judge([answer("10.0.0.1"), answer("10.0.0.2", problem="read-only file system")], FOLDER)


def test_different_versions_are_said_and_nothing_is_refused() -> None:
    (words,) = judge([answer("10.0.0.1"), answer("10.0.0.2", torch="2.12.1")], FOLDER)
    assert words.startswith("nodes have different versions of torch")
    assert "2.12.1 on 10.0.0.2; 2.13.0 on 10.0.0.1" in words


def test_a_node_looks_for_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (mark := tmp_path / ".seen").write_text("")
    found = look(str(mark), "here")
    assert (found.sees_mark, found.problem) == (True, "")
    assert found.versions["torch"].startswith("2.")
    assert [path.name for path in tmp_path.iterdir()] == [".seen"]
    assert not look(str(tmp_path / "other"), "here").sees_mark
