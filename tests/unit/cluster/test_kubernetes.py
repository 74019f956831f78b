"""The manifest for KubeRay: against a schema of its fields, and its shell programs run by a shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pytest
import yaml
from standins import environment, install

from harness.cluster.kubernetes import (
    KubernetesJob,
    as_yaml,
    entry_program,
    manifests,
    pause_program,
    wait_program,
    with_study_file,
)
from harness.errors import UserError

SCHEMA = json.loads((Path(__file__).parent / "rayjob.schema.json").read_text())
DOCS = Path(__file__).parents[3] / "docs" / "cluster.md"
MEDCTX = """#!/usr/bin/env bash
printf '%s\\n' "$@" >"$STANDINS/$1.arguments"
[ "$1" = cluster-wait ] && exit "${WAIT_STATUS:-0}"
trap 'kill $!; exit 75' USR1
if [ -n "${PATIENT:-}" ]; then sleep 300 & wait; fi
exit "${RUN_STATUS:-0}"
"""


@pytest.fixture
def job() -> KubernetesJob:
    return KubernetesJob(
        study="few_shot",
        stamp="0101-120000",
        run_arguments=("few_shot", "--set", "recipe.patch=[16, 16, 16]", "--only", "method=$(rm -rf x) 'y'"),
        study_text=None,
        workers=2,
        gpus_per_worker=4,
        image="registry.example/lab/medctx:1",
        volume_claim="scratch",
        mount=PurePosixPath("/shared"),
        results=PurePosixPath("/shared/results"),
        data=PurePosixPath("/shared/data"),
        cache=PurePosixPath("/shared/cache"),
        cpus_per_worker="8",
        memory_per_worker="32Gi",
        head_cpus="500m",
        head_memory="16Gi",
        join_seconds=900,
        retries=3,
    )


def valid(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return objects as they are read back from YAML, each checked against the schema."""
    read = list(yaml.safe_load_all(as_yaml(objects)))
    assert read == objects
    for one in read:
        jsonschema.validate(one, SCHEMA)
    return read


def test_the_manifest_keeps_the_schema(job: KubernetesJob) -> None:
    policy, ray_job = valid(manifests(job))
    cluster = ray_job["spec"]["rayClusterSpec"]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert cluster["authOptions"] == {"mode": "token"} and ray_job["spec"]["shutdownAfterJobFinishes"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 2
    for group in (head, workers):
        (container,) = group["template"]["spec"]["containers"]
        assert {"name": "shared", "mountPath": "/shared"} in container["volumeMounts"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
        assert policy["spec"]["podSelector"]["matchLabels"] == group["template"]["metadata"]["labels"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert "nvidia.com/gpu" not in head["template"]["spec"]["containers"][0]["resources"]["limits"]


def test_other_forms_keep_the_schema_too(job: KubernetesJob) -> None:
    bare = replace(job, gpus_per_worker=0, namespace="lab", token_secret="ray-token", retries=0)
    _, ray_job = valid(manifests(bare))
    assert ray_job["metadata"]["namespace"] == "lab"
    assert ray_job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "ray-token"}

    long = replace(job, study="A_very.long name of a study, with everything in it that matters")
    assert valid(manifests(long))[-1]["metadata"]["name"].endswith("-0101-120000")

    text = "question: Is a file mounted?\nbase: {}\n"
    _, mounted, ray_job = valid(manifests(with_study_file(job, "few_shot", text)))
    assert mounted["data"] == {"few_shot.yaml": text}
    assert "medctx run /etc/medctx/few_shot.yaml --set" in ray_job["spec"]["entrypoint"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(shutdownAfterJobFinish=True),
        lambda spec: spec.update(backoffLimit="3"),
        lambda spec: spec["rayClusterSpec"]["authOptions"].update(mode="tokens"),
        lambda spec: spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda spec: spec["rayClusterSpec"]["workerGroupSpecs"][0].pop("maxReplicas"),
    ],
)
def test_the_schema_refuses_what_kuberay_would(
    job: KubernetesJob, spoil: Callable[[dict[str, Any]], None]
) -> None:
    ray_job = manifests(job)[-1]
    spoil(ray_job["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(ray_job, SCHEMA)


def test_the_guide_names_every_field_of_the_rayjob(job: KubernetesJob) -> None:
    named = set(re.findall(r"`([A-Za-z]+)`", DOCS.read_text()))
    definitions = SCHEMA["$defs"]
    used = set(definitions["RayJob"]["properties"]["spec"]["properties"]) | {
        "authOptions",
        "mode",
        "secretName",
    }
    used |= set(definitions["RayClusterSpec"]["properties"])
    used |= set(definitions["RayClusterSpec"]["properties"]["workerGroupSpecs"]["items"]["properties"])
    assert used - named == set()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"results": PurePosixPath("/home/me/results")}, "--results"),
        ({"data": PurePosixPath("/data")}, "--data"),
        ({"mount": PurePosixPath("shared")}, "--mount: found shared.*Write for example /shared"),
        ({"memory_per_worker": "32 GB"}, "--memory-per-worker"),
        ({"head_cpus": "many"}, "--head-cpus"),
    ],
)
def test_values_that_kubernetes_would_not_take(
    job: KubernetesJob, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        manifests(replace(job, **changes))


@pytest.fixture
def here(job: KubernetesJob, tmp_path: Path) -> KubernetesJob:
    """Return the job with this machine's folder as its volume."""
    volume = PurePosixPath(tmp_path / "vol ume")
    folders = {name: volume / name for name in ("results", "data", "cache")}
    return replace(job, mount=volume, **folders)


def run(program: str, bin: Path, **values: str) -> subprocess.Popen[str]:
    install(bin, medctx=MEDCTX)
    return subprocess.Popen(["sh", "-c", program], env=environment(bin, **values), text=True)


def test_the_programs_pass_shellcheck(here: KubernetesJob, tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    plain = replace(here, run_arguments=("few_shot",))
    for number, program in enumerate((entry_program(plain), pause_program(plain), wait_program(plain))):
        path = tmp_path / f"{number}.sh"
        path.write_text(program + "\n")
        done = subprocess.run(["shellcheck", "--shell=sh", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("values", "status"),
    [({}, 0), ({"WAIT_STATUS": "1"}, 1), ({"RUN_STATUS": "1"}, 1), ({"RUN_STATUS": "75"}, 75)],
)
def test_the_job_ends_as_the_driver_does(
    here: KubernetesJob, tmp_path: Path, values: dict[str, str], status: int
) -> None:
    bin = tmp_path / "bin"
    assert run(entry_program(here), bin, **values).wait(timeout=20) == status
    assert Path(here.log).is_file() and not Path(here.running).exists()
    waited = (bin / "cluster-wait.arguments").read_text().splitlines()
    assert waited[:8] == ["cluster-wait", "--address", "auto", "--nodes", "3", "--gpus", "8", "--timeout"]
    if "WAIT_STATUS" in values:
        assert not (bin / "run.arguments").exists()
        return
    given = (bin / "run.arguments").read_text().splitlines()
    folders = ["--results", str(here.results), "--data", str(here.data)]
    assert given == ["run", *here.run_arguments, *folders, "--address", "auto"]


def test_pods_that_are_stopped_let_the_driver_pause(here: KubernetesJob, tmp_path: Path) -> None:
    entry = run(entry_program(here), tmp_path / "bin", PATIENT="1")
    until = time.monotonic() + 20
    while not (Path(here.running).exists() and Path(here.running).read_text().strip()):
        assert time.monotonic() < until, "no driver"
        time.sleep(0.05)
    worker = run(wait_program(here), tmp_path / "bin")
    time.sleep(0.3)
    assert worker.poll() is None, "a worker serves as long as the driver lives"
    assert run(pause_program(here), tmp_path / "bin").wait(timeout=20) == 0
    assert entry.wait(timeout=20) == 75 and worker.wait(timeout=20) == 0
    assert not Path(here.running).exists()
    assert run(pause_program(here), tmp_path / "bin").wait(timeout=20) == 0, "nothing to pause is no mistake"


def test_the_command(medctx: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    base = (
        "launch",
        "kubernetes",
        "--workers",
        1,
        "--gpus-per-worker",
        0,
        "--image",
        "i",
        "--volume-claim",
        "v",
    )
    printed = medctx(*base, "--dry-run", "quickstart", "--set", "recipe.steps=3")
    assert printed.code == 0
    entrypoint = valid(list(yaml.safe_load_all(printed.out)))[-1]["spec"]["entrypoint"]
    assert "medctx run quickstart --set recipe.steps=3" in entrypoint
    assert "--results /shared/results --data /shared/data" in entrypoint

    monkeypatch.setenv("PATH", str(tmp_path))
    refused = medctx(*base, "quickstart")
    assert refused.code == 2 and "kubectl" in refused.err and "--dry-run" in refused.err

    install(
        tmp_path / "bin",
        kubectl='#!/bin/sh\necho "$@" >"$STANDINS/arguments"\ncat >"$STANDINS/given"\necho created\n',
    )
    for name, value in environment(tmp_path / "bin").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    study = tmp_path / "mine.yaml"
    study.write_text(
        "question: Is it handed over?\nbase: {dataset: phantom, architecture: unet, method: supervised}\n"
    )
    handed = medctx(*base, study)
    assert handed.code == 0 and "created" in handed.out
    assert (tmp_path / "bin" / "arguments").read_text().split() == ["apply", "--filename", "-"]
    objects = valid(list(yaml.safe_load_all((tmp_path / "bin" / "given").read_text())))
    assert [one["kind"] for one in objects] == ["NetworkPolicy", "ConfigMap", "RayJob"]
    assert objects[1]["data"]["mine.yaml"] == study.read_text()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--workers", 0, "quickstart"), "--workers"),
        (("--workers", 1, "quickstrat"), "Did you mean 'quickstart'?"),
    ],
)
def test_mistakes(medctx: Callable, arguments: tuple[object, ...], named: str) -> None:
    base = (
        "launch",
        "kubernetes",
        "--gpus-per-worker",
        0,
        "--image",
        "i",
        "--volume-claim",
        "v",
        "--dry-run",
    )
    outcome = medctx(*base, *arguments)
    assert outcome.code == 2 and named in outcome.err
