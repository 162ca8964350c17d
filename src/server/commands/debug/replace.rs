//! Keys that come from a file, put into the keyspace while the engine is held.

use crate::command::Cx;
use crate::keyspace::{Batch, Entry};

/// Keys that change hands together.
const BATCH: usize = 1000;

/// Puts keys into a database; those of the same names go.
///
/// # Errors
/// A key that was given twice.
pub(super) fn put(cx: &mut Cx<'_>, db: u32, entries: impl Iterator<Item = Entry>) -> Result<(), String> {
    let stamp = cx.turn.stamp;
    let seed = cx.limits().hash_seed;
    let database = cx.store.db_mut(db);
    let mut batch = Batch::new(seed);
    let mut entries = entries.peekable();
    while let Some(entry) = entries.next() {
        database.remove(entry.key(), stamp);
        batch.push(entry);
        if batch.len() == BATCH || entries.peek().is_none() {
            database
                .load(batch.take(), stamp)
                .map_err(|twice| format!("the key '{}' is there twice in database {db}", twice.key().escape_ascii()))?;
        }
    }
    Ok(())
}
