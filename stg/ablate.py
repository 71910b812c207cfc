"""Train and score the rows of an ablation table over several seeds.

`ablate pan3` takes a table of a paper; --variants, --decoders or --branches make a grid of one's own.

Tables: pan3 (Pan et al., Table 3), stats1 and stats2 (STaTS, Tables 1 and 2), vatex1 (Chen et al., Table 1), graph (the
object branch alone, edge by edge), graph2 (the decoder that attends to scene and graph, mechanism by mechanism),
distillation (what a scene branch learns from that decoder), families (the models of all three papers, trained alike).
A grid instead: --variants full,spatial,none --decoders transformer,stats --branches full,object (any of the three).
Each row differs in one setting from another row (its reference); all other settings are those of stg.fit, the same for
all rows: --config PRESET, --optim.epochs 10, ...

Every cell (row and seed) is an ordinary run in OUT/cells. The same command resumes where it stopped, cell by cell;
several processes, started by hand or under torchrun, share the cells between them. After each cell the report is
written: OUT/table.md, OUT/table.json and OUT/table.svg.
"""

from stg.ablation.config import AblateConfig
from stg.commands.parser import command


def main(config: AblateConfig) -> int:
    """The command."""
    from stg.commands.ablate import main as run

    return run(config)


if __name__ == "__main__":
    command("ablate", AblateConfig, main, __doc__ or "", resumes=True)
