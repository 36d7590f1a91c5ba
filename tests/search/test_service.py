"""The queue's HTTP API over a real database; its server is in this process."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from openapi_spec_validator import validate
from recorded_searches import Session, planned
from store_server import StoreServer

from cluster.queue_store import QueueStore, open_store
from cluster.visitors import Doorkeeper
from search.mirroring import begin_store, mirrored
from search.service import Pulse, make_app

TEAM, ANNS = "team-token", "anns-token"
SPEC = """
name: {name}
trainable: walking:train
config: {{slope: 1.0}}
space: {{config.slope: {{choice: [0.5, 1.0]}}}}
search: {{algorithm: grid, metric: loss}}
resources: {{cpus_per_worker: 2, gpus_per_worker: 0.5, concurrent_trials: 3}}
tracking: {{wandb: {{mode: disabled}}}}
storage: {storage}
"""
CODE = base64.b64encode(b"def train(config, report): report({'loss': 1.0}, step=1, is_final=True)").decode()
"""It must not be run here."""


@pytest.fixture
def store(tmp_path: Path) -> QueueStore:
    return open_store(str(tmp_path / "queue.db"))


@pytest.fixture
def pulse() -> Pulse:
    return Pulse()


@pytest.fixture
def client(store: QueueStore, pulse: Pulse) -> Iterator[TestClient]:
    doorkeeper = Doorkeeper(tokens=((None, TEAM), ("ann", ANNS)))
    with TestClient(make_app(store, doorkeeper, pulse=pulse, most_bytes=100_000)) as found:
        found.headers["Authorization"] = f"Bearer {TEAM}"
        yield found


@pytest.fixture
def body(tmp_path: Path) -> dict[str, object]:
    return {"spec": SPEC.format(name="one", storage=tmp_path / "storage"), "files": {"walking.py": CODE}, "user": "bob"}


def test_a_search_that_is_handed_in_is_in_the_queue_with_its_files(
    client: TestClient, store: QueueStore, body: dict[str, object], tmp_path: Path
) -> None:
    answer = client.post("/searches", json=body | {"priority": 2})
    assert answer.status_code == 201, answer.text
    (each,) = store.searches()
    assert answer.json() == each.to_json()
    assert (each.search.user, each.search.priority, each.search.most_lanes) == ("bob", 2, 3)
    assert (each.search.lane.cpus, each.search.lane.gpus) == (2.0, 0.5)
    assert each.search.command == ("run", "spec.yaml", "--address", "auto")
    assert each.search.directory == str(tmp_path / "storage" / "one")
    assert sorted(store.package(each.package).files) == ["spec.yaml", "walking.py"]


@pytest.mark.parametrize("path", ["/searches", "/searches/one", "/quotas", "/searches/one/leaderboard"])
def test_without_a_token_or_with_a_wrong_one_nothing_is_told(client: TestClient, path: str) -> None:
    without = client.get(path, headers={"Authorization": ""})
    assert (without.status_code, "Bearer" in without.headers["WWW-Authenticate"]) == (401, True)
    wrong = client.get(path, headers={"Authorization": "Bearer wrong"})
    assert wrong.status_code == 403
    assert wrong.json()["detail"] == "this service does not know the token that was sent."


def test_health_and_the_description_need_no_token(client: TestClient, pulse: Pulse) -> None:
    pulse.beat = None
    assert client.get("/health", headers={"Authorization": ""}).status_code == 503
    pulse.beat = time.monotonic() - 100
    assert client.get("/health", headers={"Authorization": ""}).json()["status"] == "late"
    pulse.beat = time.monotonic()
    assert client.get("/health", headers={"Authorization": ""}).json()["status"] == "ok"
    described = client.get("/openapi.json", headers={"Authorization": ""}).json()
    validate(described)
    assert set(described["paths"]["/searches/{name}"]) == {"get", "delete"}
    assert described["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_what_is_wrong_with_a_spec_is_told_with_its_key(client: TestClient, store: QueueStore, tmp_path: Path) -> None:
    spec = SPEC.format(name="one", storage=tmp_path).replace("algorithm: grid", "algorithm: gird")
    answer = client.post("/searches", json={"spec": spec, "files": {"walking.py": CODE}})
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["path"].startswith("search.algorithm")
    assert problem["line"] == 6
    assert "gird" in problem["message"]
    assert store.searches() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spec": "name: !!python/object/apply:os.system [id]"}, "tag"),
        ({"files": {"../walking.py": CODE}}, "without `..`"),
        ({"files": {"/etc/walking.py": CODE}}, "relative to the folder"),
        ({"overrides": ["storage=./here"]}, "all nodes of the cluster see"),
        ({"environment": ["API_TOKEN=x"]}, "looks like a secret"),
        ({"spec": None}, "as the text of its `spec`"),
        ({"surprise": 1}, "surprise"),
        ({"priority": 10**6}, "priority"),
    ],
)
def test_what_cannot_be_a_search_is_refused_and_says_why(
    client: TestClient, store: QueueStore, body: dict[str, object], change: dict[str, object], words: str
) -> None:
    answer = client.post("/searches", json=body | change)
    assert answer.status_code == 422
    assert words in answer.text
    assert store.searches() == []


def test_the_same_search_again_is_a_conflict(client: TestClient, body: dict[str, object]) -> None:
    assert client.post("/searches", json=body).status_code == 201
    again = client.post("/searches", json=body)
    assert again.status_code == 409
    assert "in the queue already (queued, of bob)" in again.text


def test_a_request_that_is_too_large_is_refused(client: TestClient, body: dict[str, object]) -> None:
    large = base64.b64encode(b"x" * 200_000).decode()
    assert client.post("/searches", json=body | {"files": {"data.txt": large}}).status_code == 413


def test_a_request_that_does_not_say_its_size_is_refused(client: TestClient) -> None:
    assert client.post("/searches", content=iter([b"x" * 10])).status_code == 411


def test_a_request_without_a_body_need_not_say_its_size(client: TestClient, body: dict[str, object]) -> None:
    client.post("/searches", json=body)
    bare = client.build_request("POST", "/searches/one/bump")  # as `curl -X POST` sends it
    del bare.headers["Content-Length"]
    assert client.send(bare).status_code == 200


def test_a_token_of_a_person_is_who_they_are(client: TestClient, store: QueueStore, body: dict[str, object]) -> None:
    ann = {"Authorization": f"Bearer {ANNS}"}
    assert client.post("/searches", json=body, headers=ann).json()["user"] == "ann"
    store.cancel(1, by="ann")
    client.post("/searches", json=body)
    refused = client.delete("/searches/one", headers=ann)
    assert refused.status_code == 403
    assert refused.json()["detail"] == "`one` is of bob, and your token is of ann."
    assert client.put("/quotas/ann", json={"gpus": 99}, headers=ann).status_code == 403
    assert client.delete("/searches/one").json()["state"] == "CANCELLED"


def test_bumping_puts_a_search_above_all_others(client: TestClient, body: dict[str, object], tmp_path: Path) -> None:
    client.post("/searches", json=body | {"priority": 4})
    client.post("/searches", json=body | {"spec": SPEC.format(name="two", storage=tmp_path)})
    assert client.post("/searches/two/bump").json()["priority"] == 5
    assert client.post("/searches/two/bump", json={"priority": -1}).json()["priority"] == -1


def test_stopping_is_for_what_runs_and_cancelling_for_both(
    client: TestClient, store: QueueStore, body: dict[str, object]
) -> None:
    client.post("/searches", json=body)
    refused = client.post("/searches/one/stop")
    assert refused.status_code == 409
    assert "DELETE takes it out" in refused.text
    store.begin_term().start(store.get(1), lanes=1, submission_id="job")
    assert client.post("/searches/one/stop").json()["stopping"]
    store.begin_term().end(store.get(1), "CANCELLED", "stopped")
    assert client.delete("/searches/one").status_code == 409


def test_quotas_are_set_shown_and_removed(client: TestClient) -> None:
    assert client.put("/quotas/ann", json={"gpus": 2}).json() == {"cpus": None, "gpus": 2.0, "weight": 1.0}
    assert client.get("/quotas").json() == {"ann": {"cpus": None, "gpus": 2.0, "weight": 1.0}}
    assert client.delete("/quotas/ann").status_code == 204
    assert client.get("/quotas").json() == {}
    assert client.put("/quotas/ann", json={"weight": 0}).status_code == 422


def test_a_search_that_nobody_knows_is_not_found_and_one_that_has_not_begun_has_no_ranking(
    client: TestClient, body: dict[str, object]
) -> None:
    client.post("/searches", json=body)
    assert client.get("/searches/oen").status_code == 404
    assert "Did you mean `one`?" in client.get("/searches/oen").text
    assert client.get("/searches/one").json()["progress"] is None
    assert client.get("/searches/one/leaderboard").status_code == 409
    assert [each["event"] for each in client.get("/searches/one/events").json()] == ["QUEUED"]


def test_a_search_in_a_store_is_handed_in_with_its_url_and_read_there_once_it_has_ended(
    client: TestClient, store: QueueStore, s3: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "laptop"))
    plan = planned(tmp_path, storage="s3://bucket/searches")
    url = "s3://bucket/searches/walk"
    spec = (tmp_path / "spec.yaml").read_text()
    answer = client.post("/searches", json={"spec": spec, "files": {"walking.py": CODE}})
    assert (answer.status_code, answer.json()["directory"]) == (201, url)
    assert store.get(1).search.shelf.startswith("s3://bucket/searches/.submitted/walk-")
    assert client.get("/searches/walk/leaderboard").status_code == 409, "it has not begun"
    begin_store(plan.files, url)
    with mirrored(plan.files, say=print) as mirror:
        Session(plan, mirror=mirror).complete(0.25)
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "head"))
    assert client.get("/searches/walk/leaderboard").status_code == 409, "its own process may be about to fetch it"
    store.cancel(1, by="bob")
    assert [entry["value"] for entry in client.get("/searches/walk/leaderboard").json()] == [0.25]


def test_a_search_that_is_not_in_its_store_is_refused(client: TestClient, s3: StoreServer) -> None:
    answer = client.post("/searches", json={"directory": "s3://bucket/searches/gone"})
    assert (answer.status_code, "is no search" in answer.text) == (422, True)
