"""Several processes, on one machine or many, that train one model together.

A launcher such as `torchrun` starts the processes and tells each its place in environment variables (RANK, WORLD_SIZE,
MASTER_ADDR, ...). Every step's batch is one batch of the whole: its examples are dealt to the processes like cards, so
that all have examples of like length, and the sums of losses, tokens and gradients are those of one process. What is
decided (stop, best model, learning rate), said and written is the first process' affair; the others take its word.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from seq2seq.errors import ConfigError, UserError

T = TypeVar("T")

PATIENCE = datetime.timedelta(hours=1)
"""How long one process waits for another that is there but silent: the first one may be training a tokenizer. One that
has ended is noticed at once, by its connection."""


def place() -> tuple[int, int]:
    """This process and how many the launcher has started, known before they have met: 0 of 1 without a launcher."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def attempt() -> int:
    """How often the launcher has started the job anew after one of its processes ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


class World:
    """The processes of a job, and what they tell each other. Alone, nothing is sent and nothing changes."""

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0) -> None:
        """Args:
        rank: This process, from 0.
        size: Number of processes.
        local_rank: This process among those of its machine, from 0.
        """
        self.rank, self.size, self.local_rank = rank, size, local_rank

    @property
    def leads(self) -> bool:
        """Whether this process speaks, decides and writes."""
        return self.rank == 0

    def failure(self, message: str) -> BaseException:
        """What to raise in all processes for something that all have noticed: the first one tells it."""
        return UserError(message) if self.leads else SystemExit(2)

    @property
    def share(self) -> slice:
        """This process' part of a list that all of them have."""
        return slice(self.rank, None, self.size)

    def sums(self, *values: float) -> list[float]:
        """Each value, summed over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return list(total.tolist())

    def word(self, value: T) -> T:
        """The first process' value, in all processes."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def lead(self, work: Callable[[], T]) -> T:
        """What the first process gets from `work`, which no other does; where it fails there, it alone tells why.

        Raises:
            SystemExit: In the others, where it failed.
        """
        if self.size == 1:
            return work()
        outcome: tuple[bool, Any] = (False, None)
        try:
            if self.leads:
                outcome = (True, work())
        finally:
            done, value = self.word(outcome)
        if not done:
            raise SystemExit(2)
        return value

    def in_turn(self, work: Callable[[], T]) -> T:
        """What each process gets from `work`, the first of each machine before its others: they find a filled cache."""
        if self.size == 1:
            return work()
        if self.local_rank == 0:
            value = work()
        dist.barrier()
        if self.local_rank != 0:
            value = work()
        return value

    def joined(self, part: list[T]) -> list[T]:
        """The list whose `share`s the processes hold, whole, in all of them."""
        if self.size == 1:
            return part
        parts: list[list[T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(parts, part)
        whole: list[Any] = [None] * sum(map(len, parts))
        for rank, own in enumerate(parts):
            whole[rank :: self.size] = own
        return whole

    def learner(self, model: nn.Module) -> nn.Module:
        """A module `(batch, smoothing) -> (summed loss, count)` whose backward pass leaves in every process the mean
        gradient of all processes; a process without a share of the batch gives None for it. PyTorch sends a gradient
        while those of lower layers are still computed.
        """  # fmt: skip
        return _Learner(model) if self.size == 1 else DistributedDataParallel(_Learner(model))


ALONE = World()


class _Learner(nn.Module):
    """A model's loss as a module's forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any, smoothing: float) -> tuple[Tensor, int]:
        if batch is None:  # zero, by way of every parameter: the others wait for its gradients
            return sum((0 * p.flatten()[0] for p in self.model.parameters() if p.requires_grad), torch.zeros(())), 0
        return self.model.loss(batch, smoothing)  # type: ignore[operator, no-any-return]


def learning(learner: nn.Module, last: bool) -> contextlib.AbstractContextManager[Any]:
    """Context of a pass: gradients are sent with the last batch of a step only."""
    return learner.no_sync() if isinstance(learner, DistributedDataParallel) and not last else contextlib.nullcontext()


@contextlib.contextmanager
def joined_world() -> Iterator[World]:
    """Meets the other processes of the job, if a launcher has started any.

    Raises:
        ConfigError: The launcher's variables are incomplete, or the others cannot be reached.
        UserError: Another process ended while this one waited for it.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield World()
        return
    try:
        places = [int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(places[2])
        store, rank, size = next(rendezvous("env://"))
        # a launcher's store outlives a restart: what the processes of before have left in it must not be found
        store = dist.PrefixStore(f"attempt {attempt()}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the processes cannot meet ({reason}); start them with "
            "torchrun, as in: torchrun --nproc-per-node 2 -m seq2seq train ..."
        ) from None
    world = World(*places)
    try:
        yield world
    except RuntimeError as error:
        if not _lost(error):
            raise
        raise UserError(
            f"process {world.rank} of {world.size} stops: another process of this training has ended, its own message "
            "tells why. To go on: the same command with --resume"
        ) from None
    finally:
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def _lost(error: RuntimeError) -> bool:
    """Whether an error says that another process is gone."""
    signs = ("gloo", "connection", "nccl", "broken pipe", "socket", "timed out")
    return isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in signs)
