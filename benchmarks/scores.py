"""Scores and rewards against pycocoevalcap: a whole evaluation without METEOR, and CIDEr-D and BLEU-4 of a batch.

Made captions with the word frequencies of English (a Zipf vocabulary). The evaluation starts from tokenised text on
both sides and counts the references anew. A reward is what a training step asks for, of 64 videos with 6 captions each.
The usual code for it (`benchmarks.usual_cider`, or pycocoevalcap) takes the references of every sample apart again,
while the document frequencies are kept from before the training; ours has counted the references once ("prepare").
Single thread, CPU-seconds, rivals in turn in one process; medians and quartiles.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.timing import bar, measure, write
from benchmarks.usual_cider import UsualCiderD
from stg.metrics.bleu import SentenceBleu
from stg.metrics.cider import CiderD
from stg.metrics.ngrams import ReferenceNgrams
from stg.metrics.rouge import RougeL

REFERENCES, VIDEOS, SAMPLES = 20, 64, 6
Captions = list[list[int]]
Scorer = Callable[[], np.ndarray | list[float]]


def made(videos: int, vocabulary: int) -> tuple[list[Captions], list[Captions]]:
    """References and samples of every video: words of its own topic among the words of everyone."""
    random = np.random.default_rng(0)
    share = 1 / np.arange(1, vocabulary + 1)
    everyone = np.searchsorted(np.cumsum(share / share.sum()), random.random(1_000_000)).clip(max=vocabulary - 1)

    def captions(topic: np.ndarray, count: int) -> Captions:
        lengths = np.clip(random.gamma(6, 1.6, count).astype(int), 3, 30)
        words = random.choice(everyone, lengths.sum())
        words = np.where(random.random(len(words)) < 0.4, random.choice(topic, len(words)), words)
        return [part.tolist() for part in np.split(words, np.cumsum(lengths)[:-1])]

    topics = random.choice(everyone, (videos, 12))
    return [captions(topic, REFERENCES) for topic in topics], [captions(topic, SAMPLES) for topic in topics]


def text(caption: list[int]) -> str:
    """A caption as a tokeniser leaves it."""
    return " ".join(f"word{word}" for word in caption)


def evaluate(references: dict[str, list[str]], captions: dict[str, str]) -> list[float]:
    """BLEU-1 to 4, ROUGE-L and CIDEr of a corpus, from tokenised text."""
    numbers: dict[str, int] = {}

    def numbered(sentences: list[str]) -> Captions:
        return [[numbers.setdefault(word, len(numbers)) for word in sentence.split()] for sentence in sentences]

    cooked = [numbered(sentences) for sentences in references.values()]
    tested, rows = numbered(list(captions.values())), range(len(captions))
    grams = ReferenceNgrams(cooked)
    bleu = SentenceBleu(grams).statistics(tested, rows)
    bleu.sentences()  # the rival computes them, too
    return [
        *bleu.corpus().tolist(),
        float(RougeL(cooked)(tested, rows).mean()),
        float(CiderD(grams)(tested, rows).mean()),
    ]


def evaluate_coco(references: dict[str, list[str]], captions: dict[str, str]) -> list[float]:
    """The same by the scorers of pycocoevalcap."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    listed = {video: [caption] for video, caption in captions.items()}
    bleu, _ = Bleu(4).compute_score(references, listed, verbose=0)
    rouge, _ = Rouge().compute_score(references, listed)
    cider, _ = Cider().compute_score(references, listed)
    return [*bleu, float(rouge), float(cider)]


class CocoCider:
    """CIDEr-D of a batch by pycocoevalcap, document frequencies counted before."""

    def __init__(self, references: list[list[str]]) -> None:
        from pycocoevalcap.cider.cider_scorer import CiderScorer

        scorer = CiderScorer()
        for texts in references:
            scorer += (None, texts)
        scorer.compute_doc_freq()
        self.frequency, self.videos = scorer.document_frequency, len(references)

    def __call__(self, captions: list[str], references: list[list[str]]) -> np.ndarray:
        """Scores of captions, each against its own list of references."""
        from pycocoevalcap.cider.cider_scorer import CiderScorer

        scorer = CiderScorer()
        for caption, texts in zip(captions, references, strict=True):
            scorer += (caption, texts)
        scorer.document_frequency = self.frequency
        # The scorer takes the logarithm of the number of its own references, which is the batch, not the training set.
        # Empty entries make up the difference; they cost nothing, since scoring ends with the last caption.
        scorer.crefs.extend([[]] * (self.videos - len(captions)))
        return np.array(scorer.compute_cider())


def bleu_coco(captions: list[str], references: list[list[str]]) -> np.ndarray:
    """BLEU-4 of every caption by pycocoevalcap."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=4)
    for caption, texts in zip(captions, references, strict=True):
        scorer += (caption, texts)
    return np.array(scorer.compute_score(option="closest", verbose=0)[1][3])


class Work:
    """Made captions in all the forms that the rivals take."""

    def __init__(self, videos: int, vocabulary: int, batch: int, samples: int) -> None:
        self.references, drawn = made(videos, vocabulary)
        texts = [[text(caption) for caption in several] for several in self.references]
        self.corpus = {f"v{row}": sentences for row, sentences in enumerate(texts)}
        self.tested = {f"v{row}": text(several[0]) for row, several in enumerate(drawn)}
        self.rows = [row for row in range(batch) for _ in range(samples)]
        self.batch = [caption for several in drawn[:batch] for caption in several[:samples]]
        self.batch_texts = [text(caption) for caption in self.batch]
        self.batch_references = [texts[row] for row in self.rows]
        self.cider, self.bleu = CiderD(self.references), SentenceBleu(self.references)
        self.grams = ReferenceNgrams(self.references)
        self.usual_cider, self.coco_cider = UsualCiderD(texts), CocoCider(texts)

    def rivals(self) -> dict[str, dict[str, Scorer]]:
        """Everyone who computes the same, by workload."""
        texts, references = self.batch_texts, self.batch_references
        return {
            "evaluation": {
                "ours": lambda: evaluate(self.corpus, self.tested),
                "pycocoevalcap": lambda: evaluate_coco(self.corpus, self.tested),
            },
            "CIDEr-D reward": {
                "ours": lambda: self.cider(self.batch, self.rows),
                "usual code": lambda: self.usual_cider(texts, references),
                "pycocoevalcap": lambda: self.coco_cider(texts, references),
            },
            "BLEU-4 reward": {
                "ours": lambda: self.bleu(self.batch, self.rows),
                "pycocoevalcap": lambda: bleu_coco(texts, references),
            },
        }

    def floors(self) -> dict[str, Callable[[], object]]:
        """What each cannot do without: to read the text; to count the n-grams of the captions."""

        def split() -> None:
            for sentences in self.corpus.values():
                for sentence in sentences:
                    sentence.split()

        def count() -> object:
            return self.grams.counts(self.batch)

        return {"evaluation": split, "CIDEr-D reward": count, "BLEU-4 reward": count}

    def preparations(self) -> dict[str, Callable[[], object]]:
        """What is done once, before the training."""
        return {"CIDEr-D": lambda: CiderD(self.references), "BLEU-4": lambda: SentenceBleu(self.references)}


def largest_difference(rivals: Mapping[str, Scorer]) -> float:
    """Of any rival's scores from ours.

    Raises:
        AssertionError: it reaches 1e-9.
    """
    ours, largest = np.array(rivals["ours"]()), 0.0
    for name, rival in rivals.items():
        difference = float(np.abs(ours - np.array(rival())).max())
        if not difference < 1e-9:
            raise AssertionError(f"the scores of {name} differ from ours by {difference}")
        largest = max(largest, difference)
    return largest


def main(quick: bool = False) -> None:
    """Check that all scores agree; unless ``quick``, measure and write ``results/scores.json``."""
    if quick:
        for rivals in Work(60, 400, 12, 2).rivals().values():
            largest_difference(rivals)
        print("scores: all rivals agree")
        return
    videos, vocabulary = 2_990, 12_000
    work = Work(videos, vocabulary, VIDEOS, SAMPLES)
    size = {"videos": videos, "references": REFERENCES, "vocabulary": vocabulary, "batch": len(work.batch)}
    results: dict[str, Any] = {}
    differences = {}
    for workload, rivals in work.rivals().items():
        differences[workload] = largest_difference(rivals)
        times = measure({**rivals, "floor": work.floors()[workload]}, repetitions=7, warm_up=1)
        results[workload] = times
        for name, taken in times.items():
            taken["times_ours"] = round(taken["median"] / times["ours"]["median"], 2)
            print(f"{workload:15} {name:15} {taken['median']:10.2f} ms   {taken['times_ours']:7.1f} x", flush=True)
    results["prepare"] = measure(work.preparations(), repetitions=7, warm_up=1)
    made_bars = bars(results, differences)
    for line in made_bars:
        print(f"{line['what']}: {line['reached']} (bar {line['bar']})")
    write("scores", {"size": size, "bars": made_bars, "differences": differences, **results})


def bars(results: Mapping[str, Any], differences: Mapping[str, float]) -> list[dict[str, Any]]:
    """What performance asks of scores and rewards."""
    reward, bleu, whole = (results[name] for name in ("CIDEr-D reward", "BLEU-4 reward", "evaluation"))
    return [
        bar("CIDEr-D reward, times as fast as plain Python written anew", reward["usual code"]["times_ours"], 150.0),
        bar("CIDEr-D reward, times as fast as pycocoevalcap", reward["pycocoevalcap"]["times_ours"], 150.0),
        bar("CIDEr-D reward, largest difference", differences["CIDEr-D reward"], 1e-9, "lower"),
        bar("BLEU-4 reward, times as fast as pycocoevalcap", bleu["pycocoevalcap"]["times_ours"], 50.0),
        bar("evaluation without METEOR, times as fast as pycocoevalcap", whole["pycocoevalcap"]["times_ours"], 8.0),
    ]


if __name__ == "__main__":
    main()
