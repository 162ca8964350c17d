//! LATENCY's events of the engine. The clock goes on by two milliseconds whenever it is asked, so everything takes long.

use super::eviction::{limited, set_used};
use super::*;

struct Hasty(Arc<ManualClock>);

impl Clock for Hasty {
    fn unix_micros(&self) -> i64 {
        self.0.unix_micros()
    }

    fn monotonic(&self) -> Duration {
        self.0.advance(Duration::from_millis(2));
        self.0.monotonic()
    }
}

/// From now on everything takes long, and is noted.
fn watch(world: &mut World) {
    world.engine.parts.clock = Arc::new(Hasty(Arc::clone(&world.clock)));
    world.engine.parts.settings.notice = Notice::new(None, 0, Some(Duration::from_millis(1)));
}

fn events(world: &mut World) -> Vec<&'static str> {
    let events = world.engine.parts.observed.spikes.iter().map(|(event, _)| event).collect();
    world.engine.parts.observed.spikes.clear();
    events
}

#[test]
fn commands_and_the_answer_to_a_client_that_waited() {
    let mut world = World::new();
    let (waiter, other) = (world.session(), world.session());
    watch(&mut world);
    world.ask(&other, "get k");
    assert_eq!(events(&mut world), ["fast-command"]);
    world.ask(&other, "keys *");
    assert_eq!(events(&mut world), ["command"]);
    world.ask(&waiter, "blpop l 0");
    assert_eq!(events(&mut world), [""; 0], "it has not ended");
    world.ask(&other, "rpush l 1");
    assert_eq!(world.received(&waiter), "*2|$1|l|$1|1|");
    assert_eq!(events(&mut world), ["command", "command-unblocking", "fast-command"]);
}

#[test]
fn expiry() {
    let mut world = World::new();
    let session = world.session();
    world.ask(&session, "set k 1 px 1");
    world.clock.advance(Duration::from_millis(5));
    watch(&mut world);
    world.engine.tick();
    assert_eq!(events(&mut world), ["expire-cycle", "expire-del"]);
    assert_eq!(world.engine.store.key_count(), 0);
}

#[test]
fn eviction() {
    let (mut world, session) = limited("allkeys-random");
    watch(&mut world);
    set_used(&world, 1100);
    world.ask(&session, "get nosuch");
    assert_eq!(events(&mut world), ["eviction-cycle", "eviction-del", "fast-command"]);
    assert!(world.engine.parts.stats.evicted_keys > 0);
}
