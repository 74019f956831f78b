"""Records and claims as tests need them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

from harness.records.processes import Process
from harness.records.schema import TrialRecord
from harness.records.store import Store
from harness.spec import TrialSpec


def described(process: subprocess.Popen) -> Process:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return replace(Process.this(), pid=process.pid, start=int(fields[19]))


def complete(spec: TrialSpec) -> TrialRecord:
    """Return a record that needs no scores."""
    untested = spec.model_copy(update={"tested": False})
    return TrialRecord(id=spec.id, status="complete", kind="train", spec=untested)


def rewrite_claim(store: Store, id: str, **changes: object) -> Path:
    path = store.results / "running" / id / "claim.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path
