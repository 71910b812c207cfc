"""Turn features that others have extracted into a store of object graphs.

DESCRIPTION is a JSON or YAML file that says what made the features, where they lie (a folder of .npy or .npz files, or
one HDF5 file), how wide they are, and which frames they belong to. Videos that are in the store already are not stored
again, but compared: STORE.sources.jsonl has the hash of what each video was made from, and features that have changed
since then are an error. Videos whose features cannot be used are listed in STORE.skipped.jsonl with the reason.
"""

from stg.commands.parser import command
from stg.config.extraction import ImportConfig


def main(config: ImportConfig) -> int:
    """The command."""
    from stg.commands.import_features import main as run

    return run(config)


if __name__ == "__main__":
    command("import_features", ImportConfig, main, __doc__ or "", resumes=True)
