//! Files that a command reads or writes for its client: a thread of its own does it, so that nobody waits for the disk
//! while the engine is held. The client waits, and its command runs again when the work is done.
//!
//! In a transaction (ACL SAVE, ACL LOAD, CONFIG REWRITE between MULTI and EXEC) it is done at once, the engine held: what
//! comes behind it in the transaction must find it done, nothing may run between them, and EXEC's reply tells how it went.

use std::io;
use std::sync::Arc;

use super::cpus::Work;
use super::shared::Shared;
use super::state::Server;
use crate::command::{ClientId, CommandError, Cx, TimeoutReply};
use crate::value::Type;

/// What has become of the work: the bytes that were read, if any.
pub type Outcome = io::Result<Vec<u8>>;

/// Has `work` done once for the command that runs; `None` while it is under way: the command has been told to wait.
/// Where nothing may wait (in a transaction) it is done at once.
///
/// # Errors
/// There is no server.
pub fn run(cx: &mut Cx<'_>, work: impl FnOnce() -> Outcome + Send + 'static) -> Result<Option<Outcome>, CommandError> {
    let (id, may_wait) = (cx.client, cx.turn.may_block);
    let server = Server::of(cx)?;
    if let Some(outcome) = server.errands.remove(&id) {
        return Ok(Some(outcome));
    }
    let shared = server.shared()?;
    if !may_wait {
        return Ok(Some(one_at_a_time(&shared, work)));
    }
    let started = std::thread::Builder::new().name("errand".into()).spawn(move || {
        shared.settings().cpus.take(Work::Aside);
        let outcome = one_at_a_time(&shared, work);
        report(&shared, id, outcome);
    });
    if let Err(error) = started {
        return Ok(Some(Err(error)));
    }
    cx.block(&[], Type::String, 0, TimeoutReply::Again);
    Ok(None)
}

/// Two that replace the same file would meet in its temporary one.
fn one_at_a_time(shared: &Shared, work: impl FnOnce() -> Outcome) -> Outcome {
    let _turn = shared.errand.lock();
    work()
}

fn report(shared: &Arc<Shared>, id: ClientId, outcome: Outcome) {
    let mut engine = shared.engine.lock_patiently();
    if let Ok(server) = Server::in_parts(&mut engine.parts) {
        server.errands.insert(id, outcome);
    }
    engine.look_at_clock();
    engine.look_again(id);
    // The client may have gone, or been unblocked, meanwhile.
    if let Ok(server) = Server::in_parts(&mut engine.parts) {
        server.errands.remove(&id);
    }
    drop(engine);
    shared.settle_log();
}
