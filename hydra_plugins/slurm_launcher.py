"""hydra/launcher=slurm: the submitit launcher, which submits here and leaves the waiting to the sweep.

Hydra finds a launcher only if its class is defined under `hydra_plugins.*`, and imports every plugin at start-up:
nothing heavy is imported before a sweep really starts. The only file, beside `alexnet_sweep.slurm`, that knows SLURM.
"""

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher

try:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as SubmititLauncher
except ImportError:  # the extra is not installed: choosing this launcher says so
    SubmititLauncher = Launcher

HOLD_SECONDS = 60
PORTS = (20000, 32767)  # where processes of a job meet: below those that the system hands out
# What tells a process of torch's that it is one of several; a job is told its own.
OF_A_TEAM = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


class SlurmLauncher(SubmititLauncher):  # type: ignore[misc]
    """Submits job arrays; a job that is asked to stop in time saves, and is requeued."""

    queue = "slurm"

    @property
    def tasks(self) -> int:
        """Processes of a job."""
        return int(self.params["nodes"]) * int(self.params["tasks_per_node"])

    @property
    def name(self) -> str:
        return str(self.params["name"])

    @property
    def jobs_at_once(self) -> int:
        """Jobs of an array that run at the same time, at most."""
        return int(self.params["array_parallelism"])

    def submit(self, batch: Sequence[Sequence[str]], folder: Path, name: str) -> list[tuple[str, Path]]:
        """Submit override lists, as arrays of this name; the job and the log of each, of as many as these may have.

        Arrays share `array_parallelism` out, so that there are no more of them than that.

        Raises:
            Refused: where SLURM refuses them.
            ConfigError: where they would be asked to stop before they start.
        """
        import submitit

        from alexnet_sweep.errors import ConfigError
        from alexnet_sweep.queues import Refused
        from alexnet_sweep.slurm import largest_array

        delay, minutes = self.params.get("signal_delay_s", 0), self.params["timeout_min"]
        if delay >= 60 * minutes:
            raise ConfigError(
                f"hydra.launcher.signal_delay_s={delay}: a job has {60 * minutes} s (timeout_min={minutes}); allowed: "
                "fewer seconds than that; lower it, or raise hydra.launcher.timeout_min"
            )
        parameters = {key: value for key, value in self.params.items() if key != "submitit_folder"}
        timeouts = parameters.pop("max_num_timeout")
        shared = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name")
        named = {key if key in (*shared, "stderr_to_stdout") else f"slurm_{key}": parameters[key] for key in parameters}
        named["name"] = name
        theirs = dict(parameters.get("additional_parameters") or {})
        if "no-requeue" not in theirs:  # a site may not requeue by default
            named["slurm_additional_parameters"] = {"requeue": True} | theirs
        named["slurm_srun_args"] = ["--kill-on-bad-exit=1"]  # whoever waits for a lost process ends with it
        if parameters.get("cpus_per_task"):  # from 22.05 on a step does not inherit it
            named["slurm_srun_args"].append(f"--cpus-per-task={parameters['cpus_per_task']}")
        arguments = [
            (list(overrides), "hydra.sweep.dir", number, f"job_id_for_{number}", Singleton.get_state())
            for number, overrides in enumerate(batch)
        ]
        jobs: list[Any] = []
        try:
            executor = submitit.AutoExecutor(
                cluster="slurm", folder=str(folder.absolute() / "%j"), slurm_max_num_timeout=timeouts
            )
            with _as_if_outside_of_a_job():
                arrays = shared_out(len(batch), largest_array(), int(parameters["array_parallelism"]))
                for jobs_of_it, parallel in arrays:
                    executor.update_parameters(**named | {"slurm_array_parallelism": parallel})
                    part = arguments[len(jobs) : len(jobs) + jobs_of_it]
                    jobs += executor.map_array(self, *zip(*part, strict=True))
        except (RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(getattr(error, "stderr", None) or error).split())
            raise Refused(
                f"hydra/launcher=slurm: {len(batch)} jobs not submitted ({reason}); hydra.launcher.* holds what is "
                "asked for, such as partition, account, gpus_per_node, mem_gb; where they are too many, "
                "hydra.sweeper.max_batch_size=N has no more than N in the queue"
            ) from error
        together = self.params.get("stderr_to_stdout")
        return [(job.job_id, job.paths.stdout if together else job.paths.stderr) for job in jobs]

    def __call__(self, *arguments: Any, **keywords: Any) -> JobReturn:
        """One run, in its job.

        Raises:
            Exception: what the run raised, so that SLURM counts the job as failed.
        """
        import submitit

        from alexnet_sweep import machine
        from alexnet_sweep.errors import Interrupted

        job = submitit.JobEnvironment()
        os.environ[machine.QUEUE_JOB] = job.job_id
        for name in OF_A_TEAM:  # of whoever submitted: sbatch hands its environment on
            os.environ.pop(name, None)
        if job.num_tasks > 1:  # as torchrun would tell them; the port is the job's own
            submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
            os.environ["MASTER_PORT"] = str(random.Random(job.job_id).randint(*PORTS))
        in_time = getattr(signal, f"SIG{job.USR_SIG}")
        requeue = signal.getsignal(in_time)
        assert callable(requeue), "submitit handles this signal"
        try:
            done: JobReturn = super().__call__(*arguments, **keywords)
            _ = done.return_value
            return done
        except Interrupted as stopped:
            if job.global_rank > 0:  # the first process saves, and has the job requeued, which ends this one as well
                _hold()
            if stopped.signal == in_time:
                requeue(in_time, None)  # and exits
            elif stopped.signal == signal.SIGTERM:
                _hold()
            raise


def shared_out(jobs: int, largest: int | None, parallel: int) -> list[tuple[int, int]]:
    """The arrays that carry out as many of the jobs as they may: of how many each, and how many of them at a time."""
    if largest is None or jobs <= largest:
        return [(jobs, parallel)]
    arrays = min(-(-jobs // largest), parallel)
    jobs = min(jobs, arrays * largest)
    return [
        (jobs * (number + 1) // arrays - jobs * number // arrays, parallel // arrays + (number < parallel % arrays))
        for number in range(arrays)
    ]


def _hold() -> None:
    """Stay until the job is killed, however late that is: one that is preempted is requeued unless it has ended."""
    while True:
        time.sleep(HOLD_SECONDS)


@contextmanager
def _as_if_outside_of_a_job() -> Iterator[None]:
    """What SLURM has told this process about its own job is not for the jobs that it submits."""
    told = {
        name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SLURM_") and name != "SLURM_CONF"
    }
    try:
        yield
    finally:
        os.environ.update(told)
