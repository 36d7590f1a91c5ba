"""The searches of a queue as jobs of the cluster that the keeper lives on. Decides nothing; knows no database."""

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from cluster.job_records import SearchJob, metadata_of
from cluster.jobs import Jobs, Order
from cluster.packaging import copy_tunesmith
from cluster.queue_records import StartOrder
from cluster.queueing import Amount, ClusterRoom


class QueueJobs:
    """Starts and follows the searches of a queue."""

    def __init__(self, jobs: Jobs, *, room: Callable[[], ClusterRoom], most: Amount, is_installed: bool) -> None:
        """
        Args:
            jobs: The jobs of the cluster.
            room: What the cluster has.
            most: What the queue may use of it.
            is_installed: Whether the nodes have tunesmith; else the keeper's own travels with each search.
        """
        self._jobs = jobs
        self._room = room
        self._most = most
        self._is_installed = is_installed

    def room(self) -> ClusterRoom:
        """What the queue may use, and how it lies on nodes."""
        has = self._room()
        total = Amount(cpus=min(has.total.cpus, self._most.cpus), gpus=min(has.total.gpus, self._most.gpus))
        return replace(has, total=total)

    def jobs(self) -> Mapping[str, SearchJob]:
        """All searches that were submitted, by their submission ids. Raises ClusterError."""
        return {job.submission_id: job for job in self._jobs.searches()}

    def submit(self, ordered: StartOrder) -> None:
        """Submit a search. Raises SpecError when a job of this id exists already, ClusterError when it is refused."""
        queued, search = ordered.queued, ordered.queued.search
        with tempfile.TemporaryDirectory(prefix="tunesmith-start-") as scratch:
            travels, own = Path(scratch) / "search", Path(scratch) / "tunesmith"
            travels.mkdir()
            own.mkdir()
            for name, content in ordered.package.files.items():
                (travels / name).parent.mkdir(parents=True, exist_ok=True)
                (travels / name).write_bytes(content)
            self._jobs.submit(
                Order(
                    submission_id=queued.submission_id,
                    metadata=metadata_of(
                        search=search.name, directory=search.directory, command=ordered.command[0], user=search.user
                    ),
                    working_dir=travels,
                    modules=() if self._is_installed else copy_tunesmith(own),
                    shelf=search.shelf,
                    command=ordered.command,
                    environment=ordered.environment,
                    secret_files=search.secret_files,
                    python=sys.executable,  # its jobs run where the keeper does, on the head
                )
            )

    def end_at_once(self, submission_id: str) -> None:
        """End the processes of a search."""
        self._jobs.stop_at_once(self._jobs.job(submission_id))
