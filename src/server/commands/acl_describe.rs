//! Users and refusals as replies show them.

use crate::engine::{AuditEntry, Selector, User};
use crate::env::UnixMillis;
use crate::resp::Reply;

/// ACL GETUSER.
pub fn describe_user(reply: &mut Reply, user: &User) {
    reply.map(6);
    reply.bulk("flags");
    let flags = user.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag));
    reply.bulk("passwords");
    reply.array(user.passwords().len());
    user.passwords().for_each(|digits| reply.bulk(digits));
    let [own, others @ ..] = user.selectors() else { return };
    describe_selector(reply, own);
    reply.bulk("selectors");
    reply.array(others.len());
    for selector in others {
        reply.map(3);
        describe_selector(reply, selector);
    }
}

fn describe_selector(reply: &mut Reply, selector: &Selector) {
    for (field, text) in [
        ("commands", selector.describe_commands()),
        ("keys", selector.describe_keys()),
        ("channels", selector.describe_channels()),
    ] {
        reply.bulk(field);
        reply.bulk(text);
    }
}

/// One entry of ACL LOG.
pub fn describe_entry(reply: &mut Reply, entry: &AuditEntry, now: UnixMillis) {
    reply.map(10);
    reply.bulk("count");
    reply.int(entry.count as i64);
    reply.bulk("reason");
    reply.bulk(entry.reason.name());
    reply.bulk("context");
    reply.bulk(entry.context.name());
    reply.bulk("object");
    reply.bulk(&entry.object);
    reply.bulk("username");
    reply.bulk(&entry.user);
    reply.bulk("age-seconds");
    reply.double((now.0 - entry.updated.0) as f64 / 1000.0);
    reply.bulk("client-info");
    reply.bulk(&entry.client);
    for (field, number) in [
        ("entry-id", entry.id as i64),
        ("timestamp-created", entry.created.0),
        ("timestamp-last-updated", entry.updated.0),
    ] {
        reply.bulk(field);
        reply.int(number);
    }
}
