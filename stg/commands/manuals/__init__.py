"""What the help of each command begins with: two examples, and the options that most users need, commonest first.

Plain data, two levels deep, so that pages of a site can be made of it as well as ``--help``. All options that are not
named here are rare: ``--help_all`` shows them, under the headings of their settings. `stg.commands.manual_pages` puts
this together with the parsers.
"""

from stg.commands.manuals.captions import CAPTIONS
from stg.commands.manuals.manual import BRIEFS, Manual
from stg.commands.manuals.studies import STUDIES

MANUALS = CAPTIONS | STUDIES
"""Name of the class of a command's settings -> its manual, in the order of ``python -m stg``."""

__all__ = ["BRIEFS", "MANUALS", "Manual"]
