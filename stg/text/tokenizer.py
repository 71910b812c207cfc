"""Words of a caption as the Java tokenizer of the COCO evaluation code splits them, without Java."""

import re
from collections.abc import Iterator, Mapping, Sequence

PUNCTUATION = frozenset({"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"})
"""Tokens that the COCO code drops. Its list names -LRB- and its kin too, but in capitals, and its tokens are lower
case: brackets therefore count as words in every published score, and count here."""


# Letters and signs as a lexer of 2014 knows them; its tables end at U+FFFF. The groups are atomic: a letter that could
# be taken in two ways would make the search exponential.
_L = (
    r"(?>[A-Za-z\u02c2-\u036f\u0483-\u0487\u0591-\u05bd\u0900-\u094f]|&[AEIOUaeiou](?:acute|grave|uml);"
    r"|[^\W\d_\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2080-\u2089\u2150-\u2182\u2460-\u24ff\u2776-\u2793])"
)

_C = rf"(?>{_L}|\d)"

_SIGN = (
    r"[$%&+<>=@\\/^|~\u00a1\u00a5-\u00a9\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bf\u00d7\u00f7\u037e\u0387\u0589"
    r"\u060c\u061b\u061f\u2016\u2017\u201a\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u2070\u2074-\u207e"
    r"\u2080-\u208e\u20a4\u2100\u2101\u2103-\u2106\u2108\u2109\u2114\u2116-\u2118\u211e-\u2123\u2125\u2127\u2129\u212e"
    r"\u213a\u213b\u2140-\u2144\u214a-\u214d\u214f\u2155-\u215e\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uff0f"
    r"\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0\uffe1\uffe5\uffe6]"
)

_A = r"['\u2019]"

_H = r"[-\u058a\u2010\u2011]"

_REDUCED = rf"{_A}(?:[sSmMdD]|ll|LL|re|RE|ve|VE|Ll|Re|Ve)(?![A-Za-z])"

_ELIDED = rf"[dDoOlLnN]{_A}{_C}"

_WORD = rf"{_L}{_C}*(?:[.!?]{_L}{_C}*)*"

_THING = rf"(?:{_ELIDED})?{_C}+(?:(?:{_H}|_)(?:{_ELIDED})?{_C}+)*"


# Abbreviations that keep their full stop: always, only with a capital, and only before a number.
_ABBREVIATIONS = """
    adj adm adv al ala alex apr ariz assn assoc asst attys? aug ave bancorp bhd bldg blvd brig bros calif capt cf
    cie cmdr co col colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft
    ga gen govs? hon inc ind insp intl invt jan jos jr jul jun kans? ky lieut lt ltd maj mar md messrs mfg mich minn
    mlle mme mo mont? mrs? ms msgr mt mtg natl neb nev nov oct okla penn pfc ph plc pp?t[ey]s? pres profs? pvt rd
    reps? rev rt sens? sept? seq sfc sgt spc sq sr st ste supts? sys tel tenn thu thurs treas tues? univ va vs vt
    wed wisc? wm wyo
"""

_CAPITAL_ABBREVIATIONS = (
    "A(?i:rk) A(?i:z) D(?i:el) I(?i:ll) L(?i:a) M(?i:ass) M(?i:iss) O(?i:re) P(?i:a) T(?i:ex) W(?i:ash)"
)

_NUMBER_ABBREVIATIONS = "art ca figs? nos? op pp prop"

_SENTENCE_STARTS = """
    A About According Additionally After An As At But Earlier He Her Here However If In It Last Many More Now Once
    One Other Our She Since So Some Such That The Their Then There These They This We What When While Yet You
"""


def _any(words: str) -> str:
    return "|".join(words.split())


# The lexer takes the longest match, the context behind a token counted in, and the first rule of equally long ones.
# Group 1 is the token where it is not the whole match.
_RULES = tuple(
    re.compile(pattern)
    for pattern in (
        r"<!--.*?-->|<[!?/]?[A-Za-z_][\w.:-]*(?: +[A-Za-z_][\w.:-]*(?: *= *(?:'[^']*'|\"[^\"]*\"))?)* *[/?]?>",
        r"(?i:&(?:amp|lt|gt);)|&#\d+;",
        r"-(?i:[lr][rcs]b)-",
        rf"({_L}+)[nN][`'\u2019][tT]",
        r"[nN][`'\u2019][tT]",
        rf"({_A}[tT])(?i:is|was)",
        r"(?i:(can(?=not)|gon(?=na)|got(?=ta)|wan(?=na)|lem(?=me)|gim(?=me))(?:not|na|ta|me))",
        rf"({_WORD}|{_THING}){_REDUCED}",
        _REDUCED,
        rf"{_A}[nN]{_A}|{_A}\d\d(?![^ ])|{_A}(?i:n|em|till?|cause|[2-9]0s)(?![A-Za-z0-9])",
        rf"(?i:[eo]{_A}er|ne{_A}er|li{_A}l|ol{_A}|ev{_A}ry)",
        rf"(?i:ma{_A}am|o{_A}clock|c{_A}mon|c{_A}est|s{_A}mores|nor{_A}easter|qu{_A}il){_L}*",
        rf"[LlJjYy]{_A}(?={_L})|[Dd]{_A}",
        r"(?i:https?://)[^\s\"<>|()]+\.[^\s\"<>|()]*[^\s\"<>|().,!?;:'\u2019-]",
        r"(?i:www)\.[^\s\"<>|()]*[^\s\"<>|().,!?;:/'\u2019-]",
        rf"(?:{_C}{{2,}}\.)+(?i:com|net|org|edu)(?:/[^\s\"<>|()]*[^\s\"<>|().,!?;:-])?",
        r"[A-Za-z0-9][^\s\"<>|()]*@(?:[^\s\"<>|().]+\.)*[^\s\"<>|().]+",
        r"<[A-Za-z0-9][^\s\"<>|()]*@(?:[^\s\"<>|().]+\.)*[^\s\"<>|().]+>",
        rf"@[A-Za-z_]\w*|#{_L}+",
        _WORD,
        _THING,
        rf"{_C}+(?:[.,]{_C}+)*\.?(?:{_H}(?:{_ELIDED})?{_C}+)+",
        r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}",
        r"[-+]?(?:\d*(?:[.:,]\d+)+|\d+)",
        r"\d{1,4}[- ]\d{1,4}/\d{1,4}",
        r"(?:\(\d{2,3}\) ?|\+{0,2}(?:\d{2,4}[- ])?\d{2,4}[- ])\d{3,4}[- ]?\d{3,5}",
        rf"({_C}+\.)[,;:]",
        rf"({_L})\. (?:{_any(_SENTENCE_STARTS)})(?![^ ])",
        rf"[A-Za-z](?:\.[A-Za-z])*\.|(?i:{_any(_ABBREVIATIONS)})\.|(?:{_any(_CAPITAL_ABBREVIATIONS)})\.",
        r"(?i:ph|ed)\.[dD]\.",
        rf"((?i:{_any(_NUMBER_ABBREVIATIONS)})\.) ?\d",
        r"[cC]\+\+|[cCfF]#|[A-Z]+&(?:amp;)?[A-Z]+|[A-Z]+\$",
        r"[<>]?[:;=][-o'*]?[()DPdpO\\{@|\[\]](?![A-Za-z0-9])",
        r"\(?[-^<>=~]_[-^<>=~]\)?|\(\^\^\)",
        r"''|``|<<|>>|@@|[!?]{2,}|-{2,}|_+|#+|\*+|\.{3,5}|(?:\. ){2,4}\.",
        r"[][(){}]",
        _SIGN,
        r"[\u00a2\u00a3\u00a4\u00bc-\u00be\u2153\u2154\u20a0\u20ac\u0080]",
    )
)

_WRITTEN = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
    "\u00a2": "cents", "\u00a3": "#", "\u00a4": "$", "\u20a0": "$", "\u20ac": "$", "\u0080": "$",
    "\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3",
    "&lt;": "<", "&gt;": ">", "&amp;": "&",
}  # fmt: skip

_ONE_CHARACTER = str.maketrans({"\u0091": "`", "\u0092": "'", "\u201b": "`", "\u00ad": None})

_REWRITTEN = (
    (re.compile("&apos;", re.IGNORECASE), "'"),
    (re.compile("&quot;", re.IGNORECASE), '"'),
    (re.compile("&[mn]dash;", re.IGNORECASE), "\u2014"),
    (re.compile("&nbsp;", re.IGNORECASE), " "),
    (re.compile(r"\s"), " "),
    (re.compile("[^\0-\uffff]"), "\uffff"),
)

_SPLIT = frozenset({"cannot", "gonna", "gotta", "wanna", "lemme", "gimme"})

REACH = 1000
"""Longest token in characters: a rule that looks further at every place would take quadratic time."""

_PLAIN = re.compile(r"[a-z ]*")

_PLAIN_WORD = re.compile(r"[a-z]{2,}(?= |$)")


def tokenize(caption: str) -> list[str]:
    """Split a caption into lower-case words, punctuation dropped, as the COCO evaluation code does.

    Behaves as ``PTBTokenizer -preserveLines -lowerCase`` of Stanford CoreNLP 3.4.1 followed by the list of dropped
    tokens in pycocoevalcap (Chen et al. 2015, arXiv:1504.00325). Written from recorded outputs of that program, and
    tested against them: equal on all captions of MSVD and of MSR-VTT's test split, and on about a thousand recorded
    cases.

    Departures, each on purpose or never seen in a caption:
        - every white-space character counts as one space. The Java program ends a *line* at CR, VT, FF, U+2028 and
          U+2029, after which all later captions are compared with the wrong videos, and takes NEL for an ellipsis;
        - a caption is read alone. Java reads one word into the next one to decide whether ``vitamin c.`` ends there;
        - characters above U+FFFF (emoji) are dropped, as in Java; a few hundred rare letters and signs added to Unicode
          since 2014, or that Java's tables lack, are kept here;
        - tokens of more than `REACH` characters (comments, addresses) are cut there;
        - soups of quotation marks, unusual phone numbers, faces, web addresses that end in a sign, and two words glued
          by an abbreviation's full stop may be split elsewhere than in Java: about 2 in 100 *random* strings made of
          such pieces.

    Args:
        caption: any text; an empty one gives no words.

    Returns:
        the words. One may hold a no-break space (``"2 1/2"``), as in Java.
    """
    if _PLAIN.fullmatch(caption):
        words = caption.split()
        if _SPLIT.isdisjoint(words):
            return words
    return [word for word in map(_written, _tokens(caption)) if word not in PUNCTUATION]


def tokenize_captions(captions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Tokenise the captions of each video; each becomes one string of words with single spaces, in the same order."""
    return {video: [" ".join(tokenize(caption)) for caption in texts] for video, texts in captions.items()}


def _tokens(caption: str) -> Iterator[str]:
    """Longest match at each place; what no rule takes is skipped."""
    text = caption.translate(_ONE_CHARACTER)
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    place = 0
    while place < len(text):
        plain = _PLAIN_WORD.match(text, place)
        # Nearly every word of a caption: one quick look instead of all rules.
        if plain and plain[0] not in _SPLIT:
            yield plain[0]
            place = plain.end() + 1
            continue
        length, token = 0, ""
        # Only a longer match replaces one: among equally long ones the first rule wins, as in the lexer.
        for rule in _RULES:
            found = rule.match(text, place, place + REACH)
            if found and found.end() - place > length:
                length, token = found.end() - place, found[found.lastindex or 0]
        if token:
            yield token
        # By the token and not by the match, whose context belongs to the next token.
        place += len(token) or 1


def _written(token: str) -> str:
    """A token as the lexer prints it: brackets by name, fractions and money in ASCII, lower case."""
    if not token.strip(".- "):
        return token if token.startswith("-----") else "--"
    if "@" not in token and "/" not in token:
        token = token.replace("\u2019", "'")
    token = _WRITTEN.get(token, token).replace(" ", "\u00a0").replace("(", "-lrb-").replace(")", "-rrb-").lower()
    return _WRITTEN.get(token, token)
