"""What the nodes of a cluster say of themselves and of where a search is kept, and what that means."""

from pathlib import Path

import pytest

from cluster.nodes import Agreement, NodeAnswer, check_nodes, judge, look
from spaces.errors import SpecError

FOLDER = Path("/shared/searches/words")


def answer(node: str, *, problem: str = "", torch: str = "2.13.0") -> NodeAnswer:
    return NodeAnswer(node=node, problem=problem, versions={"python": "3.11.2", "torch": torch})


def test_nodes_that_agree_are_worth_no_word() -> None:
    assert judge([answer("10.0.0.1"), answer("10.0.0.2")], FOLDER) == Agreement(num_nodes=2)


def test_a_node_that_cannot_write_is_named_with_its_reason_and_what_to_do() -> None:
    answers = [answer("10.0.0.1"), answer("10.0.0.2", problem="read-only file system in `/shared`")]
    with pytest.raises(SpecError, match=r"node 10\.0\.0\.2 of .* cannot write .*: read-only file system.*NFS") as e:
        judge(answers, FOLDER)
    assert e.value.path == "storage.path"


def test_a_store_gets_other_advice_than_a_folder() -> None:
    with pytest.raises(SpecError, match=r"no permission\. To do: give it credentials"):
        judge([answer("10.0.0.7", problem="no permission.")], "s3://bucket/searches")


def test_of_many_nodes_that_cannot_write_five_are_named() -> None:
    with pytest.raises(SpecError, match=r"nodes 10\.0\.0\.0, .*, 10\.0\.0\.4 and 95 more of"):
        judge([answer(f"10.0.0.{index}", problem="disk full") for index in range(100)], FOLDER)


def test_different_versions_are_said_and_nothing_is_refused() -> None:
    (words,) = judge([answer("10.0.0.1"), answer("10.0.0.2", torch="2.12.1")], FOLDER).differences
    assert words.startswith("nodes have different versions of torch")
    assert "2.12.1 on 10.0.0.2; 2.13.0 on 10.0.0.1" in words


def test_a_node_looks_for_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (mark := tmp_path / ".seen").write_text("")
    found = look(str(mark), "10.0.0.7")
    assert (found.node, found.problem) == ("10.0.0.7", "")
    assert found.versions["torch"].startswith("2.")
    assert list(tmp_path.iterdir()) == [mark]


def test_a_node_with_another_folder_at_that_path_says_so(tmp_path: Path) -> None:
    assert look(str(tmp_path / "mark"), "10.0.0.7").problem == f"it does not see `{tmp_path}` as this machine has it"


@pytest.mark.ray
@pytest.mark.slow
def test_each_node_of_a_real_cluster_is_asked(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        assert check_nodes(tmp_path / "not-there-yet") == Agreement(num_nodes=2)
        assert list(tmp_path.iterdir()) == []
    finally:
        ray.shutdown()
        cluster.shutdown()
