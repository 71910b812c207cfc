"""Which activity a clip of CAD-120 shows, leaving one person out: a graph classifier with and without edges, a forest.

For each of the three people in turn, models learn from the other two and name the actions of the third. How long the
classifier learns is chosen inside the other two: it learns from one and is judged on the other, for each number of
epochs. Then it learns anew from both. The people who are tested decide nothing.

- ``none``, ``spatial``, ``temporal``, ``both``: the edges of the graph; inputs of nodes and readout are those of all;
- ``shuffled edges``: as ``both``, the sources of the edges, with their attributes, permuted inside each clip;
- ``shuffled features``: as ``both``, learning from clips whose actions were permuted;
- a random forest on statistics of the boxes, without and with each group of them.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch.nn.functional import cross_entropy

from benchmarks import CLIPS
from benchmarks.activity_classifier import Classifier
from benchmarks.activity_graphs import CLASSES, EDGE_DIMS, FRAMES, STATISTICS, Clips, made_clips, make_clips, statistics
from benchmarks.timing import bar, write
from graphs import CAD120_ACTIONS, Cad120Clip, FlatBatch, read_cad120

KINDS = {"none": (), "spatial": ("spatial",), "temporal": ("temporal",), "both": ("spatial", "temporal")}
CONTROLS = ("shuffled edges", "shuffled features")
EPOCHS = (20, 40, 60)
SEEDS = (0, 1, 2)
VIEWS = 6
TREES = 300
BATCH = 16
RATE, DECAY = 1e-2, 3e-2


class Task(NamedTuple):
    """One training: what it learns from, what it is judged on.

    Args:
        name: of `KINDS` or `CONTROLS`.
        learn: people.
        judge: a person.
        epochs: passes over the clips of ``learn``.
        seed: of weights, order and dropout.
    """

    name: str
    learn: tuple[str, ...]
    judge: str
    epochs: int
    seed: int


def main(quick: bool = False, clips: str | Path = CLIPS) -> None:
    """Measure, or with ``quick`` see on a few made clips that everything runs.

    Args:
        quick: made clips, few epochs, nothing written.
        clips: the file of clips.
    """
    if quick:
        compare(made_clips(), epochs=(1, 2), seeds=(0,), trees=5, views=2, workers=1)
        return
    results = compare(read_cad120(clips), EPOCHS, SEEDS, TREES, VIEWS, workers=os.cpu_count() or 1)
    print(table(results))
    write("activity", results)


def compare(
    clips: Sequence[Cad120Clip], epochs: Sequence[int], seeds: Sequence[int], trees: int, views: int, workers: int
) -> dict[str, Any]:
    """All classifiers and forests on all people: what was chosen, accuracies with mean and deviation over the seeds."""
    subjects = np.array([clip.labels.subject for clip in clips])
    people = tuple(sorted(set(subjects)))
    with Trainings(clips, views, workers) as trainings:
        trials = choose(trainings, people, epochs)
        best = {name: {judge: max(found, key=found.get) for judge, found in by.items()} for name, by in trials.items()}
        # A control has no choice of its own.
        best |= dict.fromkeys(CONTROLS, best["both"])
        tasks = [
            Task(name, others(people, judge), judge, best[name][judge], seed)
            for name in best
            for seed in seeds
            for judge in people
        ]
        hits = {name: np.zeros((len(seeds), len(clips)), bool) for name in best}
        for task, right in zip(tasks, trainings.run(tasks), strict=True):
            hits[task.name][seeds.index(task.seed), subjects == task.judge] = right
    hits |= {f"forest: {name}": found for name, found in forests(clips, subjects, seeds, trees).items()}
    gain = bootstrap(hits["both"].mean(0) - hits["none"].mean(0))
    return {
        "bars": bars(hits),
        "clips": {person: int((subjects == person).sum()) for person in people},
        "frames": FRAMES,
        "accuracy_inside_by_epochs": trials,
        "epochs": {name: best[name] for name in KINDS},
        "accuracy": {name: spread(found, subjects) for name, found in hits.items()},
        "both - none": {"mean": round(float(hits["both"].mean() - hits["none"].mean()), 4), "95 %": gain},
    }


def others(people: Sequence[str], judge: str) -> tuple[str, ...]:
    """All but one."""
    return tuple(person for person in people if person != judge)


def choose(
    trainings: "Trainings", people: Sequence[str], epochs: Sequence[int]
) -> dict[str, dict[str, dict[int, float]]]:
    """Kind of edges -> the person to be tested -> epochs -> accuracy among the other people.

    Each of the others is judged once by a classifier that learned from the rest of them, with a seed that is not used
    later.
    """
    tasks = [
        Task(name, others(others(people, tested), judge), judge, count, len(SEEDS))
        for name in KINDS
        for tested in people
        for judge in others(people, tested)
        for count in epochs
    ]
    right = dict(zip(tasks, trainings.run(tasks), strict=True))
    return {
        name: {
            tested: {
                count: round(
                    float(
                        np.concatenate(
                            [
                                right[Task(name, others(others(people, tested), judge), judge, count, len(SEEDS))]
                                for judge in others(people, tested)
                            ]
                        ).mean()
                    ),
                    4,
                )
                for count in epochs
            }
            for tested in people
        }
        for name in KINDS
    }


class Trainings:
    """Trainings in processes of their own, each of one thread, which make the graphs once; a context.

    Args:
        clips: all of them.
        views: see `benchmarks.activity_graphs.make_clips`.
        workers: processes; 1 for none but this.
    """

    _graphs: ClassVar[Clips]

    def __init__(self, clips: Sequence[Cad120Clip], views: int, workers: int) -> None:
        self._pool = None
        if workers > 1:
            self._pool = ProcessPoolExecutor(workers, get_context("spawn"), Trainings.begin, (clips, views))
        else:
            Trainings.begin(clips, views)

    def __enter__(self) -> "Trainings":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @classmethod
    def begin(cls, clips: Sequence[Cad120Clip], views: int) -> None:
        """What a process does first."""
        torch.set_num_threads(1)
        cls._graphs = make_clips(clips, views)

    @classmethod
    def one(cls, task: Task) -> np.ndarray:
        """Train; for each clip of the person who is judged, whether its action is named right."""
        return train(cls._graphs, task)

    def run(self, tasks: Sequence[Task]) -> list[np.ndarray]:
        """All of them, in this order."""
        return list((map if self._pool is None else self._pool.map)(Trainings.one, tasks))


def train(clips: Clips, task: Task) -> np.ndarray:
    """One training, and whether the clips of ``task.judge`` are named right."""
    torch.manual_seed(task.seed)
    learn = torch.from_numpy(np.flatnonzero(np.isin(clips.subject, task.learn)))
    judge = torch.from_numpy(np.flatnonzero(clips.subject == task.judge))
    y = clips.y.clone()
    if task.name == "shuffled features":
        y[learn] = y[learn[torch.randperm(len(learn))]]
    kinds = KINDS["both" if task.name in CONTROLS else task.name]
    widths = {kind: EDGE_DIMS[kind] for kind in kinds}
    model = Classifier(clips.nodes["x"].size(1), CLASSES, len(CAD120_ACTIONS), widths)
    steps = task.epochs * -(-len(learn) // BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.2)
    for _ in range(task.epochs):
        for chosen in learn[torch.randperm(len(learn))].split(BATCH):
            view = torch.randint(len(clips.sizes) // len(y), (len(chosen),))
            batch = clips.batch(view * len(y) + chosen)
            if task.name == "shuffled edges":
                shuffle_edges(batch, kinds)
            loss = cross_entropy(model(batch), y[chosen])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimiser.step()
            schedule.step()
    model.eval()
    batch = clips.batch(judge)
    if task.name == "shuffled edges":
        shuffle_edges(batch, kinds)
    with torch.no_grad():
        return (model(batch).argmax(1) == y[judge]).numpy()


def shuffle_edges(batch: FlatBatch, kinds: Sequence[str]) -> None:
    """Permute the sources, and the attributes, of the edges inside each clip; each node keeps its number of edges."""
    for kind in kinds:
        index = batch[f"{kind}_index"]
        clip = batch.batch[index[1]]
        # Edges are ordered by clip already: the permuted edges of a clip take its places.
        order = torch.rand(len(clip)).argsort()
        order = order[clip[order].argsort(stable=True)]
        batch[f"{kind}_index"] = torch.stack([index[0][order], index[1]])
        batch[f"{kind}_attr"] = batch[f"{kind}_attr"][order]


def forests(
    clips: Sequence[Cad120Clip], subjects: np.ndarray, seeds: Sequence[int], trees: int
) -> dict[str, np.ndarray]:
    """Statistics -> ``[seeds clips]``, whether a forest that learned from the other people names a clip right."""
    groups = [statistics(clip) for clip in clips]
    y = np.array([clip.labels.y for clip in clips])
    first = next(iter(STATISTICS))
    chosen = {first: [first], **{f"+ {name}": [first, name] for name in STATISTICS if name != first}}
    found = {}
    for name, parts in {**chosen, "all": list(STATISTICS)}.items():
        x = np.array([np.concatenate([group[part] for part in parts]) for group in groups])
        found[name] = np.zeros((len(seeds), len(clips)), bool)
        for row, seed in enumerate(seeds):
            for person in set(subjects):
                test = subjects == person
                forest = RandomForestClassifier(trees, random_state=seed).fit(x[~test], y[~test])
                found[name][row, test] = forest.predict(x[test]) == y[test]
    return found


def spread(hits: np.ndarray, subjects: np.ndarray) -> dict[str, Any]:
    """Mean and deviation over the seeds of ``[seeds clips]``, each seed, and the mean for each person."""
    seeds = hits.mean(1)
    return {
        "mean": round(float(seeds.mean()), 4),
        "deviation": round(float(seeds.std(ddof=1)), 4) if len(seeds) > 1 else 0.0,
        "seeds": seeds.round(4).tolist(),
        "people": {person: round(float(hits[:, subjects == person].mean()), 4) for person in sorted(set(subjects))},
    }


def bootstrap(difference: np.ndarray, draws: int = 5000) -> list[float]:
    """The 95 % interval of the mean over clips drawn with replacement."""
    random = np.random.default_rng(0)
    means = difference[random.integers(0, len(difference), (draws, len(difference)))].mean(1)
    return np.quantile(means, [0.025, 0.975]).round(4).tolist()


def bars(hits: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """What is asked of the edges."""
    mean = {name: float(found.mean()) for name, found in hits.items()}
    rounded = {name: round(value, 4) for name, value in mean.items()}
    return [
        bar("accuracy with both kinds of edges", rounded["both"], 0.72),
        bar("the same, above no edges", rounded["both"] - rounded["none"], 0.05),
        bar("spatial edges, above no edges", rounded["spatial"] - rounded["none"], 0.0),
        bar("temporal edges, above no edges", rounded["temporal"] - rounded["none"], 0.0),
        bar(
            "both kinds, above the best forest",
            rounded["both"] - max(v for n, v in rounded.items() if "forest" in n),
            0.0,
        ),
    ]


def table(results: dict[str, Any]) -> str:
    """The accuracies in Markdown."""
    rows = [
        f"| {name} | {found['mean']:.3f} ± {found['deviation']:.3f} | "
        f"{' / '.join(f'{value:.3f}' for value in found['people'].values())} |"
        for name, found in results["accuracy"].items()
    ]
    people = " / ".join(results["clips"])
    return "\n".join([f"| model | accuracy | {people} |", "|---|---|---|", *rows])
