"""Builds and steers the fault shim from Python tests; the control file's format stands in faults.rs.

    shim = Shim(tmp_path)
    server = subprocess.Popen([...], env=os.environ | shim.environment())
    shim.set("sync delay:10 0 0 .incr.aof", "write enospc 3 0 .incr.aof")
    shim.struck(0)
    shim.set()
"""

import hashlib
import os
import pathlib
import struct
import subprocess
import tempfile

SOURCE = pathlib.Path(__file__).with_name("faults.rs")
CONTROL_BYTES = 4096
LOADED_AT = 8
RULES_AT = 16
COUNTS_AT = 2048


def library(source: pathlib.Path = SOURCE) -> pathlib.Path:
    """A shim, built once for each state of its source."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", SOURCE.parents[2] / "target")) / "tmp"
    target.mkdir(parents=True, exist_ok=True)
    library = target / f"lib{source.stem}-{hashlib.sha1(source.read_bytes()).hexdigest()[:16]}.so"
    if not library.exists():
        building = target / f"lib{source.stem}-{os.getpid()}.py.building"
        command = ["rustc", "--edition", "2024", "--crate-type", "cdylib", "--crate-name", source.stem, "-O", "-o"]
        subprocess.run([*command, building, source], check=True)
        building.rename(library)
    return library


class Shim:
    """One control file; any number of processes can run under it."""

    def __init__(self, directory=None):
        descriptor, self.path = tempfile.mkstemp(prefix="shim-control-", dir=directory)
        self.control = os.fdopen(descriptor, "r+b", buffering=0)
        self.control.truncate(CONTROL_BYTES)

    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(library()), "GRAVEN_SHIM_CONTROL": str(self.path)}

    def set(self, *rules: str) -> None:
        """Sets the rules (`<op> <fault> <first> <times> <path>`) in place of those before; counts start at 0."""
        text = "\n".join(rules).encode() + b"\0"
        if len(text) > COUNTS_AT - RULES_AT:
            raise ValueError("too many rules")
        generation = self._word(0) & ~1
        self._write(0, struct.pack("=Q", generation + 1))
        self._write(RULES_AT, text)
        self._write(COUNTS_AT, bytes(CONTROL_BYTES - COUNTS_AT))
        self._write(0, struct.pack("=Q", generation + 2))

    def loaded(self) -> int:
        """Processes that have loaded the shim."""
        return self._word(LOADED_AT)

    def matched(self, rule: int) -> int:
        """Calls of the kind and path of the rule at this index."""
        return self._word(COUNTS_AT + 16 * rule)

    def struck(self, rule: int) -> int:
        """Calls that the rule at this index struck."""
        return self._word(COUNTS_AT + 16 * rule + 8)

    def _word(self, offset: int) -> int:
        return struct.unpack("=Q", os.pread(self.control.fileno(), 8, offset))[0]

    def _write(self, offset: int, data: bytes) -> None:
        os.pwrite(self.control.fileno(), data, offset)
