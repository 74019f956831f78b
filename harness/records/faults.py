"""What can go wrong with a trial, and the rule for each: one table, and the code that names a fault."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.errors import Interrupted, TrialFailure, UserError
from harness.records.schema import Cause, TrialRecord

LOSSES = 3  # of a trial's worker in one run, before the trial counts as failed
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_GPU_ALLOCATION = ("CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA out of memory")


@dataclass(frozen=True)
class Rule:
    """What a run does about one kind of fault.

    Attributes:
        now: in this run: ``fail`` publishes the trial as failed; ``again`` runs it again from its checkpoint,
            :data:`LOSSES` times in all; ``grow`` runs it again with twice its share of a GPU, up to a whole one;
            ``wait`` hands out nothing until there is room, ``stop`` nothing more at all; both leave the trial pending.
        next_run: from its checkpoint, anew (a bug may have left traces in the weights), or never (the same
            numbers would repeat it).
        action: what to do, for ``medctx status``.
    """

    now: Literal["fail", "again", "grow", "wait", "stop"]
    next_run: Literal["checkpoint", "anew", "never"]
    action: str


RULES = {
    "out_of_gpu_memory": Rule(
        "grow", "checkpoint", "Take a smaller recipe.patch or recipe.batch, or a GPU with more memory."
    ),
    "out_of_host_memory": Rule("again", "checkpoint", "Run again with fewer --workers."),
    "worker_lost": Rule("again", "checkpoint", "See why its process or node died, then run again."),
    "loader_lost": Rule(
        "again",
        "checkpoint",
        "Run again with fewer --loaders, or give more memory, or more of it to /dev/shm.",
    ),
    "nan": Rule("fail", "never", "Lower recipe.learning_rate, or set recipe.precision=fp32: a new trial."),
    "error": Rule("fail", "anew", "Mend what the traceback names, then run again."),
    "input": Rule("fail", "anew", "Correct what the message names, then run again."),
    "pretraining": Rule("fail", "anew", "Mend the pretraining that the message names, then run again."),
    "io": Rule("fail", "checkpoint", "Check the storage ('medctx doctor'), then run again."),
    "disk_full": Rule("wait", "checkpoint", "Make room; a run that waits goes on by itself."),
    "preempted": Rule("stop", "checkpoint", "Give the same command again; it goes on."),
    "paused": Rule("stop", "checkpoint", "Nothing: the search decides whether it goes on."),
}


def rule_of(kind: str) -> Rule:
    """Return the rule for a kind of fault; a kind that a method has named itself is treated as a bug."""
    return RULES.get(kind, RULES["error"])


def is_final(record: TrialRecord) -> bool:
    """Return whether a run leaves a record as it is: complete, or a failure that would only repeat."""
    if record.status == "complete":
        return True
    return record.cause is not None and rule_of(record.cause.kind).next_run == "never"


def cause_of(error: BaseException) -> Cause:
    """Return the kind of fault behind an exception, one sentence, and the end of its traceback."""
    if isinstance(error, Interrupted | TrialFailure):
        return Cause(kind=error.cause, message=error.message, traceback=getattr(error, "traceback", ""))
    if isinstance(error, UserError):
        return Cause(kind="input", message=str(error))
    text = "".join(traceback.format_exception(error))[-4000:]
    return Cause(kind=_kind_of(error), message=f"{type(error).__name__}: {error}"[:500], traceback=text)


def _kind_of(error: BaseException) -> str:
    if is_out_of_room(error):
        return "disk_full"
    if any(_is_out_of_gpu_memory(part) for part in _chain(error)):
        return "out_of_gpu_memory"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error):
        return "out_of_host_memory"
    return "io" if isinstance(error, OSError) else "error"


def is_out_of_room(error: BaseException) -> bool:
    """Return whether a full disk, or a used-up quota, is behind an exception."""
    return any(isinstance(part, OSError) and part.errno in _NO_ROOM for part in _chain(error))


def _is_out_of_gpu_memory(error: BaseException) -> bool:
    """By name, so that torch need not be imported to ask."""
    own = type(error).__name__ == "OutOfMemoryError" and type(error).__module__.startswith("torch")
    return own or (isinstance(error, RuntimeError) and any(text in str(error) for text in _GPU_ALLOCATION))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from or while handling."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
