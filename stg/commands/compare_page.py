"""The page of ``python -m stg.compare``: the videos that changed most, with their frames."""

from collections.abc import Mapping
from typing import Any

from stg.commands.glimpses import clips_by_id, glimpses, reading
from stg.config.results import CompareConfig
from stg.pages.run.comparison import write_comparison
from stg.runs.fusions import run_settings
from stg.runtime.errors import UserError
from stg.runtime.reporter import Reporter

GLIMPSES = 6
"""Frames of each video on the page."""


def write_report(record: Mapping[str, Any], config: CompareConfig, reporter: Reporter) -> None:
    """Write the page of the videos that changed most.

    Raises:
        UserError: there is one row alone, or no CIDEr.
    """
    if "gains" not in record:
        raise UserError(
            "report shows what changes from one row to another, by CIDEr, and these runs are one row: give runs that "
            "differ in more than their seed"
            if len(record["rows"]) < 2
            else "report ranks videos by CIDEr, which these runs have not"
        )
    settings = run_settings(record["rows"][-1]["runs"][0])
    clips = {} if settings.data.dataset == "world" else clips_by_id(config.clips, False, reporter)
    with reading(GLIMPSES, config.time_limit) as readers:
        pictures = glimpses(settings, clips, GLIMPSES, readers, reporter)
        page = write_comparison(str(config.report), record, pictures=pictures)
    reporter.say(f"written: {page}")
