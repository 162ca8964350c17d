//! Lists, in both encodings.

use super::support::{check, check_with};
use crate::value::Limits;

/// Runs a script with lists of one piece and with lists of many.
fn check_both(script: &str) {
    check(script);
    check_with(Limits { list_max_listpack_size: 1, ..Limits::default() }, script);
    check_with(Limits { list_max_listpack_size: 3, ..Limits::default() }, script);
}

#[test]
fn ends() {
    check_both(
        r#"
        RPUSH l a b c => :3
        @log          => RPUSH l a b c
        @events       => list:rpush:l
        LPUSH l z y   => :5
        LRANGE l 0 -1 => [y, z, a, b, c]
        LPUSHX l x    => :6
        RPUSHX l d    => :7
        @events       => list:rpush:l
        LPUSHX none x => :0
        @log          => -
        RPUSHX none x => :0
        LLEN l        => :7
        LLEN none     => :0
        LPOP l        => x
        @log          => LPOP l
        @events       => list:lpop:l
        RPOP l        => d
        @events       => list:rpop:l
        LPOP l 2      => [y, z]
        @log          => LPOP l 2
        @events       => list:lpop:l
        RPOP l 0      => []
        @log          => -
        LPOP none     => nil
        LPOP none 2   => nil
        LPOP none 0   => nil
        LPOP l -1     => -ERR value is out of range, must be positive
        LPOP l x      => -ERR value is out of range, must be positive
        LPOP l 1 2    => -ERR wrong number of arguments for 'lpop' command
        RPOP l 1 2    => -ERR wrong number of arguments for 'rpop' command
        RPOP l 9      => [c, b, a]
        @log          => RPOP l 9
        @events       => list:rpop:l generic:del:l
        EXISTS l      => :0
        LPUSH l       => -ERR wrong number of arguments for 'lpush' command
        SET s 1       => +OK
        LPUSH s a     => -WRONGTYPE Operation against a key holding the wrong kind of value
        RPUSHX s a    => -WRONGTYPE Operation against a key holding the wrong kind of value
        LLEN s        => -WRONGTYPE Operation against a key holding the wrong kind of value
        LPOP s        => -WRONGTYPE Operation against a key holding the wrong kind of value
        LPOP s 0      => -WRONGTYPE Operation against a key holding the wrong kind of value
        @resp3
        LPOP none     => nil
        LPOP none 2   => nil
        RPUSH l 1 2 3 => :3
        LPOP l 5      => [1, 2, 3]
        "#,
    );
}

#[test]
fn by_index() {
    check_both(
        r#"
        RPUSH l a b c d e => :5
        LINDEX l 0        => a
        LINDEX l -1       => e
        LINDEX l 5        => nil
        LINDEX l -6       => nil
        LINDEX l x        => -ERR value is not an integer or out of range
        LINDEX none x     => nil
        LINDEX none 0     => nil
        SET s 1           => +OK
        LINDEX s x        => -WRONGTYPE Operation against a key holding the wrong kind of value
        LRANGE l 1 3      => [b, c, d]
        LRANGE l -2 -1    => [d, e]
        LRANGE l -100 100 => [a, b, c, d, e]
        LRANGE l 3 1      => []
        LRANGE l 5 9      => []
        LRANGE none 0 -1  => []
        LRANGE none 0 x   => -ERR value is not an integer or out of range
        LRANGE l 0 x      => -ERR value is not an integer or out of range
        LRANGE s 0 -1     => -WRONGTYPE Operation against a key holding the wrong kind of value
        LSET l 1 B        => +OK
        @log              => LSET l 1 B
        @events           => list:lset:l
        LSET l -1 E       => +OK
        LSET l 5 x        => -ERR index out of range
        @log              => -
        LSET l x y        => -ERR value is not an integer or out of range
        LSET none 0 a     => -ERR no such key
        LSET none x a     => -ERR no such key
        LSET s 0 a        => -WRONGTYPE Operation against a key holding the wrong kind of value
        LRANGE l 0 -1     => [a, B, c, d, E]
        LTRIM l 1 -2      => +OK
        @log              => LTRIM l 1 -2
        @events           => list:ltrim:l
        LRANGE l 0 -1     => [B, c, d]
        LTRIM l 0 -1      => +OK
        @log              => -
        @events           => list:ltrim:l
        LTRIM l x 1       => -ERR value is not an integer or out of range
        LTRIM none 0 1    => +OK
        @log              => -
        @events           =>
        LTRIM s 0 1       => -WRONGTYPE Operation against a key holding the wrong kind of value
        LTRIM l 5 9       => +OK
        @log              => LTRIM l 5 9
        @events           => list:ltrim:l generic:del:l
        EXISTS l          => :0
        "#,
    );
}

#[test]
fn by_value() {
    check_both(
        r#"
        RPUSH l a b c a b c a   => :7
        LINSERT l BEFORE b x    => :8
        @log                    => LINSERT l BEFORE b x
        @events                 => list:linsert:l
        LINSERT l after c y     => :9
        LINSERT l AFTER none y  => :-1
        @log                    => -
        LINSERT none BEFORE a b => :0
        LINSERT l between a b   => -ERR syntax error
        SET s 1                 => +OK
        LINSERT s BEFORE a b    => -WRONGTYPE Operation against a key holding the wrong kind of value
        LRANGE l 0 -1           => [a, x, b, c, y, a, b, c, a]
        LREM l 1 a              => :1
        @log                    => LREM l 1 a
        @events                 => list:lrem:l
        LREM l -1 b             => :1
        LREM l 0 c              => :2
        LREM l 0 none           => :0
        @log                    => -
        LREM none 0 a           => :0
        LREM s 0 a              => -WRONGTYPE Operation against a key holding the wrong kind of value
        LREM l x a              => -ERR value is not an integer or out of range
        LRANGE l 0 -1           => [x, b, y, a, a]
        LREM l -5 a             => :2
        LREM l 0 x              => :1
        LREM l 0 b              => :1
        LREM l 0 y              => :1
        @events                 => list:lrem:l generic:del:l
        EXISTS l                => :0
        "#,
    );
}

#[test]
fn positions() {
    check_both(
        r#"
        RPUSH l a b c 1 2 3 c c            => :8
        LPOS l c                           => :2
        LPOS l c RANK 2                    => :6
        LPOS l c RANK -1                   => :7
        LPOS l c RANK 5                    => nil
        LPOS l c COUNT 0                   => [:2, :6, :7]
        LPOS l c COUNT 2                   => [:2, :6]
        LPOS l c COUNT 2 RANK -1           => [:7, :6]
        LPOS l c RANK -2 COUNT 0           => [:6, :2]
        LPOS l c COUNT 0 MAXLEN 3          => [:2]
        LPOS l c COUNT 0 MAXLEN 2          => []
        LPOS l c RANK -1 COUNT 0 MAXLEN 1  => [:7]
        LPOS l c MAXLEN 0                  => :2
        LPOS l 2                           => :4
        LPOS l none                        => nil
        LPOS l none COUNT 0                => []
        LPOS none c                        => nil
        LPOS none c COUNT 1                => []
        LPOS l c RANK 0                    => -ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list
        LPOS l c RANK x                    => -ERR value is not an integer or out of range
        LPOS l c COUNT -1                  => -ERR COUNT can't be negative
        LPOS l c COUNT x                   => -ERR COUNT can't be negative
        LPOS l c MAXLEN -1                 => -ERR MAXLEN can't be negative
        LPOS l c RANK                      => -ERR syntax error
        LPOS l c FOO 1                     => -ERR syntax error
        LPOS l c RANK 1 RANK 2             => :6
        SET s 1                            => +OK
        LPOS s c                           => -WRONGTYPE Operation against a key holding the wrong kind of value
        LPOS s c RANK 0                    => -ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list
        LPOS l c RANK -9223372036854775808 => -ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
        "#,
    );
}

#[test]
fn moves() {
    check_both(
        r#"
        RPUSH a 1 2 3            => :3
        LMOVE a b LEFT RIGHT     => 1
        @log                     => LMOVE a b LEFT RIGHT
        @events                  => list:rpush:b list:lpop:a
        LMOVE a b right left     => 3
        @events                  => list:lpush:b list:rpop:a
        RPOPLPUSH a b            => 2
        @log                     => RPOPLPUSH a b
        @events                  => list:lpush:b list:rpop:a generic:del:a
        EXISTS a                 => :0
        LRANGE b 0 -1            => [2, 3, 1]
        LMOVE b b LEFT RIGHT     => 2
        @log                     => LMOVE b b LEFT RIGHT
        @events                  => list:rpush:b list:lpop:b
        LMOVE b b LEFT LEFT      => 3
        LRANGE b 0 -1            => [3, 1, 2]
        LMOVE none b LEFT RIGHT  => nil
        @log                     => -
        RPOPLPUSH none b         => nil
        SET s 1                  => +OK
        LMOVE b s LEFT RIGHT     => -WRONGTYPE Operation against a key holding the wrong kind of value
        @log                     => -
        LMOVE s b LEFT RIGHT     => -WRONGTYPE Operation against a key holding the wrong kind of value
        LMOVE none s LEFT RIGHT  => nil
        LMOVE b c UP LEFT        => -ERR syntax error
        LMOVE b c LEFT DOWN      => -ERR syntax error
        RPOPLPUSH b s            => -WRONGTYPE Operation against a key holding the wrong kind of value
        LRANGE b 0 -1            => [3, 1, 2]
        RPUSH one x              => :1
        LMOVE one one RIGHT LEFT => x
        @events                  => list:lpush:one list:rpop:one
        LRANGE one 0 -1          => [x]
        "#,
    );
}

#[test]
fn first_of_several() {
    check_both(
        r#"
        RPUSH a 1 2 3                  => :3
        RPUSH b 4 5                    => :2
        LMPOP 2 none a LEFT            => [a, [1]]
        @log                           => LPOP a 1
        @events                        => list:lpop:a
        LMPOP 2 none a RIGHT COUNT 10  => [a, [3, 2]]
        @log                           => RPOP a 2
        @events                        => list:rpop:a generic:del:a
        LMPOP 1 none LEFT              => nil
        @log                           => -
        LMPOP 2 a b left count 1       => [b, [4]]
        LMPOP 0 a LEFT                 => -ERR numkeys should be greater than 0
        LMPOP x a LEFT                 => -ERR numkeys should be greater than 0
        LMPOP -1 a LEFT                => -ERR numkeys should be greater than 0
        LMPOP 3 a b LEFT               => -ERR syntax error
        LMPOP 2 a b                    => -ERR syntax error
        LMPOP 1 b LEFT COUNT 0         => -ERR count should be greater than 0
        LMPOP 1 b LEFT COUNT x         => -ERR count should be greater than 0
        LMPOP 1 b LEFT COUNT -1        => -ERR count should be greater than 0
        LMPOP 1 b UP                   => -ERR syntax error
        LMPOP 1 b LEFT COUNT           => -ERR syntax error
        LMPOP 1 b LEFT COUNT 1 COUNT 1 => -ERR syntax error
        LMPOP 1 b LEFT FOO 1           => -ERR syntax error
        SET s 1                        => +OK
        LMPOP 2 none s LEFT            => -WRONGTYPE Operation against a key holding the wrong kind of value
        LMPOP 2 b s LEFT               => [b, [5]]
        LMPOP 2 b s LEFT               => -WRONGTYPE Operation against a key holding the wrong kind of value
        @resp3
        LMPOP 1 none LEFT              => nil
        "#,
    );
}

#[test]
fn waiting() {
    check_both(
        r#"
        RPUSH a 1 2                     => :2
        RPUSH b 3                       => :1
        BLPOP none a b 0                => [a, 1]
        @log                            => LPOP a
        @events                         => list:lpop:a
        BRPOP b a 0.5                   => [b, 3]
        @log                            => RPOP b
        BRPOP a 0                       => [a, 2]
        @events                         => list:rpop:a generic:del:a
        BLPOP a 0                       => +BLOCKED
        BLPOP a b 1                     => +BLOCKED
        BLPOP a -1                      => -ERR timeout is negative
        BLPOP a x                       => -ERR timeout is not a float or out of range
        BLPOP a inf                     => -ERR timeout is out of range
        SET s 1                         => +OK
        BLPOP none s 0                  => -WRONGTYPE Operation against a key holding the wrong kind of value
        BLPOP s -1                      => -ERR timeout is negative
        BLMPOP 0 1 none LEFT            => +BLOCKED
        BLMPOP x 1 a LEFT               => -ERR timeout is not a float or out of range
        BLMPOP -1 1 a LEFT              => -ERR timeout is negative
        BLMPOP 0 0 a LEFT               => -ERR numkeys should be greater than 0
        BLMPOP 0 1 a UP                 => -ERR syntax error
        RPUSH a 1 2 3                   => :3
        BLMPOP 0 2 none a RIGHT COUNT 2 => [a, [3, 2]]
        @log                            => RPOP a 2
        @events                         => list:rpop:a
        BLMOVE a b LEFT RIGHT 0         => 1
        @log                            => LMOVE a b LEFT RIGHT
        @events                         => list:rpush:b list:lpop:a generic:del:a
        RPUSH a 1                       => :1
        BRPOPLPUSH a b 0                => 1
        @log                            => RPOPLPUSH a b
        BRPOPLPUSH a b 0                => +BLOCKED
        BLMOVE a b LEFT RIGHT 0         => +BLOCKED
        BLMOVE a b LEFT UP 0            => -ERR syntax error
        BLMOVE a b LEFT RIGHT x         => -ERR timeout is not a float or out of range
        BLMOVE s b LEFT RIGHT 0         => -WRONGTYPE Operation against a key holding the wrong kind of value
        BLMOVE a s LEFT RIGHT 0         => +BLOCKED
        BLMOVE b s LEFT RIGHT 0         => -WRONGTYPE Operation against a key holding the wrong kind of value
        BRPOPLPUSH b s -1               => -ERR timeout is negative
        LRANGE b 0 -1                   => [1, 1]
        "#,
    );
}

#[test]
fn deadlines() {
    check_both(
        r#"
        RPUSH l a b         => :2
        PEXPIRE l 60        => :1
        @advance 100
        LRANGE l 0 -1       => []
        RPUSH l c           => :1
        @log                => MULTI; DEL l; RPUSH l c; EXEC
        @events             => expired:expired:l list:rpush:l
        LRANGE l 0 -1       => [c]
        PTTL l              => :-1
        RPUSH m a           => :1
        PEXPIRE m 60        => :1
        @advance 100
        LPUSHX m b          => :0
        LLEN m              => :0
        RPUSH m a           => :1
        PEXPIRE m 60        => :1
        @advance 100
        LMOVE m l LEFT LEFT => nil
        LRANGE l 0 -1       => [c]
        "#,
    );
}

#[test]
fn encodings() {
    check_with(
        Limits { list_max_listpack_size: 4, ..Limits::default() },
        r#"
        RPUSH l a b c d        => :4
        OBJECT ENCODING l      => listpack
        RPUSH l e              => :5
        OBJECT ENCODING l      => quicklist
        LPOP l 4               => [a, b, c, d]
        OBJECT ENCODING l      => listpack
        LPUSH l x y z w        => :5
        OBJECT ENCODING l      => quicklist
        LRANGE l 0 -1          => [w, z, y, x, e]
        LTRIM l 3 4            => +OK
        OBJECT ENCODING l      => listpack
        LINSERT l AFTER x "a word with spaces"  => :3
        LRANGE l 0 -1          => [x, "a word with spaces", e]
        "#,
    );
}
