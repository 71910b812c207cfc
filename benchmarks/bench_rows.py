"""Who answers the bench of `stg.benchmark`, and how well: chance, readers of one thing alone, and runs of stg.fit.

    python -m benchmarks.bench_rows BENCH "scene=runs/a-seed0" "scene=runs/a-seed1" "graph=runs/b" --answers FOLDER

Runs of one name are its seeds. Of the rows that ``--control`` names, frames are shown in other orders, too. Written
are ``benchmarks/results/world/bench.json``, ``.md`` and ``.svg``. The rows that need no run:

- ``chance``: the share that guessing gets;
- ``text alone`` and ``best single frame``: the readers of `stg.benchmark.balance`;
- ``optical flow alone``: a ridge regression on the flow of each third of a clip, which sees no colour and no shape.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks import RESULTS
from benchmarks.bench_plot import to_svg
from stg.benchmark.arrangement import Control
from stg.benchmark.asking import ask_clips, kept_answers
from stg.benchmark.balance import blind_hits, cross_validated, single_frame_hits, verb_in
from stg.benchmark.making import MadeBench, made_again
from stg.benchmark.own_runs import OwnRun, bench_builders, shrunk
from stg.benchmark.questions import IN_TIME, KINDS, Answer, Bench, make_folder, read_answers, read_bench
from stg.benchmark.twins import SIDE
from stg.captioning.pipeline import load
from stg.config.plugins import near
from stg.features.clip_pass import ClipFeatures
from stg.features.rebuild import features_read, plan_features
from stg.metrics.bootstrap import resampled_sums
from stg.runs.model_file import model_header
from stg.runs.pretrained import find_model
from stg.runs.shipped import model_and_places
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.video.decoding import sample_video

SHOWN: Sequence[Control] = ("shuffled", "reversed", "single")
"""What ``--control`` shows; ``mean`` takes ten times as long."""
SAMPLES = 1000
BLOCKS = 6
"""Blocks along each side of a frame in which flow is taken for one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: exit code 2 and one line where what it is given does not fit."""
    options = parser().parse_args(arguments)
    try:
        # All that can be wrong with the words is found before hours of answers.
        bench, runs = read_bench(options.bench), named_runs(options.runs, options.control)
        for folder in (options.answers, options.out):
            make_folder(folder)
        write_rows(bench, runs, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def named_runs(texts: Sequence[str], controls: Sequence[str]) -> dict[str, list[Path]]:
    """Name of a row -> the folders of its runs.

    Args:
        texts: ``NAME=RUN`` each; a captioner that comes with the installation by its name.
        controls: names of rows that are shown frames in other orders, too.

    Raises:
        UserError: one of another form, a folder without a model, a run twice in a row, or a control of no row.
    """
    runs = defaultdict[str, list[Path]](list)
    for text in texts:
        name, _, folder = text.partition("=")
        if not name or not folder:
            raise UserError(f"a run must be given as NAME=RUN, such as scene=runs/a-seed0; got {text!r}")
        model, _ = model_and_places(folder)
        file = find_model(model)
        model_header(file)
        if any(file.samefile(find_model(other)) for other in runs[name]):
            raise UserError(f"{text!r}: the row {name!r} has this run already, and each of its runs is another seed")
        runs[name].append(Path(model))
    if unknown := [name for name in controls if name not in runs]:
        rows = f"those are {', '.join(runs)}" if runs else "there is none"
        raise UserError(f"--control must name a row of runs ({rows}); got {unknown[0]!r}{near(unknown[0], runs)}")
    return dict(runs)


def write_rows(bench: Bench, runs: Mapping[str, Sequence[Path]], options: argparse.Namespace) -> None:
    """Answer the bench by each row, and write what comes of it."""
    made = made_again(bench)
    rows, clips = [plain_row("chance", made, [chance_rights(made)])], dict[str, ClipFeatures]()
    rows.append(plain_row("text alone", made, [as_numbers(blind_hits(made))]))
    rows.append(plain_row("best single frame", made, [as_numbers(single_frame_hits(made, list(KINDS)))]))
    for name, folders in runs.items():
        for control in ("none", *(SHOWN if name in options.control else ())):
            found = [run_rights(bench, folder, control, options.answers, clips) for folder in folders]
            what = {"shuffled": "frames shuffled", "reversed": "frames reversed", "single": "middle frame alone"}
            label = name if control == "none" else f"{name}, {what[control]}"
            rows.append({**plain_row(label, made, [right for right, _ in found]), "control": control != "none"})
            rows[-1]["consistency"] = float(np.mean([share for _, share in found]))
            print(markdown(rows[-1:])[-1], flush=True)
    rows.insert(3, plain_row("optical flow alone", made, [as_numbers(flow_hits(made, bench))]))
    record = {
        "benchmark": "bench",
        "world": bench.settings["world"],
        "level": bench.settings["level"],
        "clips": len(bench.videos),
        "questions": bench.settings["questions"],
        "notes": options.note,
        "rows": rows,
    }
    folder = options.out
    (folder / "bench.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "bench.md").write_text("\n".join([*markdown(rows), "", *options.note]) + "\n")
    (folder / "bench.svg").write_text(to_svg(record))


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.bench_rows", description="Rows of a bench.")
    made.add_argument("bench", type=Path)
    made.add_argument("runs", nargs="*", metavar="NAME=RUN")
    made.add_argument("--control", action="append", default=[], metavar="NAME", help="also with frames in other orders")
    made.add_argument("--note", action="append", default=[], help="a line below the table")
    made.add_argument("--answers", type=Path, required=True, help="folder that keeps the answers of all runs")
    made.add_argument("--out", type=Path, default=RESULTS / "world")
    return made


Rights = Mapping[str, float]
"""Question -> 1 where it is right, 0 where it is wrong, chance for who guesses; questions without an answer lack."""


def as_numbers(hits: Mapping[str, bool]) -> Rights:
    """Hits as numbers."""
    return {name: float(hit) for name, hit in hits.items()}


def chance_rights(made: MadeBench) -> Rights:
    """What guessing is worth."""
    return {one.id: 1 / len(one.choices) for one in made.questions}


def run_rights(
    bench: Bench, folder: Path, control: Control, kept: Path, clips: dict[str, ClipFeatures]
) -> tuple[Rights, float]:
    """The answers of a run, and how often those to a clip and its reverse differ.

    Args:
        bench: whose questions.
        folder: of the run.
        control: what is shown.
        kept: folder of files of answers; what is in them is not asked again.
        clips: what was read of clips before.
    """
    start, file = time.perf_counter(), find_model(folder)
    path = answer_file(kept, file, control)
    made = f"{sha256_file(file)[:12]}, {control}"
    if len(kept_answers(path, bench, made)) < len(bench.questions):
        header = model_header(file)
        plan = plan_features(header["features"], features_read(header), (), bench_builders(bench))
        own = OwnRun(load(folder, device="cpu", beam=1, plan=plan), bench, control)

        def read(video: str) -> ClipFeatures:
            if video not in clips:
                clips[video] = own.clip(video)
            return clips[video]

        own.read = read
        ask_clips(bench, lambda video, asked: own.show(video, asked, caption=False).answers, path, made=made)
        print(f"{folder}, {control}: {time.perf_counter() - start:.0f} s", flush=True)
    answers = read_answers(path, bench)
    # A kind whose choices the model cannot tell apart is not answered.
    chosen = {name for name in KINDS if any(one.choice is not None for one in of_kind(answers, name))}
    rights = {
        name: float(one.choice == bench.key[name].answer)
        for name, one in answers.items()
        if name.partition("-")[0] in chosen
    }
    pairs = [(key.id, key.pair) for key in bench.key.values() if key.twin == "reversed" and key.pair is not None]
    return rights, float(np.mean([answers[one].choice != answers[other].choice for one, other in pairs]))


def answer_file(kept: Path, file: Path, control: Control) -> Path:
    """Where the answers of a model are kept: two runs whose folders have one name are two files.

    Args:
        kept: folder of files of answers.
        file: of the model.
        control: what is shown.
    """
    # Resolved: of "." the name is empty.
    return kept / f"{file.parent.resolve().name}-{sha256_file(file)[:12]}-{control}.jsonl"


def of_kind(answers: Mapping[str, Answer], kind: str) -> list[Answer]:
    """The answers to questions of a kind."""
    return [one for name, one in answers.items() if name.partition("-")[0] == kind]


def plain_row(name: str, made: MadeBench, seeds: Sequence[Rights]) -> dict[str, Any]:
    """A row: by kind its accuracy over all seeds with the interval of a bootstrap over questions, that of each seed,
    and the share of twins both of which are right. A kind that a seed does not answer is left out."""
    keys, kinds = {one.id: one for one in made.key}, dict[str, Any]()
    for kind in KINDS:
        asked = [one.id for one in made.questions if one.kind == kind and all(one.id in rights for rights in seeds)]
        if not asked:
            continue
        right = np.array([[rights[one] for one in asked] for rights in seeds])
        sums = resampled_sums(right.mean(0)[:, None], SAMPLES, 0)[:, 0] / len(asked)
        both = [[rights[one] * rights[str(keys[one].pair)] for one in asked] for rights in seeds]
        kinds[kind] = {
            "accuracy": float(right.mean()),
            "low": float(np.percentile(sums, 2.5)),
            "high": float(np.percentile(sums, 97.5)),
            "seeds": right.mean(1).tolist(),
            "twins": float(np.mean(both)),
            "chance": 1 / len(next(one for one in made.questions if one.kind == kind).choices),
            "questions": len(asked),
        }
    timed = [found["accuracy"] for kind, found in kinds.items() if kind in IN_TIME]
    return {"name": name, "seeds": len(seeds), "kinds": kinds, "in_time": float(np.mean(timed)) if timed else None}


def markdown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows in per cent; 95 % intervals in brackets."""
    titles = ["row", "seeds", *KINDS, "mean of verb to direction", "reverse differs"]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    for row in rows:
        cells = []
        for kind in KINDS:
            found = row["kinds"].get(kind)
            cells.append(
                f"{100 * found['accuracy']:.0f} ({100 * found['low']:.0f}-{100 * found['high']:.0f})" if found else "-"
            )
        differs = row.get("consistency")
        last = [f"{100 * row['in_time']:.1f}", "-" if differs is None else f"{100 * differs:.0f}"]
        lines.append(f"| {' | '.join([row['name'], str(row['seeds']), *cells, *last])} |")
    return lines


def flow_hits(made: MadeBench, bench: Bench, seed: int = 0) -> dict[str, bool]:
    """Which questions a ridge regression on optical flow has right, each kind by itself."""
    seen = {video: flow_features(shrunk(sample_video(bench.clip(video)), SIDE).frames) for video in made.clips}
    hits = dict[str, bool]()
    for kind in KINDS:
        asked = [one for one in made.questions if one.kind == kind]
        verbs = sorted({verb_in(choice) for one in asked for choice in one.choices})
        features = []
        for one in asked:
            flow = seen[one.video]
            # Each statement has weights of its own for its verb: nothing binds flow to colours and shapes.
            wide = np.zeros((1, len(one.choices), len(verbs), len(flow)))
            for place, choice in enumerate(one.choices):
                wide[0, place, verbs.index(verb_in(choice))] = flow
            features.append(wide.reshape(1, len(one.choices), -1))
        hits |= cross_validated(made, asked, features, seed)
    return hits


def flow_features(frames: np.ndarray) -> Float[np.ndarray, " K"]:
    """Of each third of a clip: how far things move right and down, how much, and whether flow runs together.

    The flow of a block is the least-squares solution of Lucas and Kanade (1981) over its pixels.
    """
    grey = frames.astype(np.float64).mean(-1) / 255.0
    down, across = np.gradient(grey[:-1], axis=(1, 2))
    change = grey[1:] - grey[:-1]
    side = grey.shape[1] // BLOCKS

    def block(values: np.ndarray) -> np.ndarray:
        kept = values[:, : side * BLOCKS, : side * BLOCKS]
        return kept.reshape(len(values), BLOCKS, side, BLOCKS, side).sum((2, 4))

    xx, yy, xy = block(across**2) + 0.05, block(down**2) + 0.05, block(across * down)
    xt, yt = -block(across * change), -block(down * change)
    det = xx * yy - xy**2
    u, v = (yy * xt - xy * yt) / det, (xx * yt - xy * xt) / det
    energy = block(change**2)
    weight = energy / (energy.sum((1, 2), keepdims=True) + 1e-6)
    x = np.linspace(-1, 1, BLOCKS)[None, None, :] * np.ones_like(u)
    y = x.transpose(0, 2, 1)
    mx, my = ((weight * at).sum((1, 2), keepdims=True) for at in (x, y))
    apart = u * (x - mx) + v * (y - my)
    spread = (x - mx) ** 2 + (y - my) ** 2
    means = [(weight * part).sum((1, 2)) for part in (u, v, np.abs(u), np.abs(v), apart, x, y, spread)]
    rows = np.stack([*means, np.log(energy.sum((1, 2)) + 1e-6)], axis=1)
    thirds = [part.mean(0) for part in np.array_split(rows, 3)]
    return np.concatenate([*thirds, thirds[2] - thirds[0], [1.0]])


if __name__ == "__main__":
    raise SystemExit(main())
