"""A reader of graven's data directory, written from the documents beside it and from nothing else.

It shows that the documents suffice. It needs Python 3.9 and its standard library (to unpack an archive the package zstandard, too), opens files for reading only, and
holds one file in memory at a time; speed is not its aim.
"""


class Refused(Exception):
    """The directory must not be read as if all were well: which file, where in it, and what is wrong."""

    def __init__(self, path, offset, what):
        super().__init__(f"{path}: at byte {offset}: {what}" if offset is not None else f"{path}: {what}")
        self.path, self.offset, self.what = path, offset, what
