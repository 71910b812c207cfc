"""Is a word of a caption a noun, a verb or an adjective? Decided in its sentence, by spaCy or by a small lexicon.

The four tags are read off the universal part-of-speech tags: proper names are nouns, auxiliaries ("is", "can") are
verbs, pronouns ("someone"), numbers, adverbs and function words are "other".
"""

from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from stg.runtime.errors import UserError

if TYPE_CHECKING:
    from spacy.language import Language


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BE = _words("is are was were be been being am 're 'm 've has have had having does do did n't")

MODALS = _words("can could will would should may might must ca wo 'll 'd does do did")

PRONOUNS = _words(
    """i you he she it we they me him them us someone somebody something anyone anything everyone everything nobody
    nothing who another each others himself herself itself themselves"""
)

FUNCTION = _words(
    """a an the this that these those some any all both more most no not every either half lots
    of in on at by for with without from to 's s into onto over under above below behind beside besides between among
    through across along around about against after before during until till upon near inside outside off out up down
    toward towards away back past per than via like as beneath within throughout atop underneath
    and or but nor so if because while when where how why what which whose then also too very just only even still
    there here again together alone apart aside forward backward backwards forwards upward upwards downward sideways
    fast indoors outdoors upside ahead almost next once twice now
    his her its their our your my one two three four five six seven eight nine ten eleven twelve dozen hundred"""
)

PLURALS = _words("people men women children kids guys police cattle sheep deer teeth feet mice geese folks crowd pair")

ADJECTIVES = _words(
    """big small little large huge tiny tall short long young old new red green blue yellow white black brown pink
    purple orange grey gray golden blonde blond bald dark bright light hot cold warm cool wet dry dirty clean empty
    full open closed heavy soft hard loud quiet happy sad angry funny cute beautiful pretty handsome attractive fat
    thin slim skinny wild wooden plastic electric electronic acoustic musical live dead asleep awake fresh raw ripe
    sharp round square flat deep shallow high low rough smooth thick narrow wide strong weak fancy crazy famous popular
    different same various own military asian african american indian chinese japanese korean british french spanish
    italian german russian mexican professional female male elderly middle-aged bare naked colorful colourful animated
    virtual sunny snowy rainy grassy rocky sandy muddy steep slow quick stuffed fried boiled parked crowded curly ugly
    friendly lonely silly tasty delicious special local public formal traditional modern olympic real fake single blind
    sick injured busy ready nice good bad great best better left right upper lower last final entire whole other many
    much few several first second third underwater polar"""
)

NOUNS = _words(
    """ring king string spring wing swing thing things building buildings ceiling wedding clothing
    evening morning paintings drawings ping pong stocking stockings railing
    bed beds sled shed seed weed reed feed speed breed moped food family families belly fly jelly lily
    bully assembly butterfly ally sibling duckling dumpling pudding viking icing"""
)

PAST = _words(
    """ran sang rode drove threw took gave got made went came saw ate drank fell flew swam sat stood lay slept fought
    held shot won lost met told said spoke wrote drew broke caught cut put hit let shut set spun swung hung dug fed led
    sold bought brought taught kept left began blew grew knew shook slid spread tore wore wrapped done seen taken given
    driven ridden thrown eaten broken written shown torn worn fallen hidden frozen chosen flown grown built"""
)

VERBS = _words(
    """act add aim answer appear apply approach argue arrange arrive ask assemble attach attack attempt bake balance
    bark bathe beat become begin bend bite blend block blow boil bounce bow bowl box break breathe bring brush build
    bump burn bury buy call care carry carve catch celebrate change chase check cheer chew chop clap clean climb close
    coat collect comb combine come compete complain conduct cook cough cover crack crawl cross crouch crush cry cut
    dance decorate demonstrate describe dig dip discuss dive do drag draw dress drill drink drip drive drop drum dry
    eat enjoy enter examine exercise explain explode face fall feed feel fight fill find finish fire fix flip float fly
    fold follow fry gather get give glide go grab grate graze grill grind hand handle hang have heat help hide hit hold
    hop hug hunt imitate inspect interview introduce iron jog juggle jump keep kick kill kiss knead kneel knit knock
    land laugh lay lead lean leap learn leave lecture let lick lie lift light listen load lock look lose lower make
    march measure meet melt milk mix model mop move mow narrate need nod nurse observe offer open operate pack paddle
    paint park pass paste pat pedal peel perform pet pick pin place plant play point poke pose pour practice practise
    praise prepare present press pretend promote pull punch push put race raise reach read record relax remove repair
    rest ride ring rinse rise roast roll row rub run sail salute saw say scoop score scrape scratch scream scrub search
    season see sell separate serve set sew shake share shave shoot shout show shred shut sing sit skate sketch ski skip
    sled sleep slice slide slip smash smell smile smoke snap sniff soak speak spill spin splash split spray spread
    sprinkle squeeze squirt stack stand stare start steal step stick stir stop strain stretch stroke strum study swim
    swing switch take talk tap taste teach tear tease tell test throw tie toss touch train travel trim trip try turn
    twirl twist type unload unwrap use visit wait wake walk wander want wash watch water wave wear weave whip whisk
    whistle win wipe work wrap wrestle write yell zoom"""
)


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
            self._pipeline = _load(name) if model else _load_once(name)
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


def _load(name: str) -> "Language":
    import spacy

    # What tagging does not need is left out, which makes it several times faster.
    return spacy.load(name, exclude=["parser", "ner", "lemmatizer", "senter"])


_load_once = lru_cache(maxsize=1)(_load)
"""An installed pipeline, which takes longer to load than a report to write; a folder may hold another one by now."""


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
        # A new clause may begin, with a verb of its own.
        if word in ("and", "while", "that", "who", "which", "as", "but", "then", "when"):
            finite = False
        tag = _tag_word(word, before, tags[-1] if tags else "other", finite)
        # A participle leaves the clause open: "a man running jumps".
        finite = finite or (tag == "verb" and not word.endswith("ing"))
        tags.append(tag)
    return tags


def _tag_word(word: str, before: str, tag_before: Tag, finite: bool) -> Tag:
    # The order of the rules decides: closed classes, then lists, then endings, and the context at last.
    if word in BE or word in MODALS:
        return "verb"
    if word in FUNCTION or word in PRONOUNS or not word[:1].isalpha() or (word.endswith("ly") and word not in NOUNS):
        return "adjective" if word in ADJECTIVES else "other"
    if word in ADJECTIVES:
        return "verb" if word in VERBS and (before in MODALS or before == "to") else "adjective"
    if word in NOUNS:
        return "noun"
    # Nouns with these endings, such as "building", were caught above.
    if (word.endswith("ing") and len(word) > 4) or (word.endswith("ed") and len(word) > 3):
        return "verb"
    if before in MODALS or before == "to":
        return "verb" if word in VERBS else "noun"
    subject = tag_before == "noun" or before in PRONOUNS
    if word in PAST:
        return "verb" if before in BE or (subject and not finite) else "noun"
    # A clause has one finite verb, behind its subject: a form that could be either is a noun elsewhere.
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
