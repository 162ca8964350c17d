//! When the consumers of a stream last had success, which the form of streams in version 10 has no place for: an AUX field in
//! front of the key, which stock servers skip.
//!
//! It holds a time of 16 digits (milliseconds since 1970; all ones: never) for each consumer, in order of groups and then
//! of consumers. Where it is missing the time at which a consumer was last seen stands for it, as in stock.

use super::index::{Digits, field as aux_field};
use crate::value::payload::object;
use crate::value::{Stream, ValueRef};

pub(super) const NAME: &[u8] = b"graven-active";
const NEVER: i64 = -1;

/// The field that goes in front of a key, where its value needs one.
pub(super) fn field(value: ValueRef<'_>, form: u8) -> Option<Vec<u8>> {
    let ValueRef::Stream(stream) = value else { return None };
    let mut consumers = stream.groups().flat_map(|group| group.consumers());
    if form != object::STREAM_LISTPACKS_2 || consumers.all(|consumer| consumer.active_at == Some(consumer.seen_at)) {
        return None;
    }
    let times = stream.groups().flat_map(|group| group.consumers()).map(|consumer| consumer.active_at.unwrap_or(NEVER));
    let digits: String = times.map(|time| format!("{time:016x}")).collect();
    Some(aux_field(NAME, digits.as_bytes()))
}

/// Gives consumers the times of a field; false when it is not that stream's.
pub(super) fn apply(digits: &[u8], stream: &mut Stream) -> bool {
    let mut digits = Digits(digits);
    let groups: Vec<Vec<u8>> = stream.groups().map(|group| group.name().to_vec()).collect();
    let applied = groups.iter().try_for_each(|group| {
        stream.edit_group(group, |group| {
            let consumers: Vec<Vec<u8>> = group.consumers().map(|consumer| consumer.name().to_vec()).collect();
            consumers.iter().try_for_each(|name| {
                let time = digits.number(16)? as i64;
                group.edit_consumer(name, |consumer| consumer.active_at = (time != NEVER).then_some(time))
            })
        })?
    });
    applied.is_some() && digits.0.is_empty()
}
