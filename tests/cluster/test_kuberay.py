"""Manifests for KubeRay, compared with an excerpt of its API."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import Run

from cluster.kuberay import ClusterShape, ray_cluster, ray_job, volume_claim
from search.yaml_text import parse_yaml

EXCERPT = json.loads((Path(__file__).parent / "kuberay_v1.json").read_text())
SHAPE = ClusterShape(name="lab", image="registry/tunesmith:1", workers=4, min_workers=1, cpus=16, gpus=2)


def schema_of(kind: str) -> dict[str, Any]:
    """The excerpt as a JSON schema. Fields that it does not name are errors."""

    def of(kind: str | list[str]) -> dict[str, Any]:
        if isinstance(kind, list):
            return {"enum": kind}
        if kind.endswith("[]"):
            return {"type": "array", "items": of(kind.removesuffix("[]"))}
        if kind == "strings":
            return {"type": "object", "additionalProperties": {"type": "string"}}
        return {"type": kind} if kind.islower() else {"$ref": f"#/definitions/{kind}"}

    definitions = {
        name: {
            "type": "object", "required": each["required"], "additionalProperties": False,
            "properties": {field: of(kind) for field, kind in each["fields"].items()},
        }
        for name, each in EXCERPT["definitions"].items()
    }  # fmt: skip
    return {"definitions": definitions, "$ref": f"#/definitions/{kind}"}


def check(manifest: dict[str, Any]) -> None:
    jsonschema.validate(manifest, schema_of(manifest["kind"]))


@pytest.mark.parametrize("gpus", [0, 2])
def test_all_manifests_have_known_fields_of_the_right_types(gpus: int) -> None:
    shape = ClusterShape(name="lab", image="x", gpus=gpus)
    for manifest in (ray_cluster(shape), ray_job(shape, spec_file="/shared/spec.yaml"), volume_claim(shape)):
        check(manifest)


def test_the_excerpt_refuses_what_kuberay_does_not_know() -> None:
    for change in ({"headGroup": {}}, {"rayVersion": 2.6}, {"authOptions": {"mode": "password"}}):
        wrong = copy.deepcopy(ray_cluster(SHAPE))
        wrong["spec"] |= change
        with pytest.raises(jsonschema.ValidationError):
            check(wrong)


def test_the_cluster_asks_for_a_token_and_its_head_trains_nothing() -> None:
    spec = ray_cluster(SHAPE)["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["rayVersion"].startswith("2.60")


def test_all_pods_mount_what_they_share_and_workers_grow_between_their_limits() -> None:
    spec = ray_cluster(SHAPE)["spec"]
    (group,) = spec["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (1, 4)
    for template in (spec["headGroupSpec"]["template"], group["template"]):
        (container,) = template["spec"]["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in template["spec"]["volumes"]} == {"shared", "shm"}
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "16", "memory": "32Gi", "nvidia.com/gpu": "2"}


def test_a_w_and_b_key_comes_from_a_secret_and_reaches_the_head_only() -> None:
    spec = ray_cluster(SHAPE)["spec"]
    head, worker = (
        template["spec"]["containers"][0]["env"]
        for template in (spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"])
    )
    assert [variable["valueFrom"]["secretKeyRef"]["name"] for variable in head if "valueFrom" in variable] == ["wandb"]
    assert not any("valueFrom" in variable for variable in worker)


def test_pods_may_write_to_their_volume_and_those_with_gpus_to_their_nodes() -> None:
    spec = ray_cluster(SHAPE)["spec"]
    head, worker = spec["headGroupSpec"]["template"]["spec"], spec["workerGroupSpecs"][0]["template"]["spec"]
    assert head["securityContext"]["fsGroup"] == worker["securityContext"]["fsGroup"] == 100
    assert "tolerations" not in head
    assert [each["key"] for each in worker["tolerations"]] == ["nvidia.com/gpu"]


def test_the_object_store_fits_into_the_shared_memory_of_its_pod() -> None:
    spec = ray_cluster(SHAPE)["spec"]
    for group in (spec["headGroupSpec"], spec["workerGroupSpecs"][0]):
        volumes = {each["name"]: each for each in group["template"]["spec"]["volumes"]}
        gib = int(volumes["shm"]["emptyDir"]["sizeLimit"].removesuffix("Gi"))
        assert int(group["rayStartParams"]["object-store-memory"]) < gib * 2**30


@pytest.mark.parametrize("exists", ["", "study.db", "study.json"])
def test_a_job_begins_its_search_and_a_later_attempt_goes_on_with_it(exists: str, tmp_path: Path) -> None:
    shape = ClusterShape(name="lab", image="x", storage=str(tmp_path))
    (tmp_path / "tunesmith").write_text('#!/bin/sh\necho "$@"')
    (tmp_path / "tunesmith").chmod(0o755)
    if exists:
        (tmp_path / "searches" / "lab").mkdir(parents=True)
        (tmp_path / "searches" / "lab" / exists).touch()
    entrypoint = ray_job(shape, spec_file="/my specs/a.yaml")["spec"]["entrypoint"]
    done = subprocess.run(
        entrypoint, shell=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    run = f"run /my specs/a.yaml --set name=lab --storage {tmp_path}/searches --address auto"
    assert done.stdout.strip() == (f"resume {tmp_path}/searches/lab --address auto" if exists else run)


def test_the_command_writes_valid_files_and_overwrites_none(tunesmith: Run, tmp_path: Path) -> None:
    done = tunesmith("cluster", "init", "--target", "kuberay", "--name", "lab", "--gpus", "1", "--workers", "3")
    assert done.returncode == 0, done.stderr
    for name in ("storage.yaml", "raycluster.yaml", "rayjob.yaml"):
        check(parse_yaml((tmp_path / "deploy" / name).read_text())[0])
    assert "rayproject/ray:2.60.0-py311-gpu" in (tmp_path / "deploy" / "Dockerfile").read_text()
    again = tunesmith("cluster", "init", "--target", "kuberay")
    assert again.returncode == 2
    assert "--force" in again.stderr


def test_a_worker_that_is_to_end_waits_for_its_trials_and_is_not_killed_before() -> None:
    spec = ray_cluster(SHAPE)["spec"]
    pod = spec["workerGroupSpecs"][0]["template"]["spec"]
    settings = {each["name"]: each["value"] for each in pod["containers"][0]["env"] if "value" in each}
    assert 30 < int(settings["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]) < pod["terminationGracePeriodSeconds"]
