"""Runs through MLflow's public API: any store, any server, tens of milliseconds a run, several at a time."""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bnsweep.store.backend import (
    RUNNING,
    UNDER_WAY,
    Begun,
    KeptRun,
    NewRun,
    RunGone,
    artifact_folder,
    is_single,
    local_path,
)
from bnsweep.store.encode import TRAINING, dataset_fields, dataset_of, fill, replace_folder
from bnsweep.store.mlflow_variables import QUIET, REQUESTS, environment_variables
from bnsweep.store.threads import in_threads

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

METRICS_A_CALL = 900
"""MLflow takes 1000 metrics, params and tags in one call."""
PAGE = 5000
THREADS, BATCH = 4, 16
"""Runs that are written at a time through a tracking server, and in one call: most of the time goes by there and on the
way. What a database itself is sent takes this process's own time, which threads only share."""
OF_SERVER = "mlflow-artifacts:"
"""How the URI of artifacts begins that the tracking server itself takes."""


class ClientBackend:
    """Runs of one experiment."""

    most_asked = None

    def __init__(self, client: MlflowClient, experiment_id: str, beside: Path | None = None):
        """`beside`: where artifacts lie that were moved together with a database file."""
        self.client, self.experiment_id, self.beside = client, experiment_id, beside
        self.threads, self.batch = (THREADS, BATCH) if client.tracking_uri.startswith("http") else (1, 1)

    def create(self, runs: Sequence[NewRun]) -> list[str]:
        """An error leaves those that were begun written or KILLED, and the others unwritten."""
        return in_threads(self._create, runs, self.threads)

    def _create(self, new: NewRun) -> str:
        """An error or interrupt leaves the run KILLED."""
        run_id: str = ""
        try:
            run = self.client.create_run(self.experiment_id, new.start, new.tags, new.name)
            run_id = run.info.run_id
            self._write(run, Begun(run_id, new))
        except BaseException:
            # The interrupt may have come after the row was made and before its id was known.
            with suppress(Exception):
                mine = [run_id] if run_id else self._running(new)
                for leftover in mine:
                    if new.status in ("KILLED", RUNNING):  # which would be taken for one that is complete
                        self.client.delete_run(leftover)
                    else:
                        self.client.set_terminated(leftover, "KILLED")
            raise
        return run_id

    def _running(self, new: NewRun) -> list[str]:
        """What there is of this very run, while others of its kind may be written beside it."""
        mine = (new.tags.get("bnsweep.identity"), new.start)
        running = self.runs(new.tags["bnsweep.kind"], "RUNNING")
        return [run.run_id for run in running if (run.tags.get("bnsweep.identity"), run.start) == mine]

    def write(self, begun: Sequence[Begun]) -> None:
        in_threads(self._write_begun, begun, self.threads)

    def _write_begun(self, one: Begun) -> None:
        run = self.client.get_run(one.run_id)
        if run.info.lifecycle_stage != "active" or (one.run.status == RUNNING != run.info.status):
            raise RunGone(one.run_id)
        self._write(run, one)

    def kill(self, run_ids: Sequence[str]) -> None:
        in_threads(self._kill, run_ids, self.threads)

    def _kill(self, run_id: str) -> None:
        run = self.client.get_run(run_id)
        if run.info.status == RUNNING:
            self.client.set_terminated(run_id, "KILLED")
            if run.data.tags.get("bnsweep.status") == UNDER_WAY:
                self.client.set_tag(run_id, "bnsweep.status", "killed")

    def _write(self, run: Run, begun: Begun) -> None:
        """What of it is not there yet; its status comes last."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        run_id, new, there = run.info.run_id, begun.run, run.data
        params = [Param(key, value) for key, value in new.params.items() if key not in there.params]
        tags = [RunTag(key, value) for key, value in new.tags.items() if there.tags.get(key) != value]
        metrics = [Metric(name, value, new.start, step) for name, value, step in begun.missing]
        for i in range(0, max(1, len(metrics)), METRICS_A_CALL):
            batch = metrics[i : i + METRICS_A_CALL]
            self.client.log_batch(run_id, batch, params if i == 0 else [], tags if i == 0 else [])
        if new.dataset is not None:
            source_type, source, profile = dataset_fields(new.dataset)
            dataset = Dataset(new.dataset.name, new.dataset.digest, source_type, source, profile=profile)
            self._log_dataset(run_id, DatasetInput(dataset, [InputTag(*TRAINING)]))
        self._put_files(run, new)
        if new.status != RUNNING:
            self.client.set_terminated(run_id, new.status, new.end)

    def _put_files(self, run: Run, new: NewRun) -> None:
        """Straight to the folder where it is one of this machine, else in one upload."""
        target = local_path(run.info.artifact_uri)
        if target is not None:
            fill(target, new.texts, new.files)
            return
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), new.texts, new.files)
            if any(Path(folder).iterdir()):
                self._upload(run, folder)

    def _log_dataset(self, run_id: str, used: DatasetInput) -> None:
        """MLflow refuses a dataset that somebody else writes at that moment; then it is there, and is taken."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_inputs(run_id, datasets=[used])
        except MlflowException as error:
            if error.error_code != "BAD_REQUEST":
                raise
            self.client.log_inputs(run_id, datasets=[used])

    def _upload(self, run: Run, folder: str) -> None:
        """`log_artifacts` asks a server for the run first, to learn where its artifacts are."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if run.info.artifact_uri.startswith(OF_SERVER):
            artifacts = get_artifact_repository(run.info.artifact_uri, self.client.tracking_uri)
            artifacts.log_artifacts(folder)  # type: ignore[no-untyped-call]
        else:
            self.client.log_artifacts(run.info.run_id, folder)

    def remove(self, run_id: str) -> None:
        self.client.delete_run(run_id)

    def end(self, run_id: str, status: str, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        self.client.set_terminated(run_id, status)

    def tag_runs(self, run_ids: Sequence[str], key: str, value: str) -> None:
        in_threads(lambda run_id: self.client.set_tag(run_id, key, value), run_ids, self.threads)

    def tag_experiment(self, key: str, value: str) -> None:
        self.client.set_experiment_tag(self.experiment_id, key, value)

    def runs(
        self,
        kind: str,
        status: str | None = None,
        tag: tuple[str, str, str] | None = None,
        limit: int | None = None,
        params: bool = False,
        identities: Collection[str] | None = None,
    ) -> list[KeptRun]:
        conditions = [f"tags.`bnsweep.kind` = '{kind}'"]
        conditions += [f"attributes.status = '{status}'"] if status else []
        conditions += ["tags.`{}` {} '{}'".format(*tag)] if tag else []
        runs: list[Run] = []
        token: str | None = None
        while limit is None or len(runs) < limit:
            page = self.client.search_runs(
                [self.experiment_id],
                " and ".join(conditions),
                max_results=limit or PAGE,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                break
        wanted = None if identities is None else {*identities}
        found = (run for run in runs if wanted is None or run.data.tags.get("bnsweep.identity") in wanted)
        return [kept_run(run, params) for run in found]

    def metric_names(self, run_ids: Sequence[str]) -> set[str]:
        return {name for run_id in run_ids for name in self.client.get_run(run_id).data.metrics}

    def artifact(self, run: KeptRun, name: str) -> Path:
        folder = artifact_folder(run, self.beside)
        if folder is not None:
            return folder / name
        target = self.downloads / run.run_id
        target.mkdir(exist_ok=True)
        # In a notebook this may be long after the store was opened.
        with environment_variables(QUIET | REQUESTS):
            return Path(self.client.download_artifacts(run.run_id, name, str(target)))

    def files_of(self, runs: Sequence[KeptRun], name: str) -> list[Path]:
        return in_threads(lambda run: self.artifact(run, name), runs, self.threads)

    @cached_property
    def downloads(self) -> Path:
        """A folder for files of the server, which goes with this object."""
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def attach(self, run: KeptRun, name: str, files: Sequence[Path]) -> None:
        target = artifact_folder(run, self.beside)
        if target is not None:
            replace_folder(target / name, files)
            return
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), {}, files)
            self.client.log_artifacts(run.run_id, folder, name)


def kept_run(run: Run, params: bool) -> KeptRun:
    """From MLflow's own form."""
    single = {key: value for key, value in run.data.metrics.items() if is_single(key)}
    summary = {key: value for key, value in single.items() if not math.isnan(value)}
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return KeptRun(
        run.info.run_id,
        run.info.status,
        run.info.start_time,
        run.info.artifact_uri,
        run.data.tags,
        run.data.params if params else {},
        summary,
        [dataset_of(i.dataset.name, i.dataset.digest, i.dataset.source, i.dataset.profile) for i in inputs],
    )
