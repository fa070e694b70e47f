"""One run: data → model → train → evaluate → record. The only module that knows both torch and the store."""

import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from alexnet_sweep import checkpoint, failpoints, provenance
from alexnet_sweep.assemble import Assembly, assemble, effective_device
from alexnet_sweep.backend import backend, no_deterministic_form
from alexnet_sweep.config import Config
from alexnet_sweep.distributed import STOPPED, Team, team_started_here
from alexnet_sweep.errors import CannotWrite, FolderError, Interrupted, SweepError
from alexnet_sweep.files import whole_file, write_text
from alexnet_sweep.identity import names_digest, plain, source_hash, training_source_hash
from alexnet_sweep.launching import own_gpus
from alexnet_sweep.machine import queue_job
from alexnet_sweep.narrate import Narrator, logging_to
from alexnet_sweep.outcome import centre_errors, final_outcome
from alexnet_sweep.readers import Trial, key_of, remember, remembered
from alexnet_sweep.record import Trained, device_name, effective_settings, result_of
from alexnet_sweep.reuse import note_trained, run_to_start_from, trained_as
from alexnet_sweep.running import Claim, claimed
from alexnet_sweep.stopping import Stop, stop_on_signal
from alexnet_sweep.store import RunFolder
from alexnet_sweep.transfer import start_from
from alexnet_sweep.trouble import OutOfMemory, is_of_memory, look_whether_finite, look_whether_stuck, what_to_lower

LOOK_SECONDS = 30.0  # between two looks at whether losses and weights are finite
CARRIED_OUT = ("study", "sweep", "report")  # not the run's: it is the same run however it was started


@dataclass
class History:
    """What a run remembers over all its attempts: rows of metrics, time spent, settings it was trained with."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    settings: list[dict[str, Any]] = field(default_factory=list)  # different ones, in order


def run(
    config: Config,
    run_id: str,
    admit: Callable[[], bool] = lambda: False,
    training_id: str | None = None,
    warnings: Sequence[str] = (),
    team: Team | None = None,
) -> dict[str, Any]:
    """Carry out one run in its folder, or go on with it; returns what `result.json` holds.

    With a `team`, this process leads it; else it starts the other processes of the run, if there are any.

    `admit` is asked when the run is claimed, see `claimed`; what it has added to `warnings` is logged. A run
    that shares its `training_id` with a finished one takes over its weights, and is only evaluated.

    Raises:
        SweepError: a mistake of the user's that only the data could show.
        Interrupted: the process was asked to stop; a checkpoint is saved.
        TrainingDiverged: the loss or the weights are not finite; the last checkpoint was saved when they were.
        OutOfMemory: with what to lower.
        TrainingStuck: the loss has not moved, and trainer.stop_if_stuck is set.
        ProcessLost: another process of the run has raised or died.
    """
    kind = effective_device(config.trainer.device)
    folder = RunFolder(Path(config.paths.runs) / run_id)
    claiming = claimed(folder, config.trainer.epochs, source_hash(config), admit)
    here = config.trainer.processes if team is None else team.local_size
    gpus = torch.cuda.device_count() if kind.type == "cuda" and team is None else 0
    with own_gpus(gpus, here) as own, stop_on_signal() as stop, claiming as claim, logging_to(folder):
        device = torch.device("cuda", own[0]) if own else kind
        if own:
            torch.cuda.set_device(device)
        for warning in warnings:
            logger.warning("{}", warning)
        try:
            claim.own().failure.unlink(missing_ok=True)
            with backend(config.trainer, here), _team(team, kind, config, own) as members:
                members.go()
                try:
                    result = _run(config, members.device(device), claim, stop, training_id, members)
                except Exception as error:
                    if is_of_memory(error):
                        raise OutOfMemory(what_to_lower(config, error)) from error
                    cause = members.cause(error)
                    if cause is error:
                        unsure = no_deterministic_form(error, device.type)
                        if unsure is None:
                            raise
                        raise unsure from error
                    if stop() and STOPPED in str(cause).split("\n", 1)[0]:  # the other one has stopped sooner
                        raise Interrupted(f"run {run_id} stopped; the same command goes on with it") from error
                    raise cause from error
        except Interrupted:
            logger.warning("run {} stopped", run_id)
            raise
        except CannotWrite as error:
            logger.error("run {} stopped: {}", run_id, error)
            if stop():
                raise Interrupted(
                    f"run {run_id} stopped, and what it has reached last is not saved: {error}"
                ) from error
            raise
        except Exception as error:
            write_failure(claim, error)
            raise
    # A signal that came while the result was written: the run is done, and nothing more is to be started.
    if stop() and queue_job() is None:
        raise Interrupted(f"stopped once run {run_id} was done; the same command goes on from here")
    return result


def write_failure(claim: Claim, error: Exception) -> None:
    """The traceback of the exception at hand, where it can be written: what went wrong is told all the same."""
    folder = claim.folder
    if not claim.is_there():
        logger.opt(exception=not isinstance(error, SweepError)).error("run {} failed: {}", folder.run_id, error)
        return
    try:
        write_text(folder.failure, traceback.format_exc())
        logger.error("run {} failed; the traceback is in {}", folder.run_id, folder.failure)
    except CannotWrite as full:
        logger.opt(exception=True).error("run {} failed, and {}", folder.run_id, full)


def _team(team: Team | None, kind: torch.device, config: Config, gpus: tuple[int, ...]) -> AbstractContextManager[Team]:
    if team is not None:
        return nullcontext(team)
    return team_started_here(kind, config.trainer.processes, _follow_here, config, gpus)


def _follow_here(team: Team, config: Config) -> None:
    """The whole life of a process that the leader has started."""
    if team.told():
        with backend(config.trainer, team.local_size):
            follow(team, config)


def follow(team: Team, config: Config) -> None:
    """What a process does that does not lead: the same steps and evaluations, with its own part of the images.

    Raises:
        Interrupted: a process of the run was asked to stop.
    """
    with stop_on_signal() as stop:

        def look() -> None:
            if number := team.asked_to_stop(stop()):
                raise Interrupted("stopped with the other processes of the run", signal=number)

        job = assemble(config, team.device(effective_device(config.trainer.device)), team=team)
        start = team.told_state(dict)
        job.trainer.restore(start["trainer"])
        if start["trains"]:
            _readers(config, job)
            for step in job.trainer.steps():
                if job.trainer.steps_done == config.trainer.stuck_after_steps:
                    look_whether_stuck(config, job)
                if step.ends_epoch:
                    _epoch_row(config, job, lambda: None)
                    job.trainer.close_epoch()
                look()
            job.trainer.take_chosen()

        final_outcome(job, config.eval, look)


def _run(
    config: Config,
    device: torch.device,
    claim: Claim,
    stop: Stop,
    training_id: str | None,
    team: Team,
) -> dict[str, Any]:
    folder, began = claim.folder, time.monotonic()

    def progress(done: int, total: int) -> None:
        claim.beat(packed=done, to_pack=total)

    job = assemble(config, device, progress, team)
    claim.own().write_config({key: value for key, value in plain(config).items() if key not in CARRIED_OUT})
    parameters = sum(value.numel() for value in job.trainer.net.parameters())
    logger.info(
        "{}: {:,} parameters, {:,} training images in {} classes, {}, {}",
        folder.path,
        parameters,
        len(job.parts.train),
        job.classes,
        job.device,
        job.trainer.precision,
    )
    history = None
    if folder.checkpoint.is_file():
        try:
            history = History(**checkpoint.restore(folder.checkpoint, job.trainer))
            logger.info("resumed at epoch {}, step {}", job.trainer.epoch + 1, job.trainer.next_step)
        except FolderError as error:
            aside = claim.own().set_aside()
            logger.warning("{}; what was there is now in {}, and the run starts again", error, aside)
            job = assemble(config, device, progress, team)  # what was restored before the error is gone with it
    source = None
    if history is None and training_id is not None:
        source = trained_as(folder.path.parent, training_id, training_source_hash(config))
    if source is not None:
        trained = _taken_over(claim, job, source)
        _tell_others(job, trains=False)
    else:
        if history is None and config.init_from is not None:
            other = run_to_start_from(Path(config.paths.runs), config.init_from)
            start_from(job.trainer.net, other, same_classes=_same_classes(other, job))
        _tell_others(job, trains=True)
        trained = _trained(config, claim, job, history or History(), stop)

    def beat() -> None:
        claim.beat()
        if number := team.asked_to_stop(stop()):  # the last epoch's checkpoint is saved: only this starts again
            raise Interrupted(f"run {folder.run_id} stopped; the same command goes on with it", signal=number)

    errors, table = final_outcome(job, config.eval, beat)
    claim.own().write_predictions(table)
    _write_weights(claim, job)
    facts = provenance.machine_facts() | {
        "device": device_name(job.device),
        "wall_seconds": round(trained.earlier_seconds + time.monotonic() - began, 1),
        "images_per_second": trained.images_per_second,
        "attempts": claim.attempts,
        "trained_by": None if source is None else source.run_id,
        "peak_memory_bytes": provenance.peak_memory_bytes(),
        "workers": job.trainer.batches.reader.workers,
        "images_held": not job.trainer.batches.reader.reads,
    }
    claim.own().write_provenance(facts)
    result = result_of(config, job, parameters, trained, errors)
    if training_id is not None and config.checkpoint.keep != "none":
        note_trained(folder, training_id, training_source_hash(config))  # nobody trusts it before the result is there
    claim.own().write_result(result)
    if config.checkpoint.keep != "full":
        claim.own().checkpoint.unlink(missing_ok=True)
    if config.checkpoint.keep == "none":
        claim.own().weights.unlink(missing_ok=True)
    centre = errors["test"]["centre"]["top1_error"]
    logger.info("run {} done: test error {:.2%} (centre view)", folder.run_id, centre)
    return result


def _tell_others(job: Assembly, *, trains: bool) -> None:
    """Put the other processes of the run where this one stands."""
    if job.trainer.team.size > 1:
        job.trainer.team.told_state(lambda: {"trains": trains, "trainer": job.trainer.state()})


def _trained(config: Config, claim: Claim, job: Assembly, history: History, stop: Stop) -> Trained:
    """Train to the end from where `history` and the trainer stand."""
    settings = effective_settings(job)
    if settings not in history.settings:
        history.settings.append(settings)
    before = history.seconds
    narrator = Narrator(claim.own(), epochs=config.trainer.epochs, bar=config.trainer.progress)
    trial = _readers(config, job)
    try:
        _train(config, claim, job, history, narrator, stop, trial)
    finally:
        narrator.close()
    rate = round(statistics.median(narrator.rates), 1) if narrator.rates else None
    chosen = job.trainer.take_chosen()
    if chosen < config.trainer.epochs - 1:
        logger.info("evaluated are the weights after epoch {}, of the lowest held-out error", chosen + 1)
    return Trained(history.rows[chosen], job.trainer.to_threshold.step, history.settings, before, rate)


def _taken_over(claim: Claim, job: Assembly, source: RunFolder) -> Trained:
    """The weights and the record of a run that has trained just this."""
    result = source.read_result()
    assert result is not None, "trained_as returns finished runs"
    job.trainer.evaluated.load_state_dict(load_file(source.weights))
    claim.own().copy_metrics(source)
    logger.info("run {} has trained this: only evaluated", source.run_id)
    settings = [*result["earlier_effective"], result["effective"]]
    return Trained(result["last_epoch"], result["steps_to_threshold"], settings, 0.0, None)


def _same_classes(source: RunFolder, job: Assembly) -> bool:
    result = source.read_result(of_any_run=True)
    assert result is not None, "run_to_start_from returns finished runs"
    return bool(result["data"]["class_names"] == names_digest(job.packed.meta.class_names))


def _train(
    config: Config,
    claim: Claim,
    job: Assembly,
    history: History,
    narrator: Narrator,
    stop: Stop,
    trial: Trial | None,
) -> None:
    """Train to the last epoch, saving as configured; appends a row of metrics for every epoch."""
    trainer, rows, saved = job.trainer, history.rows, time.monotonic()
    claim.beat(force=True, first_step=trainer.steps_done)  # of this attempt
    looked = time.monotonic()
    for step in trainer.steps():
        failpoints.pass_by("train.step")
        narrator.step(step)
        claim.beat(epoch=step.epoch, step=step.before + step.number + 1, steps=step.total)
        if trainer.steps_done == config.trainer.stuck_after_steps:
            look_whether_stuck(config, job)
        if step.ends_epoch:
            rows.append(_epoch_row(config, job, claim.beat))
            claim.own().write_metrics(rows)
            narrator.epoch(rows[-1])
            claim.beat(images_per_second=round(narrator.rates[-1], 1))
            trainer.close_epoch()
            failpoints.pass_by("train.epoch")
            due = trainer.epoch % config.checkpoint.every_epochs == 0 or trainer.epoch == config.trainer.epochs
        else:
            due = time.monotonic() - saved >= 60 * config.checkpoint.every_minutes
        if time.monotonic() - looked >= LOOK_SECONDS:
            look_whether_finite(config, job)
            looked = time.monotonic()
        stopping = trainer.team.asked_to_stop(stop())
        if due or stopping:
            history.seconds += time.monotonic() - saved
            saved = time.monotonic()
            look_whether_finite(config, job)
            checkpoint.save(claim.own().checkpoint, trainer, vars(history))
        if stopping:
            raise Interrupted(f"run {claim.folder.run_id} stopped; the same command goes on with it", signal=stopping)
        if trial is not None:
            trial.after_step(ends_epoch=step.ends_epoch)
            if trial.chosen is not None:
                _note_readers(config, job, trial.chosen)
                trial = None


def _readers(config: Config, job: Assembly) -> Trial | None:
    """Set how many batches are read ahead, as far as that is known; else what will find it out."""
    trainer, wanted = job.trainer, config.trainer.workers
    reader = trainer.batches.reader
    if wanted == "auto" and reader.reads:
        known = remembered(Path(config.paths.store), _readers_key(config, job))
        if known is None and trainer.team.size == 1:
            return Trial(lambda number: setattr(reader, "workers", number), trainer.recent_loss, time.monotonic)
        reader.workers = 1 if known is None else known
    elif wanted != "auto":
        reader.workers = int(wanted)
    return None


def _note_readers(config: Config, job: Assembly, number: int) -> None:
    logger.info("trainer.workers: {} batches are read ahead from here, as was fastest", number)
    try:
        remember(Path(config.paths.store), _readers_key(config, job), number)
    except (OSError, FolderError) as error:  # a store of someone else's
        logger.warning("trainer.workers: {}; the next run will try again", error)


def _readers_key(config: Config, job: Assembly) -> str:
    return key_of(job.packed.meta.fingerprint, device_name(job.device), config.trainer.batch_size)


def _epoch_row(config: Config, job: Assembly, beat: Callable[[], None]) -> dict[str, Any]:
    """Metrics of the epoch that has just ended; the schedule sees the held-out error."""
    trainer, evaluation = job.trainer, config.eval
    look_whether_finite(config, job)
    sums = trainer.epoch_sums()
    clean = centre_errors(job, evaluation, "train", job.parts.clean, beat)
    heldout = centre_errors(job, evaluation, "train", job.heldout_in(trainer.epoch), beat)
    if heldout.images:
        trainer.schedule.observe(heldout.top1_error)
        trainer.keep_if_best(heldout.top1_error)
    return {
        "epoch": trainer.epoch + 1,
        "learning_rate": trainer.learning_rate,
        "train_loss": sums.loss,
        "train_top1_error": sums.top1 / sums.images,
        "train_top5_error": None if sums.top5 is None else sums.top5 / sums.images,
        "clean_train_images": clean.images,
        "clean_train_top1_error": clean.top1_error if clean.images else None,
        "clean_train_top5_error": clean.top5_error if clean.images else None,
        "heldout_images": heldout.images,
        "heldout_top1_error": heldout.top1_error if heldout.images else None,
        "heldout_top5_error": heldout.top5_error if heldout.images else None,
    }


def _write_weights(claim: Claim, job: Assembly) -> None:
    weights = {name: value.cpu().contiguous().clone() for name, value in job.trainer.evaluated.state_dict().items()}
    content = to_safetensors(weights)
    with whole_file(claim.own().weights) as stream:
        stream.write(content)
