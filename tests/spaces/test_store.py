"""What every object store must do for us, asked of real servers on this machine: S3, and Google Cloud Storage."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from gcs_server import GcsServer
from s3_server import S3Server

from spaces.errors import SpecError
from spaces.store import Store, check_writable, entered, store_of

Server = S3Server | GcsServer


@pytest.fixture(scope="module", params=[S3Server, GcsServer])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server: Server = request.param(tmp_path_factory.mktemp("store") / "log")
    server.make_bucket("bucket")
    yield server
    server.close()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, as the environment of this process names it."""
    running.enter(monkeypatch)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return running


@pytest.fixture
def store(server: Server) -> Store:
    return Store.at(f"{server.scheme}://bucket/{uuid.uuid4().hex}/walk")


def _file(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_bytes(content)
    return folder / "file"


def test_a_text_is_read_as_it_was_written_and_replaced_as_a_whole(store: Store) -> None:
    store.write("notes/copy.json", "grün ∞")
    assert store.read("notes/copy.json") == "grün ∞"
    store.write("notes/copy.json", "")
    assert store.read("notes/copy.json") == ""


def test_what_is_not_there_reads_as_nothing_and_is_listed_as_nothing(store: Store) -> None:
    assert store.read("no/such.json") is None
    assert store.names() == {}
    assert store.names("no") == {}


def test_names_come_with_sizes_relative_to_the_store_and_from_that_folder_only(store: Store, tmp_path: Path) -> None:
    for name in ("trials/1/a", "trials/1/b/c", "trials/10/a", "spec.yaml"):
        store.put(_file(tmp_path, b"w" * 7), name)
    assert store.names("trials/1") == {"trials/1/a": 7, "trials/1/b/c": 7}
    assert set(store.names()) == {"trials/1/a", "trials/1/b/c", "trials/10/a", "spec.yaml"}
    assert (store / "trials/1").names() == {"a": 7, "b/c": 7}


def test_what_others_have_just_written_or_removed_is_seen_at_once(store: Store) -> None:
    other = Store(store.url)
    assert store.names() == {}
    other.write("late", "1")
    assert store.names() == {"late": 1}
    other.write("late", "22")
    assert (store.names(), store.read("late")) == ({"late": 2}, "22")
    other.remove("late")
    assert store.names() == {}


def test_a_large_file_comes_back_byte_for_byte(store: Store, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000  # more than one part of a multipart upload
    store.put(_file(tmp_path / "here", content), "checkpoints/weights")
    store.get("checkpoints/weights", tmp_path / "there" / "weights")
    assert (tmp_path / "there" / "weights").read_bytes() == content
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["weights"]


def test_an_empty_file_is_a_file(store: Store, tmp_path: Path) -> None:
    store.put(_file(tmp_path, b""), "empty")
    assert store.names() == {"empty": 0}
    store.get("empty", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def test_a_folder_comes_whole_and_replaces_what_was_here(store: Store, tmp_path: Path) -> None:
    for name in ("e-1/weights", "e-1/tokenizer/vocab", "e-10/weights"):
        store.put(_file(tmp_path, name.encode()), f"checkpoints/{name}")
    _file(tmp_path / "e-1", b"of an older copy")
    store.get_folder("checkpoints/e-1", tmp_path / "e-1")
    found = {path.relative_to(tmp_path / "e-1").as_posix() for path in (tmp_path / "e-1").rglob("*") if path.is_file()}
    assert found == {"weights", "tokenizer/vocab"}


def test_files_of_a_folder_are_stored_together_each_by_its_name(store: Store, tmp_path: Path) -> None:
    for name in ("weights", "tokenizer/vocab", "left out"):
        _file((tmp_path / name).parent, name.encode()).rename(tmp_path / name)
    store.put_all(tmp_path, ["weights", "tokenizer/vocab"], below="checkpoints/e-1")
    assert store.names() == {"checkpoints/e-1/weights": 7, "checkpoints/e-1/tokenizer/vocab": 15}
    store.put_all(tmp_path, [], below="checkpoints/e-2")
    assert store.read("checkpoints/e-1/tokenizer/vocab") == "tokenizer/vocab"


def test_a_file_that_is_not_there_leaves_nothing_behind_when_it_is_fetched(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.get("no/such", tmp_path / "here" / "file")
    assert list((tmp_path / "here").iterdir()) == []


def test_removing_leaves_the_rest_and_bears_what_is_gone_already(store: Store) -> None:
    for name in ("a", "b", "c"):
        store.write(name, name)
    store.remove("a", "no-such", "b")
    store.remove("a")
    store.remove()
    assert set(store.names()) == {"c"}


def test_a_place_that_can_be_written_to_is_left_as_it_was(store: Store) -> None:
    check_writable(store)
    assert store.names() == {}


def test_a_bucket_that_is_not_there_is_named(server: Server) -> None:
    with pytest.raises(SpecError, match="there is no bucket `missing`"):
        check_writable(Store.at(f"{server.scheme}://missing/searches"))


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_an_error_with_its_reason(store: Store, server: Server) -> None:
    server.cut_off()
    try:
        with pytest.raises(SpecError, match=r"storage.path: cannot write to `(s3|gs)://bucket/.*`: ."):
            check_writable(store)
    finally:
        server.let_go_on()
    check_writable(store)


def test_the_libraries_say_nothing_beside_our_words(
    store: Store, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    store.write("a", "a")
    store.read("b")
    assert [record.message for record in caplog.records] == []
    assert capfd.readouterr().err == ""


def test_a_folder_that_stands_for_a_store_knows_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    trial = entered(f"{store.url}/trials/3", search_levels=2)
    assert store_of(trial) == store / "trials/3"
    assert store_of(trial.parent.parent) == store
