"""Several processes that train one run together: who they are, what each works on, and what they tell each other.

They come from `torchrun`, from a cluster's job of several tasks, or are started here. All of them hold the same
network; each works on its part of every batch and of every evaluation, and gradients are averaged
(DistributedDataParallel). The first one leads: it alone reads and writes the run's folder.
"""

import io
import os
import re
import signal
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from alexnet_sweep import machine
from alexnet_sweep.errors import ConfigError, one_line

_stores: Any = dist  # that they are in there, type checkers do not know
LOOPBACK, GLOO_INTERFACE = "127.0.0.1", "GLOO_SOCKET_IFNAME"
READY = "ready"  # and its number: a process that is about to join
STOPPED = ": Interrupted: "  # in the word of a process that was asked to stop
FAILED = "failed"  # where a process leaves word of its error
POLL_SECONDS = 0.1
START = timedelta(minutes=10)  # for processes that others start: on a busy file system PyTorch alone may take minutes
JOIN = timedelta(minutes=1)  # for processes that are there, to find each other
LAUNCHERS = (signal.SIGUSR1, signal.SIGUSR2)  # by which a launcher tells of a time limit
USERS = (signal.SIGINT, *LAUNCHERS)  # the leader hears these, and asks all processes to stop
SIGNALS = 1000  # more than there are
# How PyTorch tells of a connection that another process has lost; other errors it raises have the same types.
LOST = re.compile(r"gloo/(gloo|transport)/|Gloo connect|NCCL|Connection (closed|reset) by peer|Broken pipe")
TOGETHER = timedelta(minutes=30)  # for one whose part of a step takes longer, or that saves
PATIENCE = timedelta(days=1)  # a lost connection is noticed at once; this is for those that wait for the leader's data


class ProcessLost(Exception):
    """A process of the run has ended before the run did; the cause as far as it is known."""


class _NotJoined(ProcessLost):
    """Before the run began."""


@dataclass
class Team:
    """The processes of a run, seen from one of them; by default one process alone, and nothing to do here."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those on this machine
    local_size: int = 1
    gpus: tuple[int, ...] = ()  # of the processes on this machine, by their local rank; without, the first ones
    control: Any = field(default=None, repr=False)  # a process group on the CPU
    store: Any = field(default=None, repr=False)
    going: bool = False  # whether the leader has said if there is a run

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's part of so many images: contiguous, none twice, maybe none."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows[self.part(len(rows))]

    def copies(self, net: nn.Module, device: torch.device) -> nn.Module:
        """The network, so that each process's gradients become the mean over all processes."""
        if self.size == 1:
            return net
        indices = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(net, device_ids=indices)

    def summed(self, values: Tensor) -> Tensor:
        """Over all processes, on each of them."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def asked_to_stop(self, number: int) -> int:
        """The signal by which any process was asked to stop, 0 without; all of them ask, and hear the same.

        One that a launcher sends comes before those that a person does: it says what happens afterwards.
        """
        if self.size == 1:
            return number
        weight = torch.tensor([number + (SIGNALS if number in LAUNCHERS else 0)])
        dist.all_reduce(weight, dist.ReduceOp.MAX, self.control)
        return int(weight.item()) % SIGNALS

    def gathered(self, value: Any) -> list[Any]:
        """Every process's value, by rank."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        dist.all_gather_object(values, value, self.control)
        return values

    def told(self, value: Any = None) -> Any:
        """The leader's value."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, 0, self.control)
        return values[0]

    def told_state(self, state: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The leader's state, tensors on the CPU; `state` is asked on the leader alone."""
        content = None
        if self.leads:
            stream = io.BytesIO()
            torch.save(state(), stream)
            content = stream.getvalue()
        found: dict[str, Any] = torch.load(io.BytesIO(self.told(content)), map_location="cpu", weights_only=True)
        return found

    def go(self, going: bool = True) -> None:
        """The leader says, once, whether there is a run; the others wait for it in `told`."""
        if self.size > 1 and not self.going:
            self.going = True
            self.told(going)

    def call_off(self) -> None:
        """As `go(False)`, by a leader with an error of its own, which is to be told of even if the others are gone."""
        with suppress(RuntimeError):  # as all errors of lost connections
            self.go(False)

    def device(self, kind: torch.device) -> torch.device:
        """
        Raises:
            ConfigError: where there are fewer GPUs than processes on this machine.
        """
        if kind.type != "cuda" or self.size == 1:
            return kind
        if torch.cuda.device_count() < self.local_size:
            raise ConfigError(
                f"trainer.processes={self.size}: {self.local_size} processes on {machine.host()}, which has "
                f"{torch.cuda.device_count()} GPUs; allowed: one process a GPU"
            )
        return torch.device("cuda", self.gpus[self.local_rank] if self.gpus else self.local_rank)

    def leave_word(self, error: BaseException) -> None:
        """What has gone wrong here, for the leader."""
        if self.store is not None:
            told = f"process {self.rank} on {machine.host()}: {type(error).__name__}: {error}"
            with suppress(dist.DistError):  # the leader, which has the store, may be gone
                self.store.set(FAILED, "\n".join([" ".join(told.split()), traceback.format_exc()]))

    def cause(self, error: Exception) -> Exception:
        """The error itself, or that of another process where this one has merely lost the connection to it."""
        if self.size == 1 or not (
            isinstance(error, dist.DistError) or (type(error) is RuntimeError and LOST.search(str(error)))
        ):
            return error
        assert self.store is not None
        if self.store.check([FAILED]):
            return ProcessLost(self.store.get(FAILED).decode())
        return ProcessLost(f"a process of the run was lost without a word ({' '.join(str(error).split())[:200]})")


@contextmanager
def team_of_environment(kind: torch.device, processes: int, rank: int, local: tuple[int, int]) -> Iterator[Team]:
    """The team whose processes somebody else has started, and told where to meet (MASTER_ADDR, MASTER_PORT)."""
    store, _, _ = next(iter(_stores.rendezvous("env://", rank, processes, timeout=START)))
    store.set(f"{READY}{rank}", "")
    store.wait([f"{READY}{number}" for number in range(processes)], START)
    with _joined(kind, store, Team(rank, processes, *local)) as team:
        yield team


@contextmanager
def team_started_here(
    kind: torch.device, processes: int, follow: Callable[..., None], config: Any, gpus: tuple[int, ...] = ()
) -> Iterator[Team]:
    """This process leads a team of `processes`, of which it starts the others with `follow(team, config)`.

    Raises:
        ProcessLost: one of them has ended before all had joined.
    """
    if processes == 1:
        yield Team()
        return
    store = _store_here(processes)
    arguments = (kind, store.port, processes, gpus, follow, config)
    multiprocessing: Any = torch.multiprocessing
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, USERS)  # what is started here starts with the same
    try:
        others = multiprocessing.start_processes(
            _other, arguments, nprocs=processes - 1, join=False, daemon=True, start_method="spawn"
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        _await(store, others.processes)
        with _on_loopback(), _joined(kind, store, Team(0, processes, 0, processes, gpus)) as team:
            yield team
    except _NotJoined as error:
        ended = [
            f"process {rank} ended before it joined (exit code {other.exitcode})"
            for rank, other in enumerate(others.processes, start=1)
            if not other.is_alive()
        ]
        raise ProcessLost("; ".join([*ended, str(error)])) from error
    finally:
        for other in others.processes:
            other.join(timeout=10)
            if other.is_alive():
                other.kill()
                other.join()


def _store_here(processes: int) -> Any:
    """Where the processes meet, on loopback alone: PyTorch by itself would listen on every network of the machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as door:
        door.bind((LOOPBACK, 0))
        door.listen()
        port = door.getsockname()[1]
        return _stores.TCPStore(
            LOOPBACK, port, processes, is_master=True, wait_for_workers=False, master_listen_fd=door.detach()
        )


@contextmanager
def _on_loopback() -> Iterator[None]:
    """What gloo opens meanwhile it opens on loopback, unless somebody has chosen another interface."""
    name = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if name is None or GLOO_INTERFACE in os.environ:
        yield
        return
    os.environ[GLOO_INTERFACE] = name
    try:
        yield
    finally:
        os.environ.pop(GLOO_INTERFACE, None)


def _await(store: Any, others: Sequence[Any]) -> None:
    """Until all the others are ready to join: whoever joins waits for them where no signal is heard.

    Raises:
        ProcessLost: one of them has ended instead.
    """
    for rank, other in enumerate(others, start=1):
        while not store.check([f"{READY}{rank}"]):
            for number, one in enumerate(others, start=1):
                if not one.is_alive():
                    raise ProcessLost(f"process {number} ended before it joined (exit code {one.exitcode})")
            other.join(timeout=POLL_SECONDS)


def _other(
    index: int,
    kind: torch.device,
    port: int,
    processes: int,
    gpus: tuple[int, ...],
    follow: Callable[..., None],
    config: Any,
) -> None:
    from loguru import logger

    for number in USERS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, USERS)

    logger.remove()  # the leader tells of the run
    store = _stores.TCPStore(LOOPBACK, port, processes, is_master=False)
    store.set(f"{READY}{index + 1}", "")
    with _on_loopback(), _joined(kind, store, Team(index + 1, processes, index + 1, processes, gpus)) as team:
        follow(team, config)


@contextmanager
def _joined(kind: torch.device, store: Any, team: Team) -> Iterator[Team]:
    """
    Raises:
        ProcessLost: a process that was there has ended before all had joined.
    """
    backend = "cpu:gloo,cuda:nccl" if kind.type == "cuda" else "gloo"
    if kind.type == "cuda":
        torch.cuda.set_device(team.device(kind))
    meeting = _stores.PrefixStore("group", store)
    try:
        # Where they join no signal is heard, nor that another one has ended: for a short time only.
        dist.init_process_group(backend, store=meeting, rank=team.rank, world_size=team.size, timeout=JOIN)
        # Beside the data's own: whoever waits here for the leader, or is asked whether to stop, does it on the CPU.
        team.control = dist.new_group(backend="gloo", timeout=JOIN)
        everybody: Any = dist.group.WORLD
    except dist.DistError as error:
        if dist.is_initialized():
            dist.destroy_process_group()
        else:  # what that resets too: PyTorch counts the groups of a process, and names them so
            _stores.distributed_c10d._world.group_count = 0
        raise _NotJoined(f"not all processes have joined within {JOIN.seconds} s ({one_line(error)})") from error
    everybody.set_timeout(TOGETHER)
    team.control.set_timeout(PATIENCE)
    try:
        team.store = store
        yield team
    except BaseException as error:
        if not team.leads:
            team.leave_word(error)
        everybody.abort()  # else its end would wait for answers that a lost process owes
        raise
    finally:
        dist.destroy_process_group()
