"""``doctor --address`` and ``cluster-wait`` on two Ray nodes of this machine.

The second node does not see a folder of the first one's (it has a mount namespace of its own), and Ray believes that
it has a GPU.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole_machine

RAY = Path(sys.executable).with_name("ray")


@dataclass(frozen=True)
class TwoNodes:
    """A running cluster: where it is, its environment, and the folder that its second node does not see."""

    address: str
    environment: Mapping[str, str]
    private: Path

    def medctx(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness", *map(str, arguments)],
            env=self.environment, capture_output=True, text=True, check=False, timeout=200,
        )  # fmt: skip


@contextmanager
def node(
    environment: Mapping[str, str], name: str, address: str, *options: str, prefix: Sequence[str] = ()
) -> Iterator[None]:
    """Run a Ray node on an address of this machine as long as this context lasts."""
    command = [
        *prefix,
        str(RAY),
        "start",
        f"--node-name={name}",
        f"--node-ip-address={address}",
        *options,
        "--num-cpus=1",
    ]
    command += ["--object-store-memory=104857600", "--min-worker-port=0", "--max-worker-port=0", "--block"]
    command += [f"--temp-dir=/tmp/medctx-test-{os.getpid()}", "--disable-usage-stats"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def head(environment: Mapping[str, str], name: str, host: str, port: int) -> Iterator[str]:
    """Run the head of a cluster; give its address."""
    with node(environment, name, host, "--head", f"--port={port}", "--include-dashboard=false"):
        yield f"{host}:{port}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    folder = tmp_path_factory.mktemp("cluster")
    private, token = folder / "private", folder / "token"
    private.mkdir()
    apart = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs tmpfs "{private}" && exec "$@"', "sh"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not make a mount namespace")
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    logical = environment | {"RAY_OVERRIDE_RESOURCES": '{"GPU": 1}'}
    port = 20000 + os.getpid() % 10000
    try:
        with head(environment, "first", "127.0.0.2", port) as address:
            nodes = TwoNodes(address, environment, private)
            begun = nodes.medctx("cluster-wait", "--address", address, "--nodes", 1, "--timeout", 60)
            assert begun.returncode == 0, begun.stderr
            with node(logical, "second", "127.0.0.3", f"--address={address}", prefix=apart):
                yield nodes
    finally:
        shutil.rmtree(f"/tmp/medctx-test-{os.getpid()}", ignore_errors=True)


@pytest.mark.slow
def test_waiting_for_nodes_and_folders(cluster: TwoNodes, tmp_path: Path) -> None:
    wait = ("cluster-wait", "--address", cluster.address, "--nodes", 2, "--gpus", 1, "--timeout", 60)
    there = cluster.medctx(*wait, "--shared", tmp_path, "--data", tmp_path)
    assert there.returncode == 0 and "2 of 2 nodes, 1 of 1 GPUs" in there.stderr

    hidden = cluster.medctx(*wait, "--shared", cluster.private)
    assert hidden.returncode == 1
    assert f"second  {cluster.private}  another folder of the same name" in hidden.stderr
    assert "first " not in hidden.stderr

    missing = cluster.medctx(
        "cluster-wait", "--address", cluster.address, "--nodes", 3, "--gpus", 3, "--timeout", 0,
        "--names", "first,second,third",
    )  # fmt: skip
    rows = [line.split() for line in missing.stderr.splitlines() if line.startswith("  ")]
    assert missing.returncode == 1 and rows == [
        ["node", "expected", "seen", "address"],
        ["first", "1", "GPU", "0", "GPUs", "127.0.0.2"],
        ["second", "1", "GPU", "1", "GPU", "127.0.0.3"],
        ["third", "1", "GPU", "nothing", "-"],
    ]


@pytest.mark.slow
def test_the_doctor_names_the_node_and_what_is_wrong(cluster: TwoNodes) -> None:
    done = cluster.medctx(
        "doctor", "quickstart", "--results", cluster.private, "--address", cluster.address, "--json"
    )
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == 1
    graded = {(one["check"], one["node"]): one["grade"] for one in findings}
    for check in ("lock", "visible", "GPUs"):
        assert graded[check, "first"] == "ok" and graded[check, "second"] == "error", findings
    for check in ("cache", "data"):
        assert graded[check, "first"] == graded[check, "second"] == "ok", findings
    for check in ("results", "lock", "rename", "hard links", "free space", "versions", "clock", "token"):
        assert graded[check, ""] == "ok", findings
    assert all(one["remedy"] for one in findings if one["grade"] != "ok")
    assert not list(cluster.private.iterdir()), "the doctor leaves nothing behind"


@pytest.mark.slow
def test_tokens(cluster: TwoNodes) -> None:
    wait = ("cluster-wait", "--nodes", "1", "--timeout", "60", "--address")
    foreign = {**cluster.environment, "RAY_AUTH_TOKEN": "another", "RAY_NUM_REDIS_GET_RETRIES": "1"}
    refused = replace(cluster, environment=foreign).medctx(*wait, cluster.address)
    assert refused.returncode == 2 and "RAY_AUTH_TOKEN_PATH" in refused.stderr

    port = 30000 + os.getpid() % 2000
    with head({**cluster.environment, "RAY_AUTH_MODE": "disabled"}, "open", "127.0.0.4", port) as address:
        let_in = cluster.medctx(*wait, address)
    assert let_in.returncode == 2 and "a client without a token let in" in let_in.stderr
