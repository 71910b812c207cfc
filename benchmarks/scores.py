"""Scores and rewards against pycocoevalcap: a whole evaluation without METEOR, and CIDEr-D and BLEU-4 of a batch.

Made captions with the word frequencies of English (a Zipf vocabulary). The evaluation starts from tokenised text on
both sides and counts the references anew. A reward is what a training step asks for; the usual code for it hands every
sample to pycocoevalcap with its references, which are taken apart again, while the document frequencies are kept from
before the training; ours has counted the references once ("prepare"). Single thread, CPU-seconds, rivals in turn in
one process; medians and quartiles.
"""

from collections.abc import Callable

import numpy as np

from benchmarks.timing import measure, write
from stg.metrics.bleu import SentenceBleu
from stg.metrics.cider import CiderD
from stg.metrics.ngrams import ReferenceNgrams
from stg.metrics.rouge import RougeL

REFERENCES, VIDEOS, SAMPLES = 20, 64, 6
Captions = list[list[int]]


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


def evaluate_usual(references: dict[str, list[str]], captions: dict[str, str]) -> list[float]:
    """The same by the scorers of pycocoevalcap."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    listed = {video: [caption] for video, caption in captions.items()}
    bleu, _ = Bleu(4).compute_score(references, listed, verbose=0)
    rouge, _ = Rouge().compute_score(references, listed)
    cider, _ = Cider().compute_score(references, listed)
    return [*bleu, float(rouge), float(cider)]


class UsualCider:
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


def bleu_usual(captions: list[str], references: list[list[str]]) -> np.ndarray:
    """BLEU-4 of every caption by pycocoevalcap."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=4)
    for caption, texts in zip(captions, references, strict=True):
        scorer += (caption, texts)
    return np.array(scorer.compute_score(option="closest", verbose=0)[1][3])


def main(quick: bool = False) -> None:
    """Measure, check that all scores agree, and write ``results/scores.json``."""
    videos, vocabulary = (400, 2_000) if quick else (2_990, 12_000)
    references, samples = made(videos, vocabulary)
    texts = [[text(caption) for caption in several] for several in references]
    corpus = {f"v{row}": sentences for row, sentences in enumerate(texts)}
    tested = {f"v{row}": text(several[0]) for row, several in enumerate(samples)}
    rows = [row for row in range(VIDEOS) for _ in range(SAMPLES)]
    batch = [caption for several in samples[:VIDEOS] for caption in several]
    batch_texts, batch_references = [text(caption) for caption in batch], [texts[row] for row in rows]

    cider, bleu, usual_cider = CiderD(references), SentenceBleu(references), UsualCider(texts)
    workloads: dict[str, dict[str, Callable[[], object]]] = {
        "evaluation": {
            "ours": lambda: evaluate(corpus, tested),
            "pycocoevalcap": lambda: evaluate_usual(corpus, tested),
        },
        "CIDEr-D reward": {
            "ours": lambda: cider(batch, rows),
            "pycocoevalcap": lambda: usual_cider(batch_texts, batch_references),
        },
        "BLEU-4 reward": {
            "ours": lambda: bleu(batch, rows),
            "pycocoevalcap": lambda: bleu_usual(batch_texts, batch_references),
        },
        "prepare": {"CIDEr-D": lambda: CiderD(references), "BLEU-4": lambda: SentenceBleu(references)},
    }
    size = {"videos": videos, "references": REFERENCES, "vocabulary": vocabulary, "batch": len(batch), "quick": quick}
    write("scores", {"size": size, **{name: _measure(name, rivals) for name, rivals in workloads.items()}})


def _measure(workload: str, rivals: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    first, *others = rivals.values()
    if "ours" in rivals:
        difference = np.abs(np.array(first()) - np.array(others[0]())).max()
        if not difference < 1e-9:
            raise AssertionError(f"{workload}: the scores differ by {difference}")
    times = measure(rivals, repetitions=7, warm_up=1)
    base = times["ours"]["median"] if "ours" in times else None
    for name, taken in times.items():
        if base:
            taken["times_ours"] = round(taken["median"] / base, 2)
        print(f"{workload:15} {name:15} {taken['median']:10.2f} ms   {taken.get('times_ours', 1):7.1f} x")
    return times


if __name__ == "__main__":
    main()
