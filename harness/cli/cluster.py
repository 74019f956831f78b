"""``medctx launch``, ``medctx doctor`` and what a launched job calls: studies on a cluster."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer

from harness.cli.options import DEFAULT_RESULTS, AsJson, Data, Results
from harness.console import console
from harness.errors import UserError
from harness.study.expand import load_study
from harness.study.selection import choose_cells
from harness.study.study import Study

app = typer.Typer(
    help="Write a batch script or a manifest for a cluster, and submit it.", no_args_is_help=True
)
out = console()

_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}
RunArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY [RUN OPTIONS]",
        help="The study, and options of 'medctx run' such as --set, --only and --workers.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted, and do nothing.")]
JoinSeconds = Annotated[
    int,
    typer.Option(min=1, metavar="SECONDS", help="How long nodes may take to join before the job gives up."),
]
VolumeClaim = Annotated[str, typer.Option(metavar="NAME", help="Claim of a volume that all pods can write.")]
PodResults = Annotated[
    str | None, typer.Option(metavar="DIR", help="In the pods; default: results on the volume.")
]
PodData = Annotated[str | None, typer.Option(metavar="DIR", help="In the pods; default: data on the volume.")]
PodCache = Annotated[
    str | None, typer.Option(metavar="DIR", help="In the pods; default: cache on the volume.")
]
PodMemory = Annotated[str, typer.Option(metavar="BYTES", help="In Kubernetes' notation, e.g. 16Gi.")]
HeadCpus = Annotated[str, typer.Option(metavar="CPUS", help="Of the pod that preprocesses and reports.")]
Namespace = Annotated[str | None, typer.Option(metavar="NAME", help="Default: kubectl's current one.")]
TokenSecret = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Secret with Ray's token as auth_token; default: KubeRay makes one."),
]
Retries = Annotated[int, typer.Option(min=0, help="How often a paused or failed run is started again.")]


@app.command(context_settings=_PASS_ON)
def slurm(
    context: typer.Context,
    run_arguments: RunArguments,
    nodes: Annotated[int, typer.Option(min=1, help="Number of nodes.")],
    gpus_per_node: Annotated[int, typer.Option(min=0, help="GPUs of each node; 0 for none.")],
    cpus_per_node: Annotated[int | None, typer.Option(min=1, help="CPU cores of each node.")] = None,
    time: Annotated[str | None, typer.Option(metavar="[D-]HH:MM:SS", help="Time limit of the job.")] = None,
    partition: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    account: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    results: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of records, seen by all nodes.")
    ] = Path("results"),
    data: Data = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", envvar="MEDCTX_CACHE", help="Folder of preprocessed data, seen by all nodes."
        ),
    ] = None,
    setup: Annotated[
        str | None,
        typer.Option(
            metavar="SHELL",
            help="A line that puts medctx on PATH, e.g. 'source venv/bin/activate'; default: the PATH of this shell.",
        ),
    ] = None,
    extra_sbatch: Annotated[
        list[str] | None, typer.Option(metavar="OPTION", help="Another option of sbatch, e.g. '--qos=high'.")
    ] = None,
    join_seconds: JoinSeconds = 600,
    dry_run: DryRun = False,
) -> None:
    """Run a study on SLURM: write a batch script with Ray's head and workers, and submit it."""
    from harness.cluster.slurm import SlurmJob, slurm_script, submit
    from harness.data.caches import cache_root

    study, _ = _checked(context, run_arguments)
    job = SlurmJob(
        study=study.name,
        run_arguments=tuple(run_arguments),
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        results=results.absolute(),
        data=data.absolute() if data else None,
        cache=(cache or cache_root()).absolute(),
        folder=Path.cwd(),
        setup=setup or f'export PATH="{Path(sys.executable).parent}:$PATH"',
        join_seconds=join_seconds,
        cpus_per_node=cpus_per_node,
        time=time,
        partition=partition,
        account=account,
        extra=tuple(extra_sbatch or ()),
    )
    if dry_run:
        print(slurm_script(job), end="")
        return
    said = submit(job)
    out.print(f"{said}\nscript: {job.path}\nlog: {job.log}", markup=False)


@app.command(context_settings=_PASS_ON)
def kubernetes(
    context: typer.Context,
    run_arguments: RunArguments,
    workers: Annotated[int, typer.Option(min=1, help="Pods that train.")],
    gpus_per_worker: Annotated[int, typer.Option(min=0, help="GPUs of each; 0 for none.")],
    image: Annotated[str, typer.Option(metavar="IMAGE", help="Image with this harness and ray[default].")],
    volume_claim: VolumeClaim,
    mount: Annotated[str, typer.Option(metavar="DIR", help="Where the volume lies in all pods.")] = "/shared",
    results: PodResults = None,
    data: PodData = None,
    cache: PodCache = None,
    cpus_per_worker: Annotated[
        str, typer.Option(metavar="CPUS", help="Cores of each, in Kubernetes' notation, e.g. 8.")
    ] = "8",
    memory_per_worker: PodMemory = "32Gi",
    head_cpus: HeadCpus = "4",
    head_memory: Annotated[str, typer.Option(metavar="BYTES")] = "16Gi",
    namespace: Namespace = None,
    token_secret: TokenSecret = None,
    retries: Retries = 3,
    join_seconds: JoinSeconds = 900,
    dry_run: DryRun = False,
) -> None:
    """Run a study on Kubernetes: write a RayJob for KubeRay, and hand it to kubectl."""
    from harness.cluster.kubernetes import KubernetesJob, as_yaml, manifests, submit, with_study_file

    study, given = _checked(context, run_arguments)
    volume = PurePosixPath(mount)
    job = KubernetesJob(
        study=study.name,
        stamp=_now(),
        run_arguments=tuple(run_arguments),
        study_text=None,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        image=image,
        volume_claim=volume_claim,
        mount=volume,
        results=PurePosixPath(results or volume / "results"),
        data=PurePosixPath(data or volume / "data"),
        cache=PurePosixPath(cache or volume / "cache"),
        cpus_per_worker=cpus_per_worker,
        memory_per_worker=memory_per_worker,
        head_cpus=head_cpus,
        head_memory=head_memory,
        join_seconds=join_seconds,
        retries=retries,
        namespace=namespace,
        token_secret=token_secret,
    )
    if Path(given).is_file():
        job = with_study_file(job, given, Path(given).read_text())
    objects = manifests(job)
    if dry_run:
        print(as_yaml(objects), end="")
        return
    out.print(f"{submit(objects)}\nlog: {job.log} on {volume_claim}", markup=False)


def _now() -> str:
    return time.strftime("%m%d-%H%M%S")


def _checked(context: typer.Context, arguments: list[str]) -> tuple[Study, str]:
    """Return the study that arguments of ``medctx run`` name, and how they name it.

    They are read by the parser of ``run`` itself, so that a mistake shows here and not on the cluster.
    """
    run: Any = context.find_root().command.commands["run"]  # type: ignore[attr-defined]
    given = run.make_context("medctx run", list(arguments)).params
    if given["address"] is not None:
        raise UserError(
            "--address", given["address"], "none: a launched job starts its own cluster", "Leave it out."
        )
    study = load_study(given["study"], given["overrides"] or [], given["data"])
    choose_cells(study, given["only"] or [])
    return study, given["study"]


def cluster_wait(
    address: Annotated[str, typer.Option(help="HOST:PORT of Ray's head, or auto.")],
    nodes: Annotated[int, typer.Option(min=1)],
    gpus: Annotated[float, typer.Option(min=0.0, help="GPUs of all nodes together.")] = 0.0,
    timeout: Annotated[float, typer.Option(min=0.0, metavar="SECONDS")] = 600.0,
    names: Annotated[str, typer.Option(metavar="A,B,…", help="Names of the nodes, if they are known.")] = "",
    shared: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Must be seen by all nodes.")
    ] = None,
    data: Data = None,
    head_pid: Annotated[int | None, typer.Option(help="Process whose end ends the waiting.")] = None,
) -> None:
    """Wait until all nodes of a starting Ray cluster have joined and see the same folders; else exit status 1."""
    import psutil

    from harness.cluster.waiting import ClusterIncomplete, ExpectedNodes, wait_for_cluster

    expected = ExpectedNodes(nodes, gpus, tuple(filter(None, names.split(","))))
    say = lambda line: print(f"medctx: {line}", file=sys.stderr, flush=True)  # noqa: E731
    lives = (lambda: psutil.pid_exists(head_pid)) if head_pid else (lambda: True)
    try:
        wait_for_cluster(address, expected, timeout, shared or [], data, say, lives)
    except ClusterIncomplete as error:
        say(str(error))
        raise typer.Exit(1) from None


def doctor(
    study: Annotated[
        str | None,
        typer.Argument(metavar="STUDY", help="Also check this study's data, and disk space for it."),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    address: Annotated[
        str | None,
        typer.Option(help="Look at all nodes of this running Ray cluster; default: this machine."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check storage, versions, GPUs, clocks, data and token, and say what to do. Exit status 1 on an error."""
    from harness.cluster.doctor import examine

    findings = []
    for finding in examine(
        load_study(study, data=data) if study else None, results.absolute(), data, address
    ):
        findings.append(finding)
        if not as_json:
            where = f"{finding.node}: " if finding.node else ""
            remedy = f". {finding.remedy}" if finding.remedy else ""
            out.print(f"{finding.grade:7}  {finding.check:12} {where}{finding.found}{remedy}", markup=False)
    count = {
        grade: sum(finding.grade == grade for finding in findings) for grade in ("error", "warning", "ok")
    }
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings], **count}, indent=1))
    else:
        out.print(", ".join(f"{number} {grade}" for grade, number in count.items()))
    if count["error"]:
        raise typer.Exit(1)
