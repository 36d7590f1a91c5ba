"""Whether all nodes can write where a search is kept."""

from pathlib import Path

import pytest

from cluster.storage import NodeAnswer, check_nodes_can_write, judge, look
from spaces.errors import SpecError


def test_a_node_that_sees_the_mark_and_writes_beside_it_is_able_and_leaves_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.write_text("")
    assert look(str(mark), "10.0.0.7") == NodeAnswer(node="10.0.0.7")
    assert list(tmp_path.iterdir()) == [mark]


def test_a_node_with_another_folder_at_that_path_says_so(tmp_path: Path) -> None:
    answer = look(str(tmp_path / "mark"), "10.0.0.7")
    assert answer.problem == f"it does not see `{tmp_path}` as this machine has it"


def test_the_node_its_reason_and_what_to_do_are_named() -> None:
    answers = [NodeAnswer(node="10.0.0.6"), NodeAnswer(node="10.0.0.7", problem="it does not see `/data`")]
    with pytest.raises(SpecError, match=r"storage.path: node 10.0.0.7 of .* does not see `/data`.* `s3://`"):
        judge(answers, "/data/searches")
    judge(answers[:1], "/data/searches")


def test_a_store_gets_other_advice_than_a_folder() -> None:
    with pytest.raises(SpecError, match="credentials"):
        judge([NodeAnswer(node="10.0.0.7", problem="no permission")], "s3://bucket/searches")


@pytest.mark.ray
@pytest.mark.slow
def test_each_node_of_a_real_cluster_is_asked(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        assert check_nodes_can_write(tmp_path / "not-there-yet") == 2
        assert list(tmp_path.iterdir()) == []
    finally:
        ray.shutdown()
        cluster.shutdown()
