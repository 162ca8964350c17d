//! CLIENT KILL, in its old form (an address) and its new one (filters).

use super::client::{Class, class_named, class_of};
use crate::command::{Args, ClientId, CommandError, Cx, parse_i64, quoted};
use crate::engine::{Client, Parts, Users};
use crate::env::UnixMillis;

/// What a connection must be to be killed.
#[derive(Default)]
struct Filter {
    id: Option<ClientId>,
    address: Option<Vec<u8>>,
    local_address: Option<Vec<u8>>,
    class: Option<Class>,
    user: Option<Vec<u8>>,
    skip_me: bool,
    /// Seconds since it came.
    least_age: Option<i64>,
}

impl Filter {
    fn matches(&self, client: &Client, me: ClientId, now: UnixMillis) -> bool {
        self.id.is_none_or(|id| client.id == id)
            && self.address.as_ref().is_none_or(|address| client.info.address.as_bytes() == address)
            && self.local_address.as_ref().is_none_or(|address| client.info.local_address.as_bytes() == address)
            && self.class.is_none_or(|class| class_of(client) == class)
            && self.user.as_ref().is_none_or(|user| client.user.name() == user)
            && self.least_age.is_none_or(|age| (now.0 - client.connected_at.0) / 1000 >= age)
            && !(self.skip_me && client.id == me)
    }
}

pub fn kill(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let words = args.rest();
    if let [address] = words {
        let filter = Filter { address: Some(address.to_vec()), ..Filter::default() };
        if kill_matching(cx, &filter) == 0 {
            return Err(CommandError::fixed("ERR No such client"));
        }
        cx.reply.ok();
        return Ok(());
    }
    let filter = parse(words, &Parts::of(cx).access.users)?;
    let killed = kill_matching(cx, &filter);
    cx.reply.count(killed);
    Ok(())
}

fn parse(words: &[&[u8]], users: &Users) -> Result<Filter, CommandError> {
    let mut filter = Filter { skip_me: true, ..Filter::default() };
    for pair in words.chunks(2) {
        let [option, value] = pair else { return Err(CommandError::SYNTAX) };
        match option.to_ascii_lowercase().as_slice() {
            b"id" => {
                let id = parse_i64(value).filter(|id| *id > 0);
                let id = id.ok_or(CommandError::fixed("ERR client-id should be greater than 0"))?;
                filter.id = Some(ClientId(id as u64));
            }
            b"type" => filter.class = Some(class_named(value)?),
            b"addr" => filter.address = Some(value.to_vec()),
            b"laddr" => filter.local_address = Some(value.to_vec()),
            b"user" if users.get(value).is_some() => filter.user = Some(value.to_vec()),
            b"user" => {
                let user = quoted(value);
                return Err(CommandError::new(format!("ERR No such user '{user}'")));
            }
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.skip_me = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.skip_me = false,
            b"maxage" => {
                let age = parse_i64(value).ok_or(CommandError::NOT_INTEGER)?;
                if age <= 0 {
                    return Err(CommandError::fixed("ERR maxage is not an integer or out of range"));
                }
                filter.least_age = Some(age);
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    Ok(filter)
}

/// Kills what matches; the caller itself only after its reply.
fn kill_matching(cx: &mut Cx<'_>, filter: &Filter) -> usize {
    let (me, now) = (cx.client, cx.now());
    let parts = Parts::of(cx);
    let killed: Vec<ClientId> =
        parts.clients.iter().filter(|client| filter.matches(client, me, now)).map(|client| client.id).collect();
    killed.iter().for_each(|id| parts.end_client(*id));
    killed.len()
}
