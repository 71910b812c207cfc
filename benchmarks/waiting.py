"""What people wait for, beside what they would do instead: captions of clips, an epoch, an evaluation, METEOR, a page.

- ``clips``: made clips of ten seconds captioned by the captioner of the installation. Rivals: a shell loop with one
  command a clip, and the loop that most code has (every frame of a clip decoded, then the network, one clip after the
  other); ``networks and captions`` is what no reading of clips can save.
- ``epoch``: an epoch on features of frames, at the size of the captioner of the installation (`benchmarks.epoch`).
  Rival: pickled graphs, padded captions.
- ``evaluation``: captions of many videos by beam 5, then BLEU, ROUGE-L and CIDEr, at the size of that captioner. Rival:
  Hugging Face's BART with the same weights, scored by pycocoevalcap.
- ``METEOR``: three evaluations of an ablation, by the clock, as Java is a process of its own. Rival: pycocoevalcap's
  scorer, which starts Java for each.
- ``page``: the page of thirty videos, starting up included. Rival: a figure a video by matplotlib, as a notebook has
  it: frames, boxes, caption.

Captions, features and scores must be the same. CPU seconds of one thread, medians and quartiles of seven runs, of what
takes long of three (`benchmarks.timing.measure`), of commands of four.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import stg
from benchmarks import bart
from benchmarks.epoch import SMALL, Epochs, Size
from benchmarks.epoch import check as check_epochs
from benchmarks.extraction import decode_all, made_clips
from benchmarks.scores import evaluate, evaluate_coco, made, text
from benchmarks.startup import ROOT, in_turn, prepare, scaled, start
from benchmarks.timing import bar, measure, write
from decoders import Rules, TransformerDecoder, VideoMemory, beam_search
from stg.captioning.pipeline import VideoCaptioner
from stg.data.edges import graph_as_recorded
from stg.datasets.world.dataset import World
from stg.metrics.meteor import Meteor
from stg.models.generation import generate
from stg.video.decoding import SampledFrames, sample_video

CLIPS = 5
VIDEOS, BEAM, WORDS = 200, 5, 10
EPOCH_VIDEOS = 256
PAGE_VIDEOS = 30
METEOR_VIDEOS = 60
PART = "networks and captions"
REPETITIONS, COMMANDS = 7, 4
"""Timed runs of a function, and of a command, whose start takes seconds and varies less."""
Quartiles = dict[str, dict[str, float]]
FIGURES = """
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
from stg.datasets.world.dataset import World
world = World(train=32, val=6, test=200)
for video in world.dataset().splits["test"][:{count}]:
    sample = world.sample(video)
    figure, axes = plt.subplots(2, 5, figsize=(12, 5))
    for place, axis in enumerate(axes.flat[: len(sample.frames)]):
        axis.imshow(sample.frames[place])
        axis.axis("off")
        axis.add_patch(plt.Rectangle((4, 4), 12, 12, fill=False, edgecolor="red"))
    figure.suptitle(world.dataset().captions[video][0])
    figure.savefig(f"{{video}}.png")
    plt.close(figure)
"""


def clip_rivals(captioner: VideoCaptioner, clips: dict[str, Path]) -> dict[str, Callable[[], list[str]]]:
    """Each way as a function that returns the captions of the clips."""
    frames = captioner.extractor.sampling.num_frames
    samples = [sample_video(clip, frames) for clip in clips.values()]

    def said_of(sample: SampledFrames) -> str:
        # What `describe` does with a clip that was read.
        graph = graph_as_recorded(captioner.extractor(sample), captioner.trained.features)
        source = captioner.source(graph, sample.video)
        model, words = captioner.trained.captioner, captioner.trained.vocabulary
        return generate(model, source, [sample.video], words, search=captioner.search)[sample.video][0].text

    return {
        "ours": lambda: [captioner.describe(clip).caption for clip in clips.values()],
        "plain loop": lambda: [said_of(decode_all(clip, video, frames)) for video, clip in clips.items()],
        PART: lambda: [said_of(sample) for sample in samples],
    }


def evaluation_rivals(videos: int, vocabulary: int) -> dict[str, Callable[[], list[float]]]:
    """Captions of made videos by beam search, and their scores."""
    torch.manual_seed(0)
    decoder = TransformerDecoder(vocabulary, channels=192, hidden=384).eval()
    memory = VideoMemory(torch.randn(videos, 10, 192), torch.ones(videos, 10, dtype=torch.bool))
    drawn, _ = made(videos, vocabulary)
    references = {str(video): [text(one) for one in several] for video, several in enumerate(drawn)}
    rules = Rules(min_length=WORDS)

    def texts(words: torch.Tensor) -> dict[str, str]:
        return {str(video): text(caption) for video, caption in enumerate(words.tolist())}

    def batches(search: Callable[[VideoMemory], torch.Tensor]) -> torch.Tensor:
        return torch.cat([search(memory.select(part)) for part in torch.arange(videos).split(64)])

    def ours() -> list[float]:
        found = batches(lambda some: beam_search(decoder, some, BEAM, WORDS, rules=rules).words[:, 0])
        return evaluate(references, texts(found))

    rivals = {"ours": ours}
    if bart.installed():
        rival = bart.Bart(decoder)

        def theirs() -> list[float]:
            return evaluate_coco(references, texts(batches(lambda some: rival.generate(some, BEAM, WORDS))))

        rivals["Hugging Face BART, pycocoevalcap"] = theirs
    return rivals


def meteor_rivals(evaluations: int, videos: int) -> dict[str, Callable[[], list[float]]]:
    """METEOR of several evaluations, one after the other."""
    references, drawn = made(videos, 500)
    known = [[text(one) for one in several] for several in references]
    tested = [[text(samples[number]) for samples in drawn] for number in range(evaluations)]

    def ours() -> list[float]:
        with Meteor() as meteor:
            return [meteor.score(captions, known)[0] for captions in tested]

    def theirs() -> list[float]:
        from pycocoevalcap.meteor.meteor import Meteor as CocoMeteor

        found = []
        for captions in tested:
            scorer = CocoMeteor()
            gts, res = dict(enumerate(known)), {place: [caption] for place, caption in enumerate(captions)}
            found.append(float(scorer.compute_score(gts, res)[0]))
            scorer.meteor_p.kill()
            scorer.meteor_p.wait()
        return found

    return {"ours": ours, "pycocoevalcap, Java each time": theirs}


def agree(what: str, rivals: dict[str, Callable[[], Any]], error: float = 0.0) -> None:
    """See that all rivals give the same, numbers within ``error``."""
    expected = rivals["ours"]()
    for name, run in rivals.items():
        found = run()
        if not (np.allclose(found, expected, rtol=0, atol=error) if error else found == expected):
            raise AssertionError(f"{what}: {name} and ours differ")


def page(folder: Path, count: int, repetitions: int) -> Quartiles:
    """CPU seconds of the page of some videos, and of as many figures; each a process of its own, in turn."""
    prepare(folder, ROOT)
    report = tuple(f"-m stg.report run --split test --limit {count} --out page.html --threads 1".split())
    rivals = {"ours": (report, 0)}
    try:
        start(("-c", "import matplotlib"), folder, ROOT)
        rivals["matplotlib, a figure a video"] = (("-c", FIGURES.format(count=count)), 0)
    except RuntimeError:
        print("matplotlib: left out, it is not installed (it is in the dependency group docs)")
    return scaled(in_turn(rivals, folder, ROOT, repetitions), 1e3)


def bars(tables: dict[str, Quartiles]) -> list[dict[str, Any]]:
    """What each rival takes, times ours; printed, too. No user should wait longer for ours."""
    made_of = []
    for what, table in tables.items():
        for rival, taken in table.items():
            ratio = taken["median"] / table["ours"]["median"]
            print(f"{what:12} {rival:35} {taken['median']:9.0f} ms   {ratio:6.2f} x ours")
            if rival not in ("ours", PART):
                made_of.append(bar(f"{what}, against {rival}", ratio, 1))
    return made_of


def main(quick: bool = False) -> None:
    """See that all rivals agree; unless ``quick``, measure and write ``results/waiting.json``."""
    world = (
        World(train=1, val=0, test=0, frames=20) if quick else World(train=CLIPS, val=0, test=0, frames=120, size=224)
    )
    captioner = stg.load(device="cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = made_clips(world, folder)
        captioned = clip_rivals(captioner, clips)
        agree("clips", captioned)
        evaluated = evaluation_rivals(8 if quick else VIDEOS, 300 if quick else 4106)
        agree("evaluation", evaluated, 1e-9)
        epochs = Epochs(folder, 6, SMALL) if quick else Epochs(folder, EPOCH_VIDEOS, Size())
        check_epochs(epochs)
        if quick:
            print("waiting: all rivals agree")
            return
        meteor = meteor_rivals(3, METEOR_VIDEOS)
        agree("METEOR", meteor, 1e-9)
        tables = {
            "clips": measure(captioned, repetitions=REPETITIONS, warm_up=0),
            "epoch": measure(epochs.rivals(), repetitions=REPETITIONS, warm_up=0),
            "evaluation": measure(evaluated, repetitions=REPETITIONS, warm_up=0),
            "METEOR": measure(meteor, repetitions=REPETITIONS, warm_up=0, clock=time.perf_counter),
            "page": page(folder, PAGE_VIDEOS, COMMANDS),
        }
        command = ("-m", "stg.caption", str(next(iter(clips.values()))), "--threads", "1")
        single = in_turn({"one command a clip": (command, 0)}, folder, ROOT, COMMANDS)
        tables["clips"] |= scaled(single, 1e3 * CLIPS)
    size = {
        "clips": CLIPS, "videos": VIDEOS, "beam": BEAM, "words": WORDS, "videos on the page": PAGE_VIDEOS,
        "videos of METEOR": METEOR_VIDEOS, "videos of the epoch": EPOCH_VIDEOS,
    }  # fmt: skip
    write("waiting", {"size": size, "bars": bars(tables), **tables})


if __name__ == "__main__":
    main()
