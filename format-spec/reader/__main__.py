"""`python3 -m reader DIR`, from the directory that holds this one: what a data directory, a segment or an RDB file holds."""

from __future__ import annotations

import sys
from pathlib import Path

from . import Refused, archive, directory, log, rdb


def shown(words: list[bytes]) -> str:
    text = " ".join(ascii(word.decode("latin-1"))[1:-1] for word in words)
    return text if len(text) <= 100 else text[:97] + "..."


def show_segment(segment: log.Segment) -> None:
    header = segment.header
    print(f"{segment.path}: segment {header.number} of timeline {header.timeline}, LSN {header.first} to {segment.end}, durable to {segment.mark}")
    for frame in segment.frames:
        print(f"  frame at {frame.offset:#x}: LSN {frame.lsn}, {frame.length} bytes, database {frame.db}, time {frame.time}")
        for command in segment.commands(until=frame.end):
            if command.lsn >= frame.lsn:
                print(f"    {command.lsn} [{command.db}] {shown(command.words)}")
    for command in segment.unframed:
        print(f"    by stock [{command.db}] {shown(command.words)}")
    print("  sealed" if segment.sealed else f"  ends at {segment.stop:#x}" + (f": {segment.why}" if segment.why else ""))


def show_rdb(path: Path, file: rdb.File) -> None:
    at = f", at LSN {file.position.lsn} of {file.position.timeline}" if file.position else ""
    index = "with an index" if file.indexed else "without an index"
    print(f"{path}: RDB of version {file.version}, {len(file.keys)} keys, {len(file.blocks)} blocks, {index}{at}")
    for key in file.keys:
        until = f" until {key.expiry}" if key.expiry is not None else ""
        print(f"  [{key.db}] {shown([key.name])}: {key.kind}{until} {str(key.value)[:80]}")


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python3 -m reader DIRECTORY | SEGMENT | RDB-FILE", file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    try:
        if path.is_dir():
            found = directory.read(path)
            print(f"{found.manifest.path}: {found.manifest.state or 'written by stock'}")
            if found.base:
                show_rdb(path / "appendonlydir" / found.manifest.base().name, found.base)
            for segment in found.segments:
                show_segment(segment)
            for packed in archive.files(path):
                kind = "base" if packed.type == "b" else "segment"
                print(f"{packed.path}: number {packed.number}, {kind} {packed.original}, {len(packed.content)} bytes, packed {packed.size}")
                held = packed.decoded()
                if isinstance(held, log.Segment):
                    show_segment(held)
                elif held:
                    show_rdb(packed.path, held)
            if found.torn:
                print(f"torn at {found.torn[0]:#x}: {found.torn[1]}")
        elif log.is_segment(content := path.read_bytes()):
            show_segment(log.read_segment(path, content))
        else:
            show_rdb(path, rdb.read(path, content))
    except (Refused, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
