"""data-directory.md and the rules of a reader in log.md: a directory as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from . import Refused, log, manifest, rdb

SUM = 55


@dataclass
class Directory:
    """What a start would load: the keys of the base, then the commands, in order."""

    manifest: manifest.Manifest
    base: rdb.File | None = None
    base_commands: list[log.Command] = field(default_factory=list)
    segments: list[log.Segment] = field(default_factory=list)
    commands: list[log.Command] = field(default_factory=list)
    # What a start would cut from the last segment, and why: (offset, reason).
    torn: tuple[int, str] | None = None
    stock_was_here: bool = False

    @property
    def end(self) -> int:
        return self.segments[-1].end if self.segments else 1

    def durable(self) -> int:
        """The mark: LSN below which the log is known to have been durable."""
        return max((segment.mark for segment in self.segments), default=1)


def read(path: Path, *, dirname: str = "appendonlydir", filename: str = "appendonly.aof") -> Directory:
    """The directory `path` as a start would load it, with `appendonly yes`.

    Raises Refused where a start would refuse.
    """
    home = path / dirname
    listed = home / f"{filename}.manifest"
    if not listed.exists():
        stray = sorted(home.glob(f"{filename}.*")) if home.is_dir() else []
        raise Refused(home, None, "files of a log without a manifest" if stray else "no log")
    found = Directory(manifest.read(listed))
    contents = {}
    for entry in found.manifest.entries:
        if entry.type == "h":
            continue
        if not (home / entry.name).exists():
            raise Refused(home / entry.name, None, "the manifest names it, and it is missing")
        contents[entry.name] = (home / entry.name).read_bytes()
    position = read_base(found, home, contents)
    read_files(found, home, contents, position, filename)
    return found


def read_base(found: Directory, home: Path, contents: dict[str, bytes]) -> rdb.Position | None:
    entry = found.manifest.base()
    if entry is None:
        return None
    path, content = home / entry.name, contents[entry.name]
    identity = found.manifest.base_identity
    if identity and not identity.holds(content):
        raise Refused(path, None, "not the base that the manifest describes")
    if content.startswith(b"REDIS"):
        found.base = rdb.read(path, content)
        found.base_commands = log.stock_commands(path, content, found.base.length, 0, last=False)
        return found.base.position
    position, at = base_position(path, content), 0
    if position:
        at = content.index(b"\r\n") + 2
    end = verified(path, content)
    if end is not None and end < len(content):
        raise Refused(path, end, "bytes behind the last checksum line")
    found.base_commands = log.stock_commands(path, content, at, 0, last=False)
    return position


def verified(path: Path, content: bytes) -> int | None:
    """Where the last checksum line of a base of commands ends, when all of them are right; nothing of a file without them."""
    expected, right, at = content.startswith(b"#GRAVEN-BASE 2 "), 0, 0
    while at < len(content):
        if content[at : at + 1] != b"#":
            read = log.command(content, at, len(content))
            if read is None:
                break
            at = read[1]
            continue
        line = sum_line(content, at)
        if line is None:
            at = content.find(b"\r\n", at) + 2
            if at == 1:
                break
            continue
        expected = True
        total, last = line
        if log.zlib.crc32(content[:at]) != total:
            raise Refused(path, right, "what lies before the next checksum line is not what was written")
        right = at = at + SUM
        if last:
            return at
    if expected:
        raise Refused(path, right, "the last checksum line is missing")
    return None


def sum_line(content: bytes, at: int) -> tuple[int, bool] | None:
    line = content[at : at + SUM]
    fields = line[:-2].split(b" ")
    if len(line) < SUM or not line.startswith(b"#GRAVEN-SUM 1 ") or len(fields) != 6 or not line.endswith(b"\r\n"):
        return None
    _, _, offset, total, kind, crc = fields
    try:
        right = int(offset, 16) == at and int(crc, 16) == log.zlib.crc32(line[:45]) and kind in (b"more", b"last")
        return (int(total, 16), kind == b"last") if right else None
    except ValueError:
        return None


def base_position(path: Path, content: bytes) -> rdb.Position | None:
    line, _, _ = content.partition(b"\r\n")
    if not line.startswith(b"#GRAVEN-BASE "):
        return None
    try:
        _, version, timeline, parent, fork, lsn, crc = line.split(b" ")
        if version not in (b"1", b"2") or int(crc, 16) != log.zlib.crc32(line[: -len(crc) - 1]):
            raise ValueError
        return rdb.Position(timeline.decode(), int(lsn, 16), parent.decode(), int(fork, 16))
    except ValueError:
        raise Refused(path, 0, "the first line does not verify") from None


def read_files(found: Directory, home: Path, contents: dict[str, bytes], position: rdb.Position | None, filename: str) -> None:
    entries = found.manifest.files()
    from_sequence = found.manifest.segments_from
    pieces: list[tuple[Path, bytes, bool]] = []
    for entry in entries:
        path, content = home / entry.name, contents[entry.name]
        ours = log.is_segment(content)
        if from_sequence is not None and entry.seq >= from_sequence and not ours:
            raise Refused(path, 0, "it has lost its header")
        pieces.append((path, content, ours))
    segments = [log.read_segment(path, content) for path, content, ours in pieces if ours]
    segments += unnamed(segments, home, entries, filename)
    links(segments, position)
    db = 0
    for path, content, ours in pieces:
        if not ours:
            last = path == pieces[-1][0] and not segments
            found.commands += log.stock_commands(path, content, 0, 0, last=last)
    for number, segment in enumerate(segments):
        if number + 1 < len(segments):
            behind = segments[number + 1].header
            ends_there(segment, behind)
            found.commands += segment.commands(until=behind.previous_end)
            if behind.first > behind.previous_end:
                found.commands += visit(found, segment)
        else:
            found.commands += segment.commands()
            last_segment(found, segment)
        found.segments.append(segment)


def unnamed(segments: list[log.Segment], home: Path, entries: list[manifest.Entry], filename: str) -> list[log.Segment]:
    """Rule 7: a segment that a crash kept out of the manifest."""
    highest = max((entry.seq for entry in entries), default=0)
    found = []
    for path in home.glob(f"{filename}.*.incr.aof"):
        sequence = path.name[len(filename) + 1 : -len(".incr.aof")]
        if not sequence.isdigit() or int(sequence) <= highest:
            continue
        content = path.read_bytes()
        if not log.is_segment(content):
            raise Refused(path, 0, "a file of the log that the manifest does not name")
        segment = log.read_segment(path, content)
        if segment.frames:
            found.append((int(sequence), segment))
    if not found:
        return []
    (_, segment), *more = sorted(found, key=lambda one: one[0])
    last = segments[-1] if segments else None
    ends = {frame.end for frame in last.frames} | {last.header.first} if last else set()
    if more or last is None or segment.header.previous_end not in ends:
        raise Refused(segment.path, 0, "the manifest is older than the log, or the file is from elsewhere")
    return [segment] if segment.end >= last.end else []


def links(segments: list[log.Segment], position: rdb.Position | None) -> None:
    """Headers that can follow each other, the first one behind the base."""
    if not segments:
        return
    first = segments[0]
    if position is None:
        if first.header.number != 1:
            raise Refused(first.path, 117, "the first segment is not number 1, and no base says where it stands")
    elif first.header.first != position.lsn or position.timeline not in (first.header.timeline, first.header.parent):
        raise Refused(first.path, 134, "the first segment does not begin where the base ends")
    for one, other in zip(segments, segments[1:]):
        if other.header.number != one.header.number + 1:
            raise Refused(other.path, 117, "a segment is missing before it")
        if one.header.timeline not in (other.header.timeline, other.header.parent):
            raise Refused(other.path, 18, "a timeline that has not left that of the segment before")


def ends_there(segment: log.Segment, behind: log.Header) -> None:
    """Rule 4: damage in a segment that is not the last."""
    chains = {frame.end: frame.chain for frame in segment.frames} | {segment.header.first: segment.header.chain}
    if behind.previous_end not in chains:
        raise Refused(segment.path, segment.stop, f"{segment.why or 'it ends too early'}; the next segment begins above")
    if chains[behind.previous_end] != behind.previous_chain:
        raise Refused(segment.path, segment.stop, "the next segment follows another one than this")


def visit(found: Directory, segment: log.Segment) -> list[log.Command]:
    start = log.seam(segment)
    if start is None:
        return []
    found.stock_was_here = True
    segment.unframed = log.stock_commands(segment.path, segment.content, start, 0, last=True)
    return segment.unframed


def last_segment(found: Directory, segment: log.Segment) -> None:
    """Rules 3 and 6 for the segment in which the log ends."""
    closed = found.manifest.closed_at
    if segment.why is None:
        if closed and (segment.end, segment.chain) != closed[:2]:
            raise Refused(segment.path, segment.stop, "the log was closed at another place than it ends at")
    elif stock := visit(found, segment):
        found.commands += stock
        return
    elif closed or segment.mark > segment.end:
        raise Refused(segment.path, segment.stop, f"{segment.why}, at LSN {segment.end} in what was durable")
    else:
        found.torn = (segment.stop, segment.why)
    if segment.mark > segment.end:
        raise Refused(segment.path, segment.stop, f"the log ends at LSN {segment.end}, below its mark at {segment.mark}")
