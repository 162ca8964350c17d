"""Random Lua over the libraries of scripts, cjson, cmsgpack, struct and bit: right and wrong values, formats and texts."""

from __future__ import annotations

import random

# The interpreter keeps what a script sets.
OPTIONS = (
    "cjson.encode_sparse_array(false,2,10) cjson.encode_max_depth(1000) cjson.decode_max_depth(1000) "
    "cjson.encode_number_precision(14) cjson.encode_invalid_numbers(false) cjson.decode_invalid_numbers(true) "
)


class Expressions:
    """Scripts that call the libraries."""

    EDGES = [0, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32 - 1, 2**32, 2**53, 2**63, -1, -32, -33, -128, -129, -32769, -(2**31) - 1, -(2**63)]
    JSON = ["{", "}", "[", "]", ":", ",", '"a"', '"b\\\\n"', "1", "-1.5e3", "true", "false", "null", "nan", "-inf", "0x1F", "01", "+1", ".5", "1.",
            '"\\\\u0041"', '"\\\\ud83d\\\\ude00"', '"\\\\ud800"', '"\\\\x"', '"open', " ", "\\n", "\\0", "tru", '{"a":1}', "[1,2]", "-", "1e"]
    FORMATS = ["b", "B", "h", "H", "l", "L", "T", "i", "I", "f", "d", "x", "s", "c", "c0", "c4", "i3", "I5", "i16", "<", ">", "!", "!4", " ", "i0", "I33", "q", "!3"]

    def __init__(self, chance: random.Random):
        self.chance = chance

    def number(self) -> str:
        roll = self.chance.randrange(6)
        if roll == 0:
            return str(self.chance.choice(self.EDGES))
        if roll == 1:
            return self.chance.choice(["0/0", "1/0", "-1/0", "0.5", "1e-7", "1e100", "1e14", "123456789012345"])
        if roll == 2:
            return repr(self.chance.uniform(-1e20, 1e20))
        if roll == 3:
            return repr(self.chance.uniform(-10, 10))
        return str(self.chance.randrange(-300, 300))

    def text(self) -> str:
        # Keys below 32 bytes: the interpreters hash longer ones differently, and so walk tables in another order.
        roll = self.chance.randrange(4)
        if roll == 0:
            return '"%s"' % ("x" * self.chance.choice([0, 1, 15, 16, 31]))
        if roll == 1:
            return '"%s"' % "".join(f"\\{self.chance.randrange(256)}" for _ in range(self.chance.randrange(1, 6)))
        return '"%s"' % "".join(self.chance.choice("abc{}[]:,0123456789.eE+-tfn/u") for _ in range(self.chance.randrange(1, 8)))

    def value(self, depth: int = 0) -> str:
        roll = self.chance.randrange(10)
        if roll < 3 or depth > 3:
            return self.number()
        if roll < 6:
            return self.text()
        if roll == 6:
            return self.chance.choice(["true", "false", "nil", "cjson.null"])
        if roll < 8:
            return "{%s}" % ",".join(self.value(depth + 1) for _ in range(self.chance.randrange(self.chance.choice([3, 18]))))
        pairs = (f"[{self.text()}]={self.value(depth + 1)}" for _ in range(self.chance.randrange(5)))
        return "{%s}" % ",".join(pairs)

    def values(self, most: int) -> str:
        return ",".join(self.value() for _ in range(self.chance.randrange(most)))

    def bytes(self, most: int) -> str:
        marks = [0x80, 0x81, 0x90, 0x91, 0xA1, 0xC0, 0xC1, 0xCA, 0xCB, 0xCC, 0xCF, 0xD3, 0xD9, 0xDC, 0xDE, 0, 1, 255]
        picks = (self.chance.choice(marks) if self.chance.random() < 0.6 else self.chance.randrange(256) for _ in range(self.chance.randrange(most)))
        return "".join(f"\\{pick}" for pick in picks)

    def format(self) -> str:
        return "".join(self.chance.choice(self.FORMATS) for _ in range(self.chance.randrange(1, 6)))

    def script(self) -> str:
        """One call, behind the options that it depends on."""
        return OPTIONS + self.call()

    def call(self) -> str:
        chance = self.chance
        lenient = "cjson.encode_invalid_numbers(true) "
        return chance.choice(
            [
                lambda: f"return cmsgpack.pack({self.values(4)})",
                lambda: f"return cjson.encode({{cmsgpack.unpack(cmsgpack.pack({self.value()}))}})",
                lambda: lenient + f'return cjson.encode({{cmsgpack.unpack("{self.bytes(14)}")}})',
                lambda: lenient + f'return cjson.encode({{cmsgpack.unpack_one("{self.bytes(14)}"{chance.choice(["", ",1", ",-1", ",9"])})}})',
                lambda: lenient + f'return cjson.encode({{cmsgpack.unpack_limit("{self.bytes(14)}",{chance.choice(["0", "1", "2,1", "-1", "0,0"])})}})',
                lambda: f"return cjson.encode({self.value()})",
                lambda: lenient + 'return cjson.encode(cjson.decode("%s"))' % "".join(chance.choice(self.JSON) for _ in range(chance.randrange(1, 8))).replace('"', '\\"'),
                lambda: f'return struct.pack("{self.format()}"{"".join("," + self.value() for _ in range(chance.randrange(6)))})',
                lambda: lenient + f'return cjson.encode({{struct.unpack("{self.format()}","{self.bytes(30)}"{chance.choice(["", ",2", ",0", ",100", ",-1"])})}})',
                lambda: f'return struct.size("{self.format()}")',
                lambda: f"return bit.{chance.choice('tobit bnot band bor bxor lshift rshift arshift rol ror bswap tohex'.split())}({self.values(4)})",
                lambda: "return {cjson.%s(%s)}"
                % (
                    chance.choice("encode_sparse_array encode_max_depth encode_number_precision encode_keep_buffer encode_invalid_numbers".split()),
                    ",".join(chance.choice(["true", "false", "nil", '"on"', '"null"', "1", "14", "15", "0", "1e10", '"x"', "{}"]) for _ in range(chance.randrange(4))),
                ),
            ]
        )()
