"""The first signal asks, the second ends at once (faults D4)."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stg.runtime.signals import interrupted_by_sigterm, stop_on_signal


@pytest.fixture(autouse=True)
def none_ignored() -> Iterator[None]:
    """As in a terminal, also where the tests were started by nohup or in the background."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_first_signal_asks_and_handlers_return_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signal() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_second_interrupt_raises() -> None:
    with stop_on_signal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_repeated_signal_is_the_first_one_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("stg.runtime.signals.time.monotonic", lambda: now[0])
    with stop_on_signal(repeated=5.0) as stop:
        for later in (0.0, 0.1, 4.0):
            now[0] = 100.0 + later
            signal.raise_signal(signal.SIGINT)
            assert stop()
        now[0] = 106.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_second_term_ends_the_process() -> None:
    code = (
        "import os, signal, stg.runtime.signals as s\n"
        "with s.stop_on_signal():\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('alive', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('still', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "alive\n"


def test_a_request_to_terminate_interrupts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupted_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_closed_terminal_asks_however_often_it_is_told() -> None:
    with stop_on_signal() as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGHUP)
            assert stop()
    with pytest.raises(KeyboardInterrupt), interrupted_by_sigterm():
        signal.raise_signal(signal.SIGHUP)


def test_a_closed_terminal_is_nothing_to_who_was_started_by_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as stop, interrupted_by_sigterm():
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
