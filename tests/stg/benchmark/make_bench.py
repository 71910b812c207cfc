"""A small bench with clips of the built-in world."""

from pathlib import Path

from stg.benchmark.questions import CLIPS, Bench, Key, Question, write_bench
from stg.datasets.world import World

WORLD = World(frames=20, size=48)


def small_bench(folder: Path) -> Bench:
    """Two clips; three questions on the first, one on the second, of two and of three choices."""
    questions = [
        Question("verb-00000", "verb", "a", "What does it do?", ("It rolls left.", "It rolls right.", "It falls.")),
        Question("count-00000", "count", "b", "How many balls are there?", ("There are three.", "There are four.")),
        Question("role-00000", "role", "a", "Who does it?", ("The ball does.", "The box does.")),
        Question("order-00000", "order", "a", "What happens?", ("It comes.", "It goes.")),
    ]
    key = [Key(one.id, 0, None, None, None) for one in questions]
    bench = write_bench(folder, {"world": {}, "level": {}}, {"a": ["a ball"], "b": ["a box"]}, questions, key)
    (folder / CLIPS).mkdir()
    for name, video in (("a", "test-00000"), ("b", "test-00001")):
        WORLD.write_mp4(video, folder / CLIPS / f"{name}.mp4")
    return bench
