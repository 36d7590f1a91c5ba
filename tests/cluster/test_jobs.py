"""Searches on a real Ray cluster over HTTP, with a token: one head for all tests of this file."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from far_searches import Call, client, lay_out
from patience import HANG_SECONDS
from ray_cluster import RayHead, running_head

from analysis.sources import read_records
from cluster.connect import ClusterError
from cluster.jobs import check_ray_version, checked_address, open_jobs
from cluster.tokens import Token, find_token
from spaces.errors import SpecError


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHead]:
    with running_head(tmp_path_factory.mktemp("head")) as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def call(head: RayHead, folder: Path) -> Call:
    return client(head, folder, RAY_API_SERVER_ADDRESS=head.url)


@pytest.fixture(scope="module")
def submitted(call: Call, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "secret").write_text("not-for-others")
    done = call(
        "submit", "spec.yaml", "--storage", str(folder / "storage"), "--secret-file", f"OWN_KEY={folder}/secret"
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.ray
def test_a_submitted_search_runs_to_its_end_and_can_be_followed(
    submitted: subprocess.CompletedProcess[str], call: Call, folder: Path
) -> None:
    assert "tunesmith jobs logs far --follow" in submitted.stdout
    followed = call("jobs", "logs", "far", "--follow")
    assert followed.returncode == 0, followed.stdout
    assert "Best: trial 0" in followed.stdout
    record = read_records(folder / "storage" / "far")
    assert [trial.value for trial in record.trials] == [pytest.approx(slope / 3) for slope in (0.5, 1.0, 2.0, 4.0)]
    listed = json.loads(call("jobs", "list", "--json").stdout)
    assert [(job["search"], job["state"]) for job in listed] == [("far", "finished")]


@pytest.mark.ray
def test_what_was_submitted_lies_beside_the_search(submitted: object, folder: Path) -> None:
    (shelf,) = (folder / "storage" / ".submitted").iterdir()
    assert sorted(path.name for path in shelf.iterdir() if path.is_file()) == [
        "spec.yaml", "steepness.py", "walking.py",
    ]  # fmt: skip
    assert f"{shelf}/walking.py:train" in (folder / "storage" / "far" / "spec.yaml").read_text()


@pytest.mark.ray
def test_the_same_search_is_not_submitted_twice(submitted: object, call: Call, folder: Path) -> None:
    again = call("submit", "spec.yaml", "--storage", str(folder / "storage"))
    assert again.returncode == 2
    assert "`far`" in again.stderr
    assert "--resume" in again.stderr or "already as job" in again.stderr


@pytest.mark.ray
def test_no_secret_is_in_what_the_cluster_tells_of_its_jobs(submitted: object, head: RayHead) -> None:
    answer = requests.get(f"{head.url}/api/jobs/", headers={"Authorization": f"Bearer {head.token}"}, timeout=10)
    assert "OWN_KEY" in answer.text
    assert "not-for-others" not in answer.text
    assert head.token not in answer.text


@pytest.mark.ray
def test_a_search_is_scaled_stopped_in_order_and_resumed(call: Call, folder: Path) -> None:
    (slow := folder / "slow").touch()
    slower = ["--set", "name=slow", "--set", "config.steps=90", "--set", f"config.slow={slow}"]
    submit = ("submit", "spec.yaml", "--storage", str(folder / "storage"), *slower)
    begun = call(*submit)
    assert begun.returncode == 0, begun.stderr
    _wait_for_a_report(folder / "storage" / "slow")
    scaled = call("jobs", "scale", "slow", "1")
    assert "1 trial at once" in scaled.stdout, scaled.stdout + scaled.stderr
    stopped = call("jobs", "stop", "slow", "--wait", "900")
    assert stopped.stdout.startswith("stopped slow"), stopped.stdout + stopped.stderr
    assert json.loads(call("jobs", "status", "slow", "--json").stdout)["state"] == "stopped"
    before = {trial.number: trial.steps for trial in read_records(folder / "storage" / "slow").trials}
    assert before
    slow.unlink()
    assert call(*submit, "--resume").returncode == 0
    assert call("jobs", "logs", "slow", "--follow").returncode == 0
    record = read_records(folder / "storage" / "slow")
    assert [(trial.state, trial.steps) for trial in record.trials] == [("COMPLETE", 90)] * 4
    for trial in record.trials:
        rows = record.history_of(trial.number)
        assert [row["evaluation"] for row in rows if "evaluation" in row] == list(range(1, 91))


@pytest.mark.ray
def test_missing_and_wrong_tokens_say_what_to_do(head: RayHead) -> None:
    with pytest.raises(ClusterError, match=r"asks for a token, and there is none here.*get-auth-token"):
        open_jobs(head.url, None)
    with pytest.raises(ClusterError, match=r"does not accept the token from environment variable RAY_AUTH_TOKEN"):
        open_jobs(head.url, find_token(environment={"RAY_AUTH_TOKEN": "wrong"}))


@pytest.mark.ray
def test_another_address_in_the_environment_does_not_win(head: RayHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    assert open_jobs(head.url, find_token(head.token_file)).address == head.url


def test_where_nothing_answers_tunnels_are_named() -> None:
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at http://127\.0\.0\.1:9: .*refused.*ssh -L 8265"):
        open_jobs("http://127.0.0.1:9", Token(value="x", source="here"))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ray://head:10001", r"give `http://head:8265`"),
        ("auto", "such as `http://HOST:8265`, not `auto`"),
        ("head:8265", "such as `http://HOST:8265`"),
        ("http://me:pw@head:8265", "an address holds no password"),
    ],
)
def test_an_address_is_that_of_the_dashboard(address: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        checked_address(address)


def test_another_ray_is_refused_with_both_versions() -> None:
    check_ray_version("2.60.3", ours="2.60.0")
    with pytest.raises(ClusterError, match=r"runs Ray 2\.9\.3, and tunesmith needs Ray 2\.60\.\* there"):
        check_ray_version("2.9.3", ours="2.60.0")


def _wait_for_a_report(directory: Path) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not list(directory.glob("trials/*/checkpoints/last.json")):
        assert time.monotonic() < deadline, "no trial reported"
        time.sleep(0.2)
