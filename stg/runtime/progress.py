"""Progress on a terminal; nothing but plain lines elsewhere."""

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from stg.runtime.files import printable
from stg.runtime.output import Lenient
from stg.runtime.reporter import Reporter, Steps


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        # The note takes what is left of the line, and is cut where that is little.
        TextColumn(
            "{task.fields[note]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        ),
        console=console,
        transient=True,
        expand=True,
        # Over many steps, so that validations and checkpoints between them count.
        speed_estimate_period=600,
        disable=not console.is_terminal,
        # rich would print on the terminal of the bar what is meant for a file or a pipe.
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
    )


@contextmanager
def progress_bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work of known size; call what it yields with (done, total)."""
    with _bar(console) as progress:
        task = progress.add_task(printable(title), total=None, note="", visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


class ConsoleReporter(Reporter):
    """Shows lines and bars on a terminal, and stops when asked to; a terminal that fails stops nothing.

    Args:
        console: where lines and bars go.
        stop: asked at each safe point of the work, such as `stg.runtime.signals.stop_on_signal` yields.
    """

    def __init__(self, console: Console, stop: Callable[[], bool] = lambda: False) -> None:
        # Of its own: what the command prints as its result must not be lost without an error.
        self.console, self._stop = copy.copy(console), stop
        self.console.file = Lenient(console.file)  # type: ignore[assignment]

    def say(self, line: str) -> None:
        """Print the line as it is: brackets are no markup, numbers get no colours, long lines are not folded."""
        self.console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str) -> Iterator[Callable[[int, int], None]]:
        """A bar on a terminal; nothing elsewhere."""
        with progress_bar(self.console, title) as progress:
            yield progress

    @contextmanager
    def training_bar(self, epochs: int) -> Iterator[Steps]:
        """A bar on a terminal for the epoch, and one for all that is left of the run; nothing elsewhere."""
        with _bar(self.console) as progress:
            task = progress.add_task("training", total=None, note="")
            run = progress.add_task("all epochs", total=None, note="")

            def show(epoch: int, batch: int, batches: int, losses: Mapping[str, float]) -> None:
                note = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
                line = f"epoch {epoch + 1}/{epochs}"
                # One that has ended keeps its times, however it is set back.
                if progress.tasks[0].finished:
                    progress.reset(task)
                progress.update(task, completed=batch, total=batches, description=line, note=note)
                progress.update(run, completed=epoch * batches + batch, total=epochs * batches)

            yield show

    def should_stop(self) -> bool:
        """What ``stop`` says."""
        return self._stop()


def advance_by(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """From what is called with (done, total) to what is called with how many more are done."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return advance
