"""Which trial starts next and with which share of a GPU, and what becomes of one that comes back; knows nothing of Ray.

Which trials there are is the agenda's; what is done about a fault is its rule in :mod:`harness.records.faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from harness.records.faults import LOSSES, is_out_of_room, rule_of
from harness.records.processes import Process
from harness.records.schema import Cause
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.sweep.agenda import Agenda, publish_failure
from harness.sweep.disk import DiskRoom
from harness.sweep.nodes import Nodes
from harness.sweep.packing import arm_key, larger_share, loaders_for, read_needs

_LOW_ON_MEMORY = "low on memory"  # in what Ray says of a worker that it has killed for that
_LINES = 20  # of Ray's message that are kept


@dataclass(frozen=True)
class Job:
    """A trial to start now, where to pause it, its share of a GPU, 0 where there is none, its loaders, and the nodes that it is
    not for."""

    spec: TrialSpec
    pause_at: int | None
    share: float
    loaders: int = 0
    avoided: frozenset[str] = frozenset()


class Dispatcher:
    """Hands out jobs by name, and takes them back.

    Args:
        agenda: says which trial is next.
        store: where records are.
        workers: jobs at a time; None: as many as are asked for.
        gpus: whether there are any.
        say: told in a sentence when it waits, gives a trial more, or keeps a node off.
        nodes: returns the nodes that are there.
        loaders: of each trial; None: on a GPU as many as its share of the cores allows, on the CPU none.
        cores_per_gpu: of the node that has the fewest.

    Attributes:
        running: the trials that are handed out, by the name of their job.
        stopping: set it to hand out no more.
        error: what the agenda failed with: a search that cannot go on.
    """

    def __init__(
        self,
        agenda: Agenda,
        store: Store,
        *,
        workers: int | None,
        gpus: bool,
        say: Callable[[str], None] = lambda text: None,
        nodes: Callable[[], Collection[str]] = tuple,
        loaders: int | None = None,
        cores_per_gpu: float = 0.0,
    ) -> None:
        self._agenda, self._store, self._workers, self._say = agenda, store, workers, say
        self._needs = read_needs(store.results) if gpus else {}
        self._gpus, self._wanted_loaders, self._cores_per_gpu = gpus, loaders, cores_per_gpu
        self._larger_shares: dict[str, float] = {}
        self._losses: dict[str, int] = {}
        self._forgiven: dict[str, str] = {}  # a release already seen of a trial whose worker died
        self._failures: list[tuple[TrialSpec, Cause]] = []  # to be published
        self._room = DiskRoom(store, say)
        self._nodes = Nodes(nodes)
        self._driver = Process.this()
        self.running: dict[str, TrialSpec] = {}
        self.stopping = False
        self.error: Exception | None = None

    @property
    def finished(self) -> bool:
        """Whether there will be no more jobs."""
        return self.stopping or self._agenda.finished

    def next(self, name: str) -> Job | None:
        """Return a job, which goes by ``name`` from now on, or None where none can start now."""
        if self.finished or len(self.running) == self._workers or not self._room.has_room():
            return None
        try:
            self._publish_failures()
            task = self._agenda.next()
        except OSError as error:
            if not is_out_of_room(error):
                raise
            self._room.note_full(str(error))
            return None
        except Exception as error:  # Tune would wrap it
            self.error = error
            raise
        if task is None:
            return None
        self.running[name] = task.spec
        avoided = frozenset(self._nodes.kept_off)
        return Job(task.spec, task.pause_at, self._share(task.spec), self._loaders(task.spec), avoided)

    def returned(self, name: str, cause: Cause | None = None, node: str = "") -> None:
        """Take a job back; with a ``cause`` for which the trial does not answer, apply the rule of that fault.

        Args:
            name: of the job.
            cause: of what came out of the trial, where no record tells.
            node: where it ran.
        """
        spec = self.running.pop(name)
        if cause is None:
            self._agenda.returned(spec.id)
            record = self._store.record(spec.id)
            if record and record.status == "complete":
                self._nodes.completed(node, spec)
            elif record and record.cause:
                self._nodes.failed(node, spec, record.cause.kind)
            self._keep_off()
            return
        self._store.drop_claim(spec.id, self._driver)
        self._apply_rule(spec, cause, node)

    def lost(self, name: str, message: str, node: str = "") -> None:
        """Apply the rule for a trial whose worker died, after having put it down or without.

        Args:
            name: of the job.
            message: what Ray says.
            node: where it ran.
        """
        spec = self.running.pop(name)
        lost = self._store.drop_claim(spec.id, self._driver)
        released = None if lost else self._store.released(spec.id)
        if released and self._forgiven.get(spec.id) != released.where:
            self._forgiven[spec.id] = released.where
            self._apply_rule(spec, released.cause(), node)
            return
        kind, text = "worker_lost", "its worker or node died"
        if _LOW_ON_MEMORY in message:
            kind, text = "out_of_host_memory", "Ray killed its worker since the node ran low on memory"
        said = "\n".join(message.splitlines()[1:_LINES])  # the first line is Tune's own
        self._apply_rule(spec, Cause(kind=kind, message=text, traceback=said), node)

    def _share(self, spec: TrialSpec) -> float:
        if not self._gpus:
            return 0.0
        need = self._needs.get(arm_key(spec))
        return self._larger_shares.get(spec.id) or (need.share if need else 1.0)

    def _loaders(self, spec: TrialSpec) -> int:
        if self._wanted_loaders is not None or not self._gpus:
            return self._wanted_loaders or 0
        need = self._needs.get(arm_key(spec))
        return loaders_for(need, self._share(spec), self._cores_per_gpu, spec.recipe.threads)

    def _apply_rule(self, spec: TrialSpec, cause: Cause, node: str) -> None:
        rule, share = rule_of(cause.kind).now, self._share(spec)
        self._nodes.failed(node, spec, cause.kind)
        self._keep_off()
        if rule == "again" and node not in self._nodes.kept_off:
            self._losses[spec.id] = times = self._losses.get(spec.id, 0) + 1
            cause = cause.model_copy(update={"message": f"{times} times: {cause.message}"})
            rule = "fail" if times >= LOSSES else rule
        if rule == "fail" or (rule == "grow" and share in (0.0, 1.0)):
            self._failures.append((spec, cause))  # published before anything else is handed out
            return
        if rule == "grow":
            self._larger_shares[spec.id] = larger_share(share)
            self._say(f"out of GPU memory: {spec.id} again with {larger_share(share):.2f} of a GPU")
        if rule == "wait":
            self._room.note_full(cause.message)
        self._agenda.retry(spec.id)  # "stop" too: its worker was asked to, and the run may go on elsewhere

    def _keep_off(self) -> None:
        """Give no more trials to nodes that fail again and again, and those that failed there to others."""
        for node, failed in self._nodes.judge().items():
            listed = ", ".join(spec.id for spec in failed)
            self._say(
                f"node {node} is kept off for the rest of this run: trials failed there again and again; elsewhere: {listed}"
            )
            for spec in failed:
                self._losses.pop(spec.id, None)
                self._agenda.reopen(spec)

    def _publish_failures(self) -> None:
        while self._failures:
            spec, cause = self._failures[0]
            publish_failure(spec, self._store, cause)
            self._failures.pop(0)
            self._agenda.returned(spec.id)
