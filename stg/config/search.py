"""How captions are searched for: settings, their name in tables, and endings that leave a sentence open."""

from dataclasses import dataclass, field, fields, replace
from math import isfinite

from stg.config.plugins import check_name
from stg.config.schema import seeds

ONLY = {
    "beam": ("beam", "diverse"),
    "groups": ("diverse",),
    "diversity": ("diverse",),
    "temperature": ("sample", "mbr"),
    "top_k": ("sample",),
    "top_p": ("sample", "mbr"),
    "seed": ("sample", "mbr"),
    "samples": ("mbr",),
    "length_penalty": ("beam", "diverse"),
    "word_weight": ("beam", "diverse"),
    "n_best": ("beam", "diverse", "sample", "mbr"),
}
"""Setting -> the methods that read it; every method reads all others."""


CANDIDATES = 5
"""Most captions of a beam that a page lists."""


@dataclass(frozen=True)
class SearchConfig:
    """How captions are searched for (:mod:`decoders`)."""

    method: str = "beam"
    """greedy; beam; diverse: groups of beams that keep away from each other's words (Vijayakumar et al., 2016); sample:
    words drawn from the model's distribution; mbr: captions drawn so, and the one most like all of them (minimum Bayes
    risk), best with a temperature of about 0.7."""
    beam: int = 5
    """Width of the beam search, of all groups together; 1 is greedy."""
    groups: int = 5
    """diverse: how many groups share the beam; must divide it."""
    diversity: float = 0.5
    """diverse: what a word costs that an earlier group has chosen at the same place."""
    temperature: float = 1.0
    """sample, mbr: below 1 likely words become likelier, above 1 less likely."""
    top_k: int = 0
    """sample: draw among this many likeliest words; 0: all."""
    top_p: float = 1.0
    """sample, mbr: draw among the fewest words that together are this likely; 1: all."""
    seed: int = 0
    """sample, mbr: seed of the draws."""
    samples: int = 40
    """mbr: captions drawn of each video."""
    length_penalty: float = 0.0
    """beam, diverse: rank by log-probability / words ** this; 1 takes the mean over words."""
    word_weight: float = field(default=0.0, metadata={"unless_empty": True})
    """beam, diverse: rerank all captions of the beam by their score and this times the log-probabilities of their
    words, each once, as the model predicts them from the whole video (words that loss.word_weight does not ask for: as
    often as captions hold them). For models trained with loss.word_weight."""
    min_length: int = 1
    """Fewest words of a caption."""
    no_repeat_ngram: int = 0
    """No so many words in a row twice in a caption, such as 3; 0: no such rule."""
    forbidden_endings: bool = False
    """No caption may end in a word such as a, the, with, of, that leaves it open."""
    n_best: int = 1
    """Captions a video, best first; sample: the number of draws."""
    max_length: int | None = None
    """Most words, the end of the sentence counting as one. By default as long as the captions of training."""

    def __post_init__(self) -> None:
        check_name("search", "method", self.method)
        for name in ("beam", "groups", "samples", "min_length", "n_best", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")
        for name in ("diversity", "length_penalty", "word_weight", "no_repeat_ngram", "top_k"):
            value = getattr(self, name)
            if not (value >= 0 and isfinite(value)):
                raise ValueError(f"{name} must be 0 or more; got {value}")
        seeds(self, "seed")
        if not (self.temperature > 0 and isfinite(self.temperature)):
            raise ValueError(f"temperature must be above 0; got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie above 0 and be at most 1; got {self.top_p}")
        # A setting that the method ignores is refused, or a comparison of searches would compare equal ones.
        for name, methods in ONLY.items():
            if self._set(name) and self.method not in methods:
                raise ValueError(
                    f"{name} is for the search method {' or '.join(methods)}, and the method is {self.method}"
                )
        if self.method == "diverse" and self.beam % self.groups:
            raise ValueError(f"groups={self.groups} must divide beam={self.beam}")
        if self.method in ("beam", "diverse") and self.n_best > self.beam:
            raise ValueError(f"n_best={self.n_best} must be at most beam={self.beam}")
        if self.method == "mbr" and self.n_best > self.samples:
            raise ValueError(f"n_best={self.n_best} must be at most samples={self.samples}")
        if self.max_length is not None and self.min_length > self.max_length:
            raise ValueError(f"min_length={self.min_length} is more than max_length={self.max_length}")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest word is taken at every step, as a beam of one does."""
        return self.method == "greedy" or (self.method == "beam" and self.beam == 1)

    @property
    def name(self) -> str:
        """The search in a few words, all that changes its first caption: ``beam 5``, ``diverse 6x3 +norepeat3``."""
        if self.greedy:
            words = ["greedy"]
        elif self.method == "beam":
            words = [f"beam {self.beam}"]
        elif self.method == "diverse":
            words = [f"diverse {self.beam}x{self.groups}"]
        elif self.method == "mbr":
            words = [f"mbr {self.samples}"]
        else:
            words = ["sample" if self.n_best == 1 else f"sample {self.n_best}"]
        rules = {
            "diversity": "diversity",
            "temperature": "temperature",
            "top_k": "top-k",
            "top_p": "top-p",
            "seed": "seed",
            "length_penalty": "penalty",
            "word_weight": "words",
            "min_length": "min",
            "no_repeat_ngram": "norepeat",
            "max_length": "max",
        }
        words += [f"+{said}{_exact(getattr(self, name))}" for name, said in rules.items() if self._set(name)]
        return " ".join([*words, *["+endings"] * self.forbidden_endings])

    def _set(self, name: str) -> bool:
        return bool(getattr(self, name) != _DEFAULTS[name])


def _exact(value: int | float) -> str:
    """Short where that is the whole number: other settings must not share a file name."""
    return f"{value:g}" if float(f"{value:g}") == value else f"{value}"


_DEFAULTS = {item.name: item.default for item in fields(SearchConfig)}


def with_shorthands(search: SearchConfig, **given: int) -> SearchConfig:
    """The settings, with those that a command has a shorter option for, as ``--beam 3`` for ``--search.beam 3``.

    Args:
        given: name of a setting -> value; one that is the setting's default says nothing.

    Raises:
        ValueError: a setting has two values, or the whole cannot be (:class:`SearchConfig`).
    """
    set_here = {name: value for name, value in given.items() if value != _DEFAULTS[name]}
    for name, value in set_here.items():
        if (other := getattr(search, name)) not in (value, _DEFAULTS[name]):
            raise ValueError(f"--{name} {value} and --search.{name} {other} are one setting: give it once")
    return replace(search, **set_here)  # type: ignore[arg-type]


def as_usual(search: SearchConfig, usual: SearchConfig | None) -> SearchConfig:
    """What ``search`` asks for, and for the rest the ``usual`` search of a model, where both are of one method."""
    if usual is None or search.method != usual.method or search.greedy:
        return search
    asked = {name: getattr(search, name) for name in _DEFAULTS if search._set(name)}
    return replace(usual, **asked)


def with_candidates(search: SearchConfig) -> SearchConfig:
    """The same search with all that it finds, at most :data:`CANDIDATES`; one that finds a single caption, or
    draws, stays as it is."""
    if search.greedy or search.method == "sample" or search.n_best > 1:
        return search
    found = search.samples if search.method == "mbr" else search.beam
    return replace(search, n_best=min(found, CANDIDATES))
