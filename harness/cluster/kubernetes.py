"""A manifest for Kubernetes with KubeRay: a RayJob that waits for its pods and runs a study on them.

The fields of ``ray.io/v1`` that are used, and since when KubeRay has them, are listed in ``docs/cluster.md``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import PurePosixPath
from shlex import join, quote
from typing import Any

import yaml

from harness.cluster import PAUSE_SECONDS
from harness.cluster.slurm import require, run_tool
from harness.errors import UserError

_LABEL = "medctx-study"
_OPERATOR = {"app.kubernetes.io/component": "kuberay-operator"}
_STUDIES = "/etc/medctx"  # where a study file from here is mounted
_LONGEST = 40  # characters of a name; KubeRay adds to it, and Kubernetes allows 63
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|[kMGTP]i?)?")
Manifest = dict[str, Any]


@dataclass(frozen=True)
class KubernetesJob:
    """What is asked of Kubernetes, and what runs there.

    Attributes:
        study: name of the study.
        stamp: tells this launch from earlier ones of the study.
        run_arguments: of ``medctx run``, the study among them.
        study_text: content of a study file that the image lacks, or None.
        workers: pods that train.
        gpus_per_worker: 0 for none.
        image: with this harness and ``ray[default]``.
        volume_claim: of a volume that all pods can write (ReadWriteMany).
        mount: where the volume lies in every pod.
        results, data, cache: folders below ``mount``.
        cpus_per_worker, memory_per_worker, head_cpus, head_memory: quantities of Kubernetes.
        join_seconds: how long pods may take to join.
        retries: how often a paused or failed run is started again, on new pods.
        namespace: None for that of the current context.
        token_secret: name of a Secret with the key ``auth_token``; by default KubeRay makes one.
    """

    study: str
    stamp: str
    run_arguments: tuple[str, ...]
    study_text: str | None
    workers: int
    gpus_per_worker: int
    image: str
    volume_claim: str
    mount: PurePosixPath
    results: PurePosixPath
    data: PurePosixPath
    cache: PurePosixPath
    cpus_per_worker: str
    memory_per_worker: str
    head_cpus: str
    head_memory: str
    join_seconds: int
    retries: int
    namespace: str | None = None
    token_secret: str | None = None

    @property
    def label(self) -> str:
        """The study's name as Kubernetes allows it."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.study.lower()).strip("-") or "study"
        return slug[: _LONGEST - len(self.stamp) - len("medctx--")].strip("-")

    @property
    def name(self) -> str:
        """The RayJob's name."""
        return f"medctx-{self.label}-{self.stamp}"

    @property
    def log(self) -> PurePosixPath:
        """Where the driver writes; on the volume, because pods go."""
        return self.results / "launch" / f"{self.study}.log"

    @property
    def running(self) -> PurePosixPath:
        """A file with the driver's process number, which is there as long as the driver lives."""
        return self.results / "launch" / f"{self.name}.pid"


def manifests(job: KubernetesJob) -> list[Manifest]:
    """Return the objects to create: a network policy, the study's file where it is given, and the RayJob.

    Raises:
        UserError: a value that Kubernetes would not take.
    """
    _check(job)
    objects = [_network_policy(job), _ray_job(job)]
    if job.study_text is not None:
        study = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(job, _study_map(job))}
        objects.insert(1, study | {"data": {f"{job.study}.yaml": job.study_text}})
    return objects


def as_yaml(objects: Sequence[Manifest]) -> str:
    """Return objects as one YAML text."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Writes shell programs as lines, and everything twice rather than by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def submit(objects: Sequence[Manifest]) -> str:
    """Hand objects to the cluster of kubectl's current context, and return what kubectl says.

    Raises:
        UserError: there is no kubectl, or it refuses them.
    """
    require("kubectl", "Kubernetes' command", "Install it, or see the manifest with --dry-run.")
    return run_tool(["kubectl", "apply", "--filename", "-"], as_yaml(objects))


def _check(job: KubernetesJob) -> None:
    if not job.mount.is_absolute():
        raise UserError(
            "--mount", str(job.mount), "an absolute path in the pods", f"Write for example /{job.mount}."
        )
    for option, folder in (("results", job.results), ("data", job.data), ("cache", job.cache)):
        if not folder.is_relative_to(job.mount):
            raise UserError(
                f"--{option}", str(folder), f"a folder on the shared volume, below {job.mount}",
                "Correct the path, or --mount.",
            )  # fmt: skip
    quantities = {"cpus-per-worker": job.cpus_per_worker, "memory-per-worker": job.memory_per_worker}
    quantities |= {"head-cpus": job.head_cpus, "head-memory": job.head_memory}
    for option, quantity in quantities.items():
        if not _QUANTITY.fullmatch(quantity):
            raise UserError(
                f"--{option}", repr(quantity), "a quantity of Kubernetes", "Write for example 8 or 32Gi."
            )


def _metadata(job: KubernetesJob, name: str) -> Manifest:
    namespace = {"namespace": job.namespace} if job.namespace else {}
    return {"name": name, **namespace, "labels": {_LABEL: job.label}}


def _study_map(job: KubernetesJob) -> str:
    return f"medctx-{job.label}-study"


def _network_policy(job: KubernetesJob) -> Manifest:
    """Return what lets nobody in but the pods of the study and KubeRay's operator."""
    peers = [
        {"podSelector": {"matchLabels": {_LABEL: job.label}}},
        {"namespaceSelector": {}, "podSelector": {"matchLabels": _OPERATOR}},
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(job, f"medctx-{job.label}"),
        "spec": {
            "podSelector": {"matchLabels": {_LABEL: job.label}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers}],
        },
    }


def _ray_job(job: KubernetesJob) -> Manifest:
    auth = {"mode": "token"} | ({"secretName": job.token_secret} if job.token_secret else {})
    head = {
        # no trial runs on the head; its dashboard is what KubeRay submits the job through, token in hand
        "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"},
        "template": _pod(job, "ray-head", job.head_cpus, job.head_memory, 0, pause_program(job)),
    }
    worker_size = job.cpus_per_worker, job.memory_per_worker, job.gpus_per_worker
    worker = {
        "groupName": "workers",
        "replicas": job.workers,
        "minReplicas": job.workers,
        "maxReplicas": job.workers,
        "rayStartParams": {},
        "template": _pod(job, "ray-worker", *worker_size, wait_program(job)),
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": _metadata(job, job.name),
        "spec": {
            "entrypoint": entry_program(job),
            "submissionMode": "HTTPMode",  # hands the program over as it stands, without a shell between
            "shutdownAfterJobFinishes": True,
            "backoffLimit": job.retries,
            "rayClusterSpec": {
                "rayVersion": metadata.version("ray"),
                "authOptions": auth,
                "headGroupSpec": head,
                "workerGroupSpecs": [worker],
            },
        },
    }


def _pod(job: KubernetesJob, name: str, cpus: str, memory: str, gpus: int, before_stop: str) -> Manifest:
    resources: Manifest = {"cpu": cpus, "memory": memory} | ({"nvidia.com/gpu": gpus} if gpus else {})
    environment = {"RAY_USAGE_STATS_ENABLED": "0", "MEDCTX_CACHE": str(job.cache)}
    mounts: list[Manifest] = [{"name": "shared", "mountPath": str(job.mount)}]
    volumes: list[Manifest] = [{"name": "shared", "persistentVolumeClaim": {"claimName": job.volume_claim}}]
    if job.study_text is not None:
        mounts.append({"name": "study", "mountPath": _STUDIES, "readOnly": True})
        volumes.append({"name": "study", "configMap": {"name": _study_map(job)}})
    container = {
        "name": name,
        "image": job.image,
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "resources": {"requests": resources, "limits": resources},
        "volumeMounts": mounts,
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", before_stop]}}},
    }
    spec = {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": PAUSE_SECONDS}
    return {"metadata": {"labels": {_LABEL: job.label}}, "spec": spec}


def entry_program(job: KubernetesJob) -> str:
    """Return the shell program of the job: wait for all pods, then run the study until it ends or is paused."""
    folders = [str(folder) for folder in (job.log.parent, job.cache, job.data)]  # a phantom needs no data
    data = ["--data", str(job.data)]
    wait = ["medctx", "cluster-wait", "--address", "auto", "--nodes", str(job.workers + 1)]
    wait += ["--gpus", str(job.workers * job.gpus_per_worker), "--timeout", str(job.join_seconds)]
    wait += ["--shared", str(job.results), "--shared", str(job.cache), *data]
    run = ["medctx", "run", *job.run_arguments, "--results", str(job.results), *data, "--address", "auto"]
    lines = [
        "set -eu",
        _pid_file_variable(job),
        join(["mkdir", "-p", *folders]),
        f"exec >>{quote(str(job.log))} 2>&1",
        'rm -f "$running"',
        join(wait),
        f"{join(run)} &",
        "driver=$!",
        """trap 'rm -f "$running"' EXIT""",
        'echo "$driver" >"$running"',
        'wait "$driver"',
    ]
    return "\n".join(lines)


def pause_program(job: KubernetesJob) -> str:
    """Return what the head does before it is stopped: tell the driver, and give it time to save checkpoints."""
    signal = 'if [ -e "$running" ]; then kill -s USR1 "$(cat "$running")"; fi'
    return "\n".join([_pid_file_variable(job), signal, _UNTIL_PAUSED])


def wait_program(job: KubernetesJob) -> str:
    """Return what a worker does before it is stopped: serve its trials until the driver has let them save."""
    return "\n".join([_pid_file_variable(job), _UNTIL_PAUSED])


_UNTIL_PAUSED = 'while [ -e "$running" ]; do sleep 1; done'


def _pid_file_variable(job: KubernetesJob) -> str:
    return f"running={quote(str(job.running))}"


def with_study_file(job: KubernetesJob, given: str, text: str) -> KubernetesJob:
    """Return the job with a study file from here, mounted where the driver finds it."""
    place = f"{_STUDIES}/{job.study}.yaml"
    arguments = tuple(place if argument == given else argument for argument in job.run_arguments)
    return replace(job, study_text=text, run_arguments=arguments)
