//! The SCAN family.

use super::support::{TestEngine, check, notation};
use crate::resp::ReplyValue;
use std::collections::BTreeSet;

#[test]
fn grammar() {
    check(
        r#"
        SCAN 0                      => [0, []]
        SCAN x                      => -ERR invalid cursor
        SCAN -                      => -ERR invalid cursor
        SCAN 18446744073709551616   => -ERR invalid cursor
        SCAN -1                     => [0, []]
        SCAN ""                     => [0, []]
        SCAN " 0"                   => -ERR invalid cursor
        SCAN 0 COUNT 0              => -ERR syntax error
        SCAN 0 COUNT x              => -ERR value is not an integer or out of range
        SCAN 0 COUNT                => -ERR syntax error
        SCAN 0 MATCH                => -ERR syntax error
        SCAN 0 FOO 1                => -ERR syntax error
        SET one 1                   => +OK
        HSET two f v                => :1
        SCAN 0 TYPE string          => [0, [one]]
        SCAN 0 TYPE HASH            => [0, [two]]
        SCAN 0 TYPE nothing         => [0, []]
        SCAN 0 MATCH t* COUNT 100   => [0, [two]]
        SCAN 0 MATCH x*             => [0, []]
        HSCAN none x                => -ERR invalid cursor
        HSCAN none 0 FOO            => [0, []]
        HSCAN two 0 FOO             => -ERR syntax error
        HSCAN two 0 TYPE hash       => -ERR syntax error
        HSCAN one 0                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        HSCAN two 0                 => [0, [f, v]]
        HSCAN two 0 MATCH x         => [0, []]
        SSCAN none 0                => [0, []]
        SSCAN two 0                 => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZSCAN none 0                => [0, []]
        SET gone 1 PX 1             => +OK
        @advance 2
        SCAN 0 MATCH g*             => [0, []]
        "#,
    );
}

/// All that a whole iteration reports, and how many calls it took.
fn whole(engine: &mut TestEngine, call: &str, options: &str) -> (Vec<String>, usize) {
    let (mut cursor, mut elements, mut calls) = ("0".to_owned(), Vec::new(), 0);
    loop {
        calls += 1;
        let line = format!("{call} {cursor} {options}");
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        let reply = engine.run(&words);
        let ReplyValue::Array(parts) = &reply else { panic!("{reply:?}") };
        let [ReplyValue::Bulk(next), ReplyValue::Array(found)] = &parts[..] else { panic!("{reply:?}") };
        elements.extend(found.iter().map(notation));
        cursor = String::from_utf8(next.clone()).expect("digits");
        if cursor == "0" {
            return (elements, calls);
        }
    }
}

#[test]
fn a_whole_iteration_reports_everything_in_parts() {
    let mut engine = TestEngine::new();
    let names: BTreeSet<String> = (0..1000).map(|n| format!("key.{n}")).collect();
    for name in &names {
        engine.line(&format!("SET {name} v"));
        engine.line(&format!("HSET hash {name} v"));
    }
    let (keys, calls) = whole(&mut engine, "SCAN", "MATCH key.* COUNT 20");
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), names);
    assert!((20..=60).contains(&calls), "{calls} calls");
    let (pairs, calls) = whole(&mut engine, "HSCAN hash", "COUNT 20");
    assert!((20..=60).contains(&calls), "{calls} calls");
    assert_eq!(pairs.chunks(2).map(|pair| pair[0].clone()).collect::<BTreeSet<_>>(), names);
    assert!(pairs.chunks(2).all(|pair| pair[1] == "v"));
}

#[test]
fn a_packed_collection_is_reported_whole() {
    let mut engine = TestEngine::new();
    for n in 0..100 {
        engine.line(&format!("HSET hash {n} v"));
    }
    assert_eq!(engine.line("OBJECT ENCODING hash"), "listpack");
    let (pairs, calls) = whole(&mut engine, "HSCAN hash", "COUNT 1");
    assert_eq!((pairs.len(), calls), (200, 1));
}

#[test]
fn what_stays_is_reported_though_the_database_grows_and_shrinks() {
    let mut engine = TestEngine::new();
    for n in 0..300 {
        engine.line(&format!("SET stays.{n} v"));
    }
    let (mut cursor, mut seen) = (0u64, BTreeSet::new());
    for step in 0.. {
        for n in 0..50 {
            engine.line(&format!("SET grows.{step}.{n} v"));
        }
        if step == 5 {
            for grown in 0..5 {
                for n in 0..50 {
                    engine.line(&format!("DEL grows.{grown}.{n}"));
                }
            }
        }
        let reply = engine.run(&[b"SCAN", cursor.to_string().as_bytes(), b"COUNT", b"40"]);
        let ReplyValue::Array(parts) = reply else { panic!("an array") };
        let [ReplyValue::Bulk(next), ReplyValue::Array(found)] = &parts[..] else { panic!("{parts:?}") };
        seen.extend(found.iter().map(notation));
        cursor = String::from_utf8_lossy(next).parse().expect("a number");
        if cursor == 0 || step > 1000 {
            break;
        }
    }
    let missing: Vec<String> = (0..300).map(|n| format!("stays.{n}")).filter(|name| !seen.contains(name)).collect();
    assert_eq!(missing, Vec::<String>::new());
}
