//! Which connections are ended when all together hold too much.

use super::*;

#[test]
fn the_largest_connections_go_first_and_no_more_than_needed() {
    let mut world = World::new();
    let [small, large, larger, kept] = std::array::from_fn(|_| world.session());
    for (session, kib) in [(&small, 100), (&large, 200), (&larger, 300), (&kept, 400)] {
        session.outbox.reply(u64::MAX, &vec![b'x'; kib << 10]);
    }
    world.engine.parts.client_mut(kept.id).no_evict = true;
    let mut after = |limit: usize| {
        world.engine.parts.evict_clients(limit, START);
        let over = [&small, &large, &larger, &kept].map(|session| session.outbox.wants_close());
        (over, world.engine.parts.stats.evicted_clients)
    };
    assert_eq!(after(1100 << 10), ([false; 4], 0));
    assert_eq!(after(800 << 10), ([false, false, true, false], 1));
    assert_eq!(after(800 << 10), ([false, false, true, false], 1), "what is ending already counts no more");
    assert_eq!(after(600 << 10), ([false, true, true, false], 2));
    assert_eq!(after(1), ([true, true, true, false], 3), "who may not be evicted stays");
}
