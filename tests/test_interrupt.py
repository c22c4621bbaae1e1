"""SIGINT, SIGTERM and SIGHUP: noted once, obeyed the second time, never lost and never in the way of a write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

from seq2seq.training import interrupt
from seq2seq.training.interrupt import Interrupted, noted_signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_noted_once_and_handlers_come_back(number, code, monkeypatch):
    monkeypatch.setattr(interrupt, "_write_nowhere", lambda: None)  # the tests' own output goes on
    before = signal.getsignal(number)
    with noted_signals() as noted:
        assert noted.number is None and signal.getsignal(number) != before
        os.kill(os.getpid(), number)
        assert noted.number == number
        os.kill(os.getpid(), signal.SIGHUP)  # a terminal's, which may come at any time, and twice
        assert noted.number in (number, signal.SIGHUP)
        assert number == signal.SIGHUP or signal.getsignal(number) == before  # the next one is obeyed
    assert signal.getsignal(number) == before
    assert Interrupted(number).code == code


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), noted_signals():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_second_one_is_obeyed_at_once():
    with pytest.raises(KeyboardInterrupt), noted_signals():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)


def test_outside_the_main_thread_nothing_is_changed():
    found = []

    def work() -> None:
        with noted_signals() as noted:
            found.append(noted.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


def test_a_signal_in_the_middle_of_a_write_breaks_nothing():
    """A handler that used the stream would raise: it cannot be entered twice."""
    code = (
        "import os, signal, sys, threading\n"
        "from seq2seq.training.interrupt import noted_signals\n"
        "def later(): threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "for _ in range(3):\n"
        "    with noted_signals() as noted:\n"
        "        later()\n"
        "        while noted.number is None: sys.stdout.write('x' * 100_000); sys.stdout.flush()\n"
        "sys.stdout.write('end')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("xend")
    assert done.stderr.count("stopping after this step; once more to stop at once") == 3


def test_under_nohup_nothing_hangs_up():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted_signals() as noted:
            os.kill(os.getpid(), signal.SIGHUP)
            assert noted.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_has_gone_is_written_to_no_more():
    """The other end of a pseudo-terminal is closed, which sends SIGHUP to who has it for a terminal."""
    import pty

    code = (
        "import sys, time\n"
        "from seq2seq.training.interrupt import noted_signals\n"
        "with noted_signals() as noted, open(sys.argv[1], 'w') as file:\n"
        "    print('ready', flush=True)\n"
        "    begin = time.monotonic()\n"
        "    while noted.number is None and time.monotonic() < begin + 20: time.sleep(0.01)\n"
        "    for stream in (sys.stdout, sys.stderr): print('still here', file=stream, flush=True)\n"
        "    file.write(str(noted.number))\n"
    )
    with tempfile.NamedTemporaryFile("r") as told:
        child, terminal = pty.fork()
        if child == 0:
            os.execv(sys.executable, [sys.executable, "-c", code, told.name])
        assert b"ready" in os.read(terminal, 100)
        os.close(terminal)
        assert os.waitpid(child, 0)[1] == 0
        assert told.read() == str(int(signal.SIGHUP))


def test_a_process_that_has_lost_who_started_it(monkeypatch):
    monkeypatch.setenv(interrupt.PARENT, str(os.getppid()))
    with noted_signals() as noted:
        assert noted.number is None
    monkeypatch.setenv(interrupt.PARENT, str(os.getpid()))  # never its own
    with noted_signals() as noted:
        assert noted.number == signal.SIGTERM
