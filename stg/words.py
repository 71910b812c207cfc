"""Compare the words of caption files by part of speech, as Fig. 5 of STaTS does (Cherian et al., 2020).

Prints, for each file: the share of verbs, nouns and adjectives, and the most frequent verbs and nouns that are left
when the most frequent words of all kinds ("a", "is", "man") are dropped. Published, for MSR-VTT: ST has 13 verbs among
its 20 words and nearly 27 % verbs, 8 points over TS; TS has 12 nouns among its 20 and 59 % nouns, 10 points over ST.

A caption file is what stg.evaluate writes to RUN/evaluation (COCO results: a list of image_id and caption), an object
{video: caption} or {video: [captions]}, or, named *.jsonl, what stg.caption --json prints. Words are split as the
scores split them.

The paper gives the "total percentage of verbs, nouns, and adjectives in the generated captions". That is read as the
share of all words, each counted every time it occurs; auxiliaries are verbs, proper names nouns, pronouns neither. The
share of the distinct words is printed below it: of the six words of "a man is playing a guitar" two are nouns, so that
the published 59 % are probably of that second kind.
"""

from stg.commands.parser import command
from stg.config.results import WordsConfig


def main(config: WordsConfig) -> int:
    """The command."""
    from stg.commands.words import main as run

    return run(config)


if __name__ == "__main__":
    command("words", WordsConfig, main, __doc__ or "")
