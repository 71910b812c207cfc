"""What a manual holds, and short texts of options that several commands share."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Manual:
    """The examples and the common options of a command."""

    name: str
    """Of the command, as ``python -m stg NAME`` takes it."""
    examples: tuple[tuple[str, str], ...]
    """What stands behind the name of the command, and what that does."""
    groups: Mapping[str, str]
    """Heading -> the names of its options, commonest first, with blanks between them."""
    briefs: Mapping[str, str] = field(default_factory=dict)
    """Name of an option -> what ``--help`` says of it, where neither `BRIEFS` nor its first sentence will do."""

    @property
    def common(self) -> list[str]:
        """The names of all options that ``--help`` shows."""
        return [name for names in self.groups.values() for name in names.split()]

    def brief(self, name: str) -> str | None:
        """What ``--help`` says of an option; None: its first sentence."""
        return self.briefs.get(name) or BRIEFS.get(name)


BRIEFS = {
    "clips": "Video files or folders; put -- before names that start with -.",
    "config": "YAML file of options, or a preset: --config help lists them.",
    "data.dataset": "world (built in), msvd, msrvtt, vatex, or folder: clips of your own.",
    "data.more": "More data sets to learn from: msvd:/data/msvd, several with commas.",
    "data.root": "Folder of the annotation files.",
    "data.store": "Store of the graphs, as stg.extract makes it; the world makes its own.",
    "device": "auto (a GPU where there is one), cpu, cuda, cuda:1, mps.",
    "graph.variant": "Edges: full, spatial, temporal, dense, none; tracks, full+tracks.",
    "meteor": "Score by METEOR, too; needs Java.",
    "optim.epochs": "Most passes over the training videos.",
    "optim.lr": "Step size.",
    "optim.patience": "Stop after so many epochs without a better validation score.",
    "root": "Folder of the annotation files, if they have moved.",
    "run.device": "auto (a GPU where there is one), cpu, cuda, cuda:1, mps.",
    "search.method": "greedy, beam, diverse, sample, or mbr (most like many draws).",
    "search.temperature": "sample, mbr: below 1, likely words become likelier.",
    "search.max_length": "Most words of a caption.",
    "seeds": "Seeds of every row, with commas.",
    "split": "val, test or train. Choose on val; use test once.",
    "store": "Graph store in place of the one that the run was trained with.",
    "strict": "Refuse to write on a network file system, instead of warning.",
    "time_limit": "Seconds to wait for one clip before it is given up.",
    "videos": "Video files or folders; put -- before names that start with -.",
    "weights": "Folder with the networks that made the training features.",
    "workers": "Processes that decode clips.",
}
"""Name of an option, of whatever command -> what ``--help`` says of it."""
