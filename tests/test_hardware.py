"""Device, threads, precision and allocator: asked for, or found out."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from seq2seq import tensors
from seq2seq.errors import ConfigError
from seq2seq.nn import hardware


def test_device() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert hardware.choose_device("auto").type == expected
    for name in ("gpu", "cuda:99"):
        with pytest.raises(ConfigError, match=f"device '{name}' cannot be used .*--device cpu"):
            hardware.choose_device(name)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs processor affinity")
def test_threads_follow_the_cores_of_the_process() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from seq2seq.nn.hardware import use_threads; print(use_threads(0), use_threads(3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 3\n"


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, torch.bfloat16), (0.95, torch.float32), (2.0, torch.float32)])
def test_auto_precision_takes_what_is_faster(monkeypatch, ratio: float, expected: torch.dtype) -> None:
    monkeypatch.setattr(hardware, "_seconds", lambda dtype, _: ratio if dtype == torch.bfloat16 else 1.0)
    cpu = torch.device("cpu")
    assert hardware.choose_precision("auto", cpu) == expected
    assert hardware.choose_precision("float32", cpu) == torch.float32
    assert hardware.choose_precision("bfloat16", cpu) == torch.bfloat16
    with pytest.raises(ConfigError, match="int8, which is for translating alone"):
        hardware.choose_precision("int8", cpu)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_is_kept_between_steps() -> None:
    """A freed block of 40 MB is used again without page faults once the allocator has been told."""
    code = (
        "import resource, sys, torch; from seq2seq.nn.hardware import keep_memory\n"
        "if sys.argv[1] == 'kept': assert keep_memory()\n"
        "for _ in range(5): torch.ones(10_000_000)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(20): torch.ones(10_000_000)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )

    def faults(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)

    assert 4 * faults("kept") < faults("plain")


def test_kernels_of_many_shapes_do_not_pile_up() -> None:
    code = (
        "import sys, torch; from seq2seq.nn.hardware import bound_kernel_caches\n"
        "if sys.argv[1] == 'bound': bound_kernel_caches()\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096 / 2**20\n"
        "weight = torch.randn(1024, 512, dtype=torch.bfloat16); before = resident()\n"
        "for n in range(1, 600): torch.randn(n, 512, dtype=torch.bfloat16) @ weight.t()\n"
        "print(resident() - before)"
    )

    # a training in an earlier test has set them for this process
    names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    environment = {name: value for name, value in os.environ.items() if name not in names}

    def growth(how: str) -> float:
        command = [sys.executable, "-c", code, how]
        return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    if not sys.platform.startswith("linux") or (plain := growth("plain")) < 200:
        pytest.skip("bfloat16 products here compile no kernels")
    if hardware.has_amx():
        pytest.skip("AMX kernels are kept, for they take long to compile")
    assert growth("bound") < plain / 2


@pytest.mark.parametrize(
    ("amx", "memory", "processes", "expected"),
    [
        (False, 64 << 30, 1, 128), (True, 64 << 30, 1, 1024), (True, 4 << 30, 1, 512), (True, 16 << 30, 4, 512),
        (True, 1 << 29, 1, 128), (True, None, 1, 1024),
    ],
)  # fmt: skip
def test_kernels_are_as_many_as_memory_allows(
    monkeypatch, amx: bool, memory: int | None, processes: int, expected: int
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    monkeypatch.setattr(hardware, "has_amx", lambda: amx)
    monkeypatch.setattr(hardware, "machine_memory", lambda: memory)
    for name in names:
        monkeypatch.setenv(name, "7")
    hardware.bound_kernel_caches()
    assert [os.environ[name] for name in names] == ["7", "7"]
    for name in names:
        monkeypatch.delenv(name)
    hardware.bound_kernel_caches()
    assert [os.environ[name] for name in names] == [str(expected)] * 2


def test_a_container_has_less_memory_than_its_machine(monkeypatch, tmp_path) -> None:
    whole = tensors.machine_memory()
    if whole is None:
        pytest.skip("a system that does not tell its memory")
    monkeypatch.setattr(tensors, "CONTAINER_LIMIT", tmp_path / "memory.max")
    for text, expected in (("max\n", whole), (f"{1 << 20}\n", 1 << 20)):
        (tmp_path / "memory.max").write_text(text)
        assert tensors.machine_memory() == expected


@pytest.mark.parametrize(
    ("int8", "bfloat16", "expected"),
    [(0.1, 0.2, torch.int8), (0.21, 0.2, torch.bfloat16), (0.5, 2.0, torch.int8), (float("inf"), 2.0, torch.float32)],
)
def test_decoding_takes_int8_where_it_is_faster(monkeypatch, int8: float, bfloat16: float, expected) -> None:
    seconds = {torch.int8: int8, torch.bfloat16: bfloat16, torch.float32: 1.0}
    monkeypatch.setattr(hardware, "_seconds", lambda dtype, _: seconds[dtype])
    monkeypatch.setattr(hardware, "_prepared_seconds", lambda dtype, _: seconds[dtype])
    cpu = torch.device("cpu")
    assert hardware.choose_decoding_precision("auto", cpu) == expected
    assert hardware.choose_decoding_precision("auto", torch.device("cuda")) != torch.int8
    assert hardware.choose_decoding_precision("float32", cpu) == torch.float32
    if int8 < 1:
        assert hardware.choose_decoding_precision("int8", cpu) == torch.int8
    else:
        with pytest.raises(ConfigError, match="no exact int8 products on cpu; give auto"):
            hardware.choose_decoding_precision("int8", cpu)


def test_int8_products_that_are_not_exact_are_not_taken(monkeypatch) -> None:
    def missing(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("not implemented")

    cpu = torch.device("cpu")
    monkeypatch.setattr(hardware, "PROBES", 1)
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: (a.long() @ b.long()).int())
    assert hardware._prepared_seconds(torch.int8, cpu) < float("inf")
    monkeypatch.setattr(torch, "_int_mm", missing)
    assert hardware._prepared_seconds(torch.int8, cpu) == float("inf")
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: (a.long() @ b.long()).int() - 1)
    assert hardware._prepared_seconds(torch.int8, cpu) == float("inf")
    for dtype in (torch.float32, torch.bfloat16):
        assert hardware._prepared_seconds(dtype, cpu) < float("inf")
