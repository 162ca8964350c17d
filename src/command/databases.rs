//! Databases as a whole: listing, counting, emptying and exchanging them.

use crate::command::keys::present_database;
use crate::command::{Args, Command, CommandError, Cx, Flags, Group, glob_matches, parse_i64};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "keys",
        arity: 2,
        flags: Flags::READONLY.and(Flags::DANGEROUS),
        run: keys,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(N), N being the number of keys in the database.",
        summary: "All keys that match a pattern.",
        syntax: "pattern:pattern",
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        ..Command::DEFAULT
    },
    Command {
        name: "randomkey",
        arity: 1,
        flags: Flags::READONLY,
        run: randomkey,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "A key chosen at random.",
        tips: &["request_policy:all_shards", "nondeterministic_output"],
        ..Command::DEFAULT
    },
    Command {
        name: "dbsize",
        arity: 1,
        flags: Flags::READONLY.and(Flags::FAST).and(Flags::KEYSPACE),
        run: dbsize,
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "The number of keys in the database.",
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        ..Command::DEFAULT
    },
    Command {
        name: "flushdb",
        arity: -1,
        flags: Flags::WRITE.and(Flags::KEYSPACE).and(Flags::DANGEROUS),
        run: flushdb,
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1); what was there is freed in the background.",
        summary: "Deletes all keys of the database.",
        syntax: "[async:<ASYNC {4.0.0} | SYNC {6.2.0}>]",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        ..Command::DEFAULT
    },
    Command {
        name: "flushall",
        arity: -1,
        flags: Flags::WRITE.and(Flags::KEYSPACE).and(Flags::DANGEROUS),
        run: flushall,
        group: Group::Server,
        since: "1.0.0",
        complexity: "O(1); what was there is freed in the background.",
        summary: "Deletes all keys of all databases.",
        syntax: "[async:<ASYNC {4.0.0} | SYNC {6.2.0}>]",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        ..Command::DEFAULT
    },
    Command {
        name: "swapdb",
        arity: 3,
        flags: Flags::WRITE.and(Flags::FAST).and(Flags::KEYSPACE).and(Flags::DANGEROUS),
        run: swapdb,
        group: Group::Server,
        since: "4.0.0",
        complexity: "O(N), N being the number of keys watched or waited for in them.",
        summary: "Exchanges two databases.",
        syntax: "index1:integer index2:integer",
        ..Command::DEFAULT
    },
];

fn keys(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let pattern = args.bytes();
    args.finish()?;
    cx.reads_all();
    let now = cx.turn.expiry_now();
    let mark = cx.reply.begin_array();
    let mut count = 0;
    for entry in cx.store.db(cx.db).iter() {
        if (pattern == b"*" || glob_matches(pattern, entry.key())) && !entry.is_expired(now) {
            cx.reply.bulk(entry.key());
            count += 1;
        }
    }
    cx.reply.end_array(mark, count);
    Ok(())
}

fn randomkey(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    cx.reads_all();
    let now = cx.turn.expiry_now();
    let database = cx.store.db(cx.db);
    // Where nearly all keys are due chance may miss the others: then the first one that is not is taken.
    let live = || database.iter().find(|entry| !entry.is_expired(now));
    let found = database.random_key(now, cx.host.entropy()).or_else(live);
    cx.reply.bulk_or_null(found.map(|entry| entry.key()));
    Ok(())
}

fn dbsize(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    args.finish()?;
    cx.reads_all();
    let len = cx.database().len();
    cx.reply.count(len);
    Ok(())
}

/// SYNC and ASYNC are accepted and mean the same: values are always freed in the background.
fn flush_mode(args: &mut Args<'_>) -> Result<(), CommandError> {
    if !args.word("sync") {
        args.word("async");
    }
    args.finish()
}

/// Keys of a database that somebody watches or waits for.
fn those_concerned(cx: &Cx<'_>, db: u32) -> Vec<Vec<u8>> {
    [cx.host.watched_keys(db), cx.host.awaited_keys(db)].concat()
}

/// Forgets all keys of all databases; those who watch one of them, or wait for one, are told before.
pub fn forget_all(cx: &mut Cx<'_>) {
    for db in 0..cx.store.len() {
        announce(cx, db);
    }
    cx.store.flush_all(cx.turn.stamp);
    cx.host.flushed();
}

/// Tells those who watch a key of this database, or wait for one, that it is about to go.
fn announce(cx: &mut Cx<'_>, db: u32) {
    let now = cx.turn.expiry_now();
    for key in those_concerned(cx, db) {
        if cx.store.db(db).contains(&key, now) {
            cx.host.key_touched(db, &key);
        }
    }
}

fn flushdb(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    flush_mode(args)?;
    announce(cx, cx.db);
    let stamp = cx.turn.stamp;
    // Logged even when there is nothing to delete, as in stock.
    let removed = cx.database().len().max(1);
    cx.database().flush(stamp);
    cx.host.flushed();
    cx.dirty(removed);
    cx.reply.ok();
    Ok(())
}

fn flushall(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    flush_mode(args)?;
    let removed = cx.store.key_count().max(1);
    forget_all(cx);
    cx.dirty(removed);
    cx.reply.ok();
    Ok(())
}

fn swapdb(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let number = |arg: &[u8], error| parse_i64(arg).filter(|number| i32::try_from(*number).is_ok()).ok_or(error);
    let a = number(args.bytes(), CommandError::fixed("ERR invalid first DB index"))?;
    let b = number(args.bytes(), CommandError::fixed("ERR invalid second DB index"))?;
    let (a, b) = (present_database(cx, a)?, present_database(cx, b)?);
    args.finish()?;
    if a != b {
        let (now, stamp) = (cx.turn.expiry_now(), cx.turn.stamp);
        for (db, other) in [(a, b), (b, a)] {
            for key in those_concerned(cx, db) {
                if cx.store.db(db).contains(&key, now) || cx.store.db(other).contains(&key, now) {
                    cx.host.key_touched(db, &key);
                }
            }
        }
        cx.store.swap(a, b, stamp);
        for db in [a, b] {
            for key in cx.host.awaited_keys(db) {
                if let Some(kind) = cx.store.db(db).get(&key, now).map(|entry| entry.value().kind()) {
                    cx.host.key_ready(db, &key, kind);
                }
            }
        }
    }
    cx.dirty(1);
    cx.reply.ok();
    Ok(())
}
