"""Is a word of a caption a noun, a verb or an adjective? Decided in its sentence, by spaCy or by a small lexicon.

The four tags are read off the universal part-of-speech tags: proper names are nouns, auxiliaries ("is", "can") are
verbs, pronouns ("someone"), numbers, adverbs and function words are "other".
"""

from collections.abc import Sequence
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from stg.errors import UserError
from stg.lexicon import ADJECTIVES, BE, FUNCTION, MODALS, NOUNS, PAST, PLURALS, PRONOUNS, VERBS

if TYPE_CHECKING:
    from spacy.language import Language

Tag = Literal["noun", "verb", "adjective", "other"]
TAGS: tuple[Tag, ...] = ("noun", "verb", "adjective", "other")

SETUP = "pip install 'stg-video[words]', then python -m spacy download en_core_web_sm (12 MB)"
_UNIVERSAL: dict[str, Tag] = {"NOUN": "noun", "PROPN": "noun", "VERB": "verb", "AUX": "verb", "ADJ": "adjective"}


@runtime_checkable
class Tagger(Protocol):
    """Tags words in their sentences. Any object of this form can be passed where one is wanted."""

    name: str
    """What a report says of it: the library, the model, their versions."""

    def __call__(self, sentences: Sequence[Sequence[str]]) -> list[list[Tag]]:
        """One tag for each word of each sentence."""
        ...


class SpacyTagger:
    """Tags with a trained spaCy pipeline (`spacy.io`), each sentence by its words as they are already split.

    Nothing is downloaded, and spaCy keeps its weights as msgpack: no pickle is read.

    Args:
        model: name of an installed pipeline or a folder with one; None takes an installed ``en_core_web_*``,
            the small one first.

    Raises:
        UserError: spaCy or the pipeline is missing, or the pipeline does not tag; the text says how to get one.
    """

    def __init__(self, model: str | None = None) -> None:
        if find_spec("spacy") is None:
            raise UserError(f"the spacy tagger needs spaCy: {SETUP}; or take --tagger lexicon")
        name = model or next(iter(installed_pipelines()), None)
        if name is None:
            raise UserError(f"spaCy is here without an English pipeline (en_core_web_*): {SETUP}")
        import spacy

        try:
            self._pipeline: Language = spacy.load(name, exclude=["parser", "ner", "lemmatizer", "senter"])
        except (OSError, ImportError, ValueError) as error:
            raise UserError(f"spaCy cannot load the pipeline {name}: {' '.join(str(error).split())}") from error
        if not {"tagger", "morphologizer"} & set(self._pipeline.pipe_names):
            raise UserError(f"the spaCy pipeline {name} has no tagger, it has {', '.join(self._pipeline.pipe_names)}")
        self.name = f"spaCy {spacy.__version__}, {name} {self._pipeline.meta['version']}"

    def __call__(self, sentences: Sequence[Sequence[str]]) -> list[list[Tag]]:
        """One tag for each word of each sentence."""
        from spacy.tokens import Doc

        documents = (Doc(self._pipeline.vocab, words=list(words)) for words in sentences)
        tagged = self._pipeline.pipe(documents, batch_size=256)
        return [[_UNIVERSAL.get(token.pos_, "other") for token in document] for document in tagged]


def installed_pipelines() -> list[str]:
    """Names of the installed English pipelines of spaCy, the preferred one first; asked without loading spaCy."""
    names = {item.name for item in entry_points(group="spacy_models") if item.name.startswith("en_core_web_")}
    sizes = ("sm", "md", "lg")
    rank = {f"en_core_web_{size}": place for place, size in enumerate(sizes)}
    return sorted(names, key=lambda name: (rank.get(name, len(sizes)), name))


class LexiconTagger:
    """Tags short lower-case English captions from word lists and endings, in context; needs nothing installed.

    Function words, adjectives and nouns that look like verbs are listed. A word in -ing or -ed is a verb; a listed verb
    counts as one where a subject that agrees with it stands before it ("dogs play", "a dog plays", but "a play") or
    after "to" and modals; every other word is a noun. A caption outside these patterns is tagged worse than by spaCy.
    """

    name = "lexicon (word lists and endings; spaCy is better)"

    def __call__(self, sentences: Sequence[Sequence[str]]) -> list[list[Tag]]:
        """One tag for each word of each sentence."""
        return [_tag_sentence(words) for words in sentences]


def _tag_sentence(words: Sequence[str]) -> list[Tag]:
    """Left to right: whether a verb may come depends on what stands before."""
    tags: list[Tag] = []
    finite = False  # has this clause its verb?
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        if word in ("and", "while", "that", "who", "which", "as", "but", "then", "when"):
            finite = False
        tag = _tag_word(word, before, tags[-1] if tags else "other", finite)
        finite = finite or (tag == "verb" and not word.endswith("ing"))
        tags.append(tag)
    return tags


def _tag_word(word: str, before: str, tag_before: Tag, finite: bool) -> Tag:
    if word in BE or word in MODALS:
        return "verb"
    if word in FUNCTION or word in PRONOUNS or not word[:1].isalpha() or (word.endswith("ly") and word not in NOUNS):
        return "adjective" if word in ADJECTIVES else "other"
    if word in ADJECTIVES:
        return "verb" if word in VERBS and (before in MODALS or before == "to") else "adjective"
    if word in NOUNS:
        return "noun"
    if (word.endswith("ing") and len(word) > 4) or (word.endswith("ed") and len(word) > 3):
        return "verb"
    if before in MODALS or before == "to":
        return "verb" if word in VERBS else "noun"
    subject = tag_before == "noun" or before in PRONOUNS
    if word in PAST:
        return "verb" if before in BE or (subject and not finite) else "noun"
    if finite or not (subject or before in ("and", "who", "that", "which", "then")):
        return "noun"
    if _stem(word) in VERBS:
        return "noun" if tag_before == "noun" and _plural(before) else "verb"
    many = _plural(before) or before in ("i", "you", "we", "they", "who", "that", "and", "then")
    return "verb" if word in VERBS and many else "noun"


def _plural(noun: str) -> bool:
    return noun in PLURALS or (noun.endswith("s") and not noun.endswith("ss"))


def _stem(word: str) -> str | None:
    """The verb whose third person this could be: plays -> play, washes -> wash, tries -> try."""
    for ending, instead in (("ies", "y"), ("es", ""), ("s", "")):
        if word.endswith(ending) and word.removesuffix(ending) + instead in VERBS:
            return word.removesuffix(ending) + instead
    return None


def pick_tagger(name: Literal["auto", "spacy", "lexicon"] = "auto", model: str | None = None) -> Tagger:
    """The tagger of that name; auto is spaCy where it and an English pipeline are installed, else the lexicon.

    Args:
        model: spaCy's pipeline; naming one makes auto mean spaCy.

    Raises:
        UserError: spaCy is asked for and cannot run, or a pipeline is named for the lexicon.
    """
    if name == "lexicon":
        if model is not None:
            raise UserError(f"--model {model} names a spaCy pipeline, which --tagger lexicon does not use")
        return LexiconTagger()
    if name == "spacy" or model is not None or (find_spec("spacy") is not None and installed_pipelines()):
        return SpacyTagger(model)
    return LexiconTagger()
