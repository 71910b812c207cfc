"""What the commands do between their options and the library: one file a command."""

MODULES = {"models": "shipped"}
"""Command -> its module, where that cannot have its name: ``stg.models`` is a package."""
