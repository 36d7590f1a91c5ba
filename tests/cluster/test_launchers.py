"""What starts a cluster elsewhere: `ray up` by Ray's own schema, Slurm with stand-ins for its commands."""

import json
import os
import re
import signal
import subprocess
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
from patience import HANG_SECONDS
from ray.autoscaler._private.util import prepare_config, validate_config

from cluster.kuberay import ClusterShape
from cluster.launchers import CloudPlace, check_shape, dockerfile, ray_up, slurm_script
from spaces.errors import SpecError

ROOT = Path(__file__).parents[2]

SHAPE = ClusterShape(name="lab", image="registry/tunesmith:1", workers=3, gpus=1)
AWS = CloudPlace(provider="aws", region="eu-west-1", nfs="fs-1:/")


@pytest.mark.parametrize(
    "place",
    [
        AWS,
        CloudPlace(provider="gcp", region="europe-west4", zone="europe-west4-a", project="lab"),
        CloudPlace(provider="local", hosts=("10.0.0.1", "10.0.0.2", "10.0.0.3"), user="ray"),
    ],
)
def test_ray_up_takes_the_configuration(place: CloudPlace) -> None:
    found = find_spec("ray")
    assert found is not None
    schema = json.loads((Path(str(found.origin)).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(ray_up(SHAPE, place), schema)
    validate_config(prepare_config(ray_up(SHAPE, place)))  # what `ray up` does itself, and more than the schema


def test_a_head_started_by_ray_up_has_a_token_no_trials_and_no_open_dashboard() -> None:
    start = ray_up(SHAPE, AWS)["head_start_ray_commands"][-1]
    for words in ("RAY_AUTH_MODE=token", "--num-cpus=0", "--dashboard-host=127.0.0.1"):
        assert words in start
    assert ray_up(SHAPE, AWS)["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}


@pytest.mark.parametrize(
    ("place", "missing"),
    [
        (CloudPlace(provider="aws"), "`--region`"),
        (CloudPlace(provider="gcp", region="r"), "`--zone`, `--project`"),
        (CloudPlace(provider="local"), "`--host`"),
    ],
)
def test_what_a_provider_needs_is_asked_for(place: CloudPlace, missing: str) -> None:
    with pytest.raises(SpecError, match=f"needs {missing}"):
        ray_up(SHAPE, place)


@pytest.mark.parametrize(
    "changes", [{"name": "Lab"}, {"name": "a" * 41}, {"storage": "shared"}, {"storage": "/a b"}, {"min_workers": 9}]
)
def test_names_and_places_that_break_somewhere_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        check_shape(ClusterShape(**({"name": "lab", "image": "x"} | changes)))  # type: ignore[arg-type]
    check_shape(SHAPE)


def test_an_image_has_the_ray_of_the_drivers() -> None:
    assert "FROM rayproject/ray:2.60.0-py311-cpu" in dockerfile(gpu=False)
    assert '"ray==2.60.0"' in dockerfile(gpu=True)


def test_an_image_has_what_the_queue_and_shared_storage_need_on_a_head() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {"service", "postgres", "s3", "gcs"}
    for gpu in (False, True):
        (named,) = re.findall(r"tunesmith\[([\w,]+)\]", dockerfile(gpu=gpu))
        assert set(named.split(",")) == wanted | ({"gpu"} if gpu else set())
        assert set(named.split(",")) <= set(extras)


# --- Slurm: its commands, Ray and tunesmith are stand-ins that write down how they were called ----------------

STAND_INS = {
    "scontrol": 'if [ "$1" = show ]; then printf "n1\\nn2\\nn3\\n"; else echo "scontrol $@" >> "$CALLS"; fi',
    "srun": """
while [ "${1#--}" != "$1" ]; do case "$1" in --nodelist=*) node=${1#*=};; esac; shift; done
echo "$node: $@" >> "$CALLS"
[ "$1" = hostname ] && { echo 10.0.0.1 fe80::1; exit; }
exec sleep 60""",
    "python": 'case "$1" in -c) echo token;; -) cat > /dev/null;; esac',
    "tunesmith": """
echo "tunesmith $@ with $RAY_AUTH_MODE $(cat "$RAY_AUTH_TOKEN_PATH")" >> "$CALLS"
trap 'echo "tunesmith stops" >> "$CALLS"; sleep 1; exit 130' TERM
i=0; while [ $i -lt ${LASTS:-0} ]; do sleep 0.1; i=$((i+1)); done
exit ${CODE:-0}""",
}


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, body in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    (folder / "activate").write_text(f'export PATH="{folder}:$PATH"')
    shape = ClusterShape(name="lab", image="x", workers=3, cpus=4, storage=str(tmp_path / "shared"))
    script = slurm_script(shape, spec_file="my spec.yaml", hours=2, partition="gpu", environment=str(tmp_path))
    (tmp_path / "lab.sbatch").write_text(script)
    return tmp_path


def start(slurm: Path, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["bash", "lab.sbatch"], cwd=slurm, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-3]", "CALLS": str(slurm / "calls"),
             **environment},
    )  # fmt: skip


def calls(slurm: Path) -> list[str]:
    return (slurm / "calls").read_text().splitlines() if (slurm / "calls").exists() else []


def test_the_script_asks_slurm_for_what_was_asked_for(slurm: Path) -> None:
    script = (slurm / "lab.sbatch").read_text()
    for line in ("--nodes=3", "--cpus-per-task=4", "--time=2:00:00", "--partition=gpu", "--signal=B:TERM@300"):
        assert f"#SBATCH {line}\n" in script
    assert "@" not in script.replace("TERM@300", "").replace('"$@"', "").replace("[@]", "")


def test_ray_starts_on_every_node_once_and_the_search_runs_with_a_token(slurm: Path) -> None:
    process = start(slurm)
    _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 0, errors
    found = calls(slurm)
    starts = sorted(line for line in found if "ray start" in line)  # they start at the same time
    assert [line.partition(":")[0] for line in starts] == ["n1", "n2", "n3"]
    assert (slurm / "lab.sbatch").read_text().count("--ntasks=1 --cpus-per-task=4 ") == 1, "else Ray has one CPU"
    assert ["--head" in line for line in starts] == [True, False, False]
    assert all("--address=10.0.0.1:20007" in line for line in starts[1:])
    searches = slurm / "shared" / "searches"
    expected = f"tunesmith run my spec.yaml --set name=lab --storage {searches} --address 10.0.0.1:20007"
    assert f"{expected} with token token" in found
    assert list((searches / ".slurm").iterdir()) == []


def test_before_time_is_up_the_search_stops_in_order_and_is_queued_again(slurm: Path) -> None:
    process = start(slurm, LASTS="400")
    deadline = time.monotonic() + HANG_SECONDS
    while not any(line.startswith("tunesmith") for line in calls(slurm)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 130
    assert calls(slurm)[-2:] == ["tunesmith stops", "scontrol requeue 7"]


@pytest.mark.parametrize("study", ["study.db", "study.json"])
def test_a_search_that_began_before_goes_on(slurm: Path, study: str) -> None:
    (slurm / "shared" / "searches" / "lab").mkdir(parents=True)
    (slurm / "shared" / "searches" / "lab" / study).touch()
    start(slurm).communicate(timeout=HANG_SECONDS)
    assert any(line.startswith(f"tunesmith resume {slurm}/shared/searches/lab --address") for line in calls(slurm))


def test_a_search_that_fails_is_not_queued_again(slurm: Path) -> None:
    process = start(slurm, CODE="3")
    process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 3
    assert not any("requeue" in line for line in calls(slurm))
