"""Differential testing: random sequences of commands on graven and on stock redis-server, side by side.

    families/*.txt   what may be sent: one line per command form, grammar in `grammar.py`
    values.py        the kinds of arguments, edges included
    lua.py           scripts over cjson, cmsgpack, struct and bit
    grammar.py       lines to forms, forms to random commands, right ones and wrong ones
    sequence.py      sequences: settings, steps of one or several connections, transactions, scripts
    wire.py          both servers' sockets, pipelined; replies as plain tuples
    compare.py       when two replies are equal, by command; what differs on purpose
    play.py          plays a sequence on both servers and says what differed first
    turns.py         the same for several connections: what blocks, what is pushed, who may do what
    shrink.py        makes a failing sequence small
    __main__.py      the long run by hand: python3 -m differential --commands 1000000

A sequence is a function of its seed and of the grammar, so a seed repeats a failure as long as the grammar is the same.
"""
