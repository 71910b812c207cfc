"""Progress on a terminal; nothing but plain lines elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def progress_bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work of known size; call what it yields with (done, total)."""
    with _bar(console) as progress:
        task = progress.add_task(title, total=None, note="", visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


@contextmanager
def training(console: Console, epochs: int) -> Iterator[Callable[[int, int, int, Mapping[str, float]], None]]:
    """A bar for the steps of an epoch; call what it yields with (epoch, batch, batches, losses)."""
    with _bar(console) as progress:
        task = progress.add_task("training", total=None, note="")

        def show(epoch: int, batch: int, batches: int, losses: Mapping[str, float]) -> None:
            note = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            progress.update(task, completed=batch, total=batches, description=f"epoch {epoch + 1}/{epochs}", note=note)

        yield show


def counter(progress: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    """From what is called with (done, total) to what is called with how many more are done."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return advance
