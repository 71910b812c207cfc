"""Ask captioners and video language models who does what to whom, and in which order; score their answers.

`bench export DIR` makes clips of the built-in world with captions and questions; nothing is downloaded. Each question
comes with a twin on a clip that differs in one thing alone: played in reverse, actor and target exchanged, colours
exchanged. Text and choices of the two are the same, their answers differ: who sees no clip is right by chance, and who
sees frames without their order is right in one of two that are each other's reverse.

Any model can be scored. It reads DIR/questions.jsonl and DIR/clips, and writes a line for each question it answers,
`{"id": "order-00012", "choice": 0}` or `{"id": "order-00012", "scores": [-3.1, -5.7]}` (the larger the likelier); or
captions, `{"video": "clip-00007", "caption": "a red star pushes a blue circle"}`. Then `bench score DIR FILE` prints
accuracy by kind with its interval, how often both twins are right, and whether the answers to a clip and to its
reverse differ as they should, as a row in Markdown; --report writes a page.

`bench ask DIR --model FOLDER` asks a model of transformers that sees pictures; --endpoint asks one over HTTP;
--requests and --replies are files for one that runs elsewhere. Answers go to answers.jsonl; the same command asks what
is missing.
`bench run DIR RUN` lets a run of stg.fit, or a captioner, answer by the likelihood of each choice, and caption clips.
`bench balance DIR` shows that the text of the questions does not answer them, nor, of those that need time, a frame.
`bench prompt DIR` writes the graph of each clip as text, for a model that sees no pictures.
"""

from stg.commands.parser import command
from stg.config.bench import BenchConfig


def main(config: BenchConfig) -> int:
    """The command."""
    from stg.commands.bench import main as run

    return run(config)


if __name__ == "__main__":
    command("bench", BenchConfig, main, __doc__ or "")
