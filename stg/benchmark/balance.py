"""Proof that a bench cannot be answered from its text, nor its questions of time from frames without order.

Two models are fitted on some groups of questions and asked about others, twins always together. The one sees no clip,
only which words a choice has. The other sees the places of all things in one frame, from the truth, and answers by the
frame of a clip in which it is surest; when that frame is, it does not see.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from stg.benchmark.making import MadeBench
from stg.benchmark.questions import IN_TIME, KINDS, Question
from stg.benchmark.twins import SIDE, Scene, look

FOLDS = 5
FRAME_STEP = 6
"""Every how manyth frame is seen, counted from either end: a clip and its reverse give the same frames."""
RIDGE = 1.0


def text_features(questions: Sequence[Question]) -> list[Float[np.ndarray, "C W"]]:
    """Which words and pairs of words each choice of each question has, and its place."""
    texts = [[f"{one.kind} {text}".split() for text in one.choices] for one in questions]
    grams = [[{*words, *map(" ".join, pairwise(words))} for words in one] for one in texts]
    number = {gram: i for i, gram in enumerate(sorted({gram for one in grams for choice in one for gram in choice}))}
    features = []
    for one in grams:
        rows = np.zeros((len(one), len(number) + 4))
        for place, choice in enumerate(one):
            rows[place, [number[gram] for gram in choice]] = 1
            rows[place, len(number) + place] = 1
        features.append(rows)
    return features


def frame_features(scene: Scene, choice: str, frames: np.ndarray) -> Float[np.ndarray, "T K"]:
    """Where the things that a choice names are in single frames, and how to each other: places, products, distances.

    Of the first-named and the second-named thing (zeros where there is none): centres, sizes, distances from the
    middle, and the products of all these.
    """
    boxes = scene.boxes(frames) / SIDE - 0.5
    centre, side = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    pairs = re.findall(r"a (\w+) (\w+)", choice)
    places = {look(thing): i for i, thing in enumerate(scene.things)}
    named = [places[pair] for pair in pairs if pair in places][:2]
    parts = []
    for slot in range(2):
        if slot < len(named):
            at = centre[:, named[slot]]
            parts += [at, side[:, named[slot]], np.linalg.norm(at, axis=1, keepdims=True), np.abs(at)]
        else:
            parts.append(np.zeros((len(frames), 7)))
    plain = np.concatenate([*parts, np.full((len(frames), 1), len(scene.things) / 4.0)], axis=1)
    gap = plain[:, :2] - plain[:, 7:9]
    plain = np.concatenate([plain, gap, np.abs(gap), np.linalg.norm(gap, axis=1, keepdims=True)], axis=1)
    i, j = np.triu_indices(plain.shape[1])
    return np.concatenate([plain, 4 * plain[:, i] * plain[:, j]], axis=1)


def blind_hits(made: MadeBench, seed: int = 0) -> dict[str, bool]:
    """Which questions a model that reads the text alone has right."""
    features = [rows[None] for rows in text_features(made.questions)]
    return cross_validated(made, made.questions, features, seed)


def single_frame_hits(made: MadeBench, kinds: Sequence[str], seed: int = 0) -> dict[str, bool]:
    """Which questions of these kinds a model has right that sees one frame of each clip, the one it is surest in."""
    length = next(iter(made.clips.values())).scene.frames
    frames = np.arange(0, length, FRAME_STEP)
    # Both ends alike: what is seen of a clip is seen of its reverse.
    frames = np.unique(np.concatenate([frames, length - 1 - frames]))
    hits: dict[str, bool] = {}
    for name in kinds:
        asked = [one for one in made.questions if one.kind == name]
        verbs = sorted({verb_in(choice) for one in asked for choice in one.choices})
        seen = []
        for one in asked:
            rows = [frame_features(made.clips[one.video].scene, choice, frames) for choice in one.choices]
            # Each statement has weights of its own for its verb.
            wide = np.zeros((len(frames), len(rows), len(verbs), rows[0].shape[1]), np.float32)
            for place, choice in enumerate(one.choices):
                wide[:, place, verbs.index(verb_in(choice))] = rows[place]
            seen.append(wide.reshape(len(frames), len(rows), -1))
        hits |= cross_validated(made, asked, seen, seed)
    return hits


def verb_in(choice: str) -> str:
    """What a statement says without its things."""
    return re.sub(r"\ba \w+ \w+", "", choice).strip()


def cross_validated(
    made: MadeBench, asked: Sequence[Question], features: Sequence[np.ndarray], seed: int
) -> dict[str, bool]:
    """Hits of a ridge regression on right and wrong choices, fitted to other groups of questions.

    Args:
        made: the bench.
        asked: the questions.
        features: of each, ``[T C W]``: the surest of the T rows decides.
        seed: of the parts.
    """
    keys = {one.id: one for one in made.key}
    groups = {choices: i for i, choices in enumerate(sorted({one.choices for one in asked}))}
    fold = np.random.default_rng(seed).permutation(len(groups)) % FOLDS
    hits = dict[str, bool]()
    for held in range(FOLDS):
        inside = [fold[groups[one.choices]] != held for one in asked]
        x, y = [], []
        for one, rows, known in zip(asked, features, inside, strict=True):
            if known:
                # Against the mean of the choices: only what sets one apart from the others counts.
                x.append((rows - rows.mean(1, keepdims=True)).reshape(-1, rows.shape[-1]))
                right = np.arange(len(one.choices)) == keys[one.id].answer
                y.append(np.tile(right - right.mean(), len(rows)))
        if not x:
            continue
        table, wanted = np.concatenate(x), np.concatenate(y)
        weight = np.linalg.solve(table.T @ table + RIDGE * np.eye(table.shape[1]), table.T @ wanted)
        for one, rows, known in zip(asked, features, inside, strict=True):
            if not known:
                scores = (rows - rows.mean(1, keepdims=True)) @ weight
                # Rounded: the frames of the reverse come in another order, and so do sums.
                surest = np.round(scores, 6).max(0)
                hits[one.id] = int(surest.argmax()) == keys[one.id].answer
    return hits


def balance(made: MadeBench, hits: Mapping[str, bool]) -> dict[str, dict[str, Any]]:
    """For each kind: share of hits, chance, and how many deviations of chance lie between them."""
    found = dict[str, dict[str, Any]]()
    for name in dict.fromkeys(one.kind for one in made.questions):
        asked = [one for one in made.questions if one.kind == name and one.id in hits]
        if asked:
            chance = 1 / len(asked[0].choices)
            share = sum(hits[one.id] for one in asked) / len(asked)
            deviation = float(np.sqrt(chance * (1 - chance) / len(asked)))
            found[name] = {
                "share": share,
                "chance": chance,
                "deviations": (share - chance) / deviation,
                "questions": len(asked),
            }
    return found


def proof(made: MadeBench, seed: int = 0) -> dict[str, dict[str, Any]]:
    """What both readers make of each kind of question.

    Args:
        made: the bench.
        seed: of the parts of the cross-validation.

    Returns:
        For each kind ``questions``, ``chance``, ``low`` and ``high`` (two deviations of chance on either side),
        ``blind`` and ``single_frame`` (shares of right answers; None where there are too few groups to learn from),
        ``in_time``, whether the kind claims that no frame answers it, and ``proven``: the blind reader is within the
        band, and so is the other one where that is claimed.
    """
    blind = balance(made, blind_hits(made, seed))
    seen = balance(made, single_frame_hits(made, list(blind), seed))
    found = dict[str, dict[str, Any]]()
    for name in (kind for kind in KINDS if kind in blind):
        chance, count = blind[name]["chance"], blind[name]["questions"]
        band = 2 * float(np.sqrt(chance * (1 - chance) / count))
        # Of very few groups none is left to learn from.
        frame = seen.get(name, {"share": None, "deviations": float("inf")})
        claimed = [blind[name], *([frame] if name in IN_TIME else [])]
        found[name] = {
            "questions": count,
            "chance": chance,
            "low": chance - band,
            "high": chance + band,
            "blind": blind[name]["share"],
            "single_frame": frame["share"],
            "in_time": name in IN_TIME,
            "proven": all(abs(one["deviations"]) <= 2 for one in claimed),
        }
    return found


def proof_table(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """:func:`proof` in Markdown, in per cent."""
    titles = "kind", "questions", "chance", "chance, 2 deviations", "blind", "best single frame", "claim holds"
    rows = [titles, ("---", *["---:"] * 5, "---")]
    for name, one in found.items():
        low, high, chance, blind, seen = (
            "-" if one[key] is None else f"{100 * one[key]:.1f}"
            for key in ("low", "high", "chance", "blind", "single_frame")
        )
        claim = "neither tells" if one["in_time"] else "the text does not tell; a frame may"
        holds = f"{'yes' if one['proven'] else 'NO'}: {claim}"
        rows.append((name, str(one["questions"]), chance, f"{low} .. {high}", blind, seen, holds))
    return [f"| {' | '.join(row)} |" for row in rows]
