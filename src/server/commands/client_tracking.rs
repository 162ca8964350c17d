//! CLIENT TRACKING and its kin: client-side caching.

use crate::command::{Args, ClientId, CommandError, Cx, quoted};
use crate::engine::{Parts, Tracked, TrackingOptions};

pub fn tracking(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let mode = args.bytes();
    let mut options = TrackingOptions::default();
    let mut redirect: Option<ClientId> = None;
    let mut prefixes: Vec<&[u8]> = Vec::new();
    while let Some(word) = args.next() {
        match word.to_ascii_lowercase().as_slice() {
            b"redirect" if !args.is_empty() => {
                if redirect.is_some() {
                    return Err(CommandError::fixed("ERR A client can only redirect to a single other client"));
                }
                let id = args.int();
                args.check()?;
                redirect = u64::try_from(id).ok().map(ClientId);
                if redirect.is_none_or(|id| Parts::of(cx).clients.get(id).is_none()) {
                    return Err(CommandError::fixed("ERR The client ID you want redirect to does not exist"));
                }
            }
            b"prefix" if !args.is_empty() => prefixes.push(args.bytes()),
            b"bcast" => options.broadcast = true,
            b"optin" => options.opt_in = true,
            b"optout" => options.opt_out = true,
            b"noloop" => options.no_loop = true,
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let id = cx.client;
    let parts = Parts::of(cx);
    if mode.eq_ignore_ascii_case(b"on") {
        fit_together(parts.client_mut(id).tracking.as_deref(), options, &prefixes)?;
        parts.start_tracking(id, options, redirect, &prefixes);
    } else if mode.eq_ignore_ascii_case(b"off") {
        parts.stop_tracking(id);
    } else {
        return Err(CommandError::SYNTAX);
    }
    cx.reply.ok();
    Ok(())
}

/// Whether the options go with each other and with what the client has now.
fn fit_together(now: Option<&Tracked>, options: TrackingOptions, prefixes: &[&[u8]]) -> Result<(), CommandError> {
    let TrackingOptions { broadcast, opt_in, opt_out, .. } = options;
    let refused = if !broadcast && !prefixes.is_empty() {
        "ERR PREFIX option requires BCAST mode to be enabled"
    } else if now.is_some_and(|now| now.options.broadcast != broadcast) {
        "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a \
         different mode."
    } else if broadcast && (opt_in || opt_out) {
        "ERR OPTIN and OPTOUT are not compatible with BCAST"
    } else if opt_in && opt_out {
        "ERR You can't specify both OPTIN mode and OPTOUT mode"
    } else if now.is_some_and(|now| (opt_in && now.options.opt_out) || (opt_out && now.options.opt_in)) {
        "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with \
         a different mode."
    } else {
        return prefixes_apart(now, prefixes);
    };
    Err(CommandError::fixed(refused))
}

/// A key must not be told twice: no prefix of a client may begin another one.
fn prefixes_apart(now: Option<&Tracked>, prefixes: &[&[u8]]) -> Result<(), CommandError> {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let refused = |prefix: &[u8], which: &str, other: &[u8]| {
        let (prefix, other) = (quoted(prefix), quoted(other));
        Err(CommandError::new(format!(
            "ERR Prefix '{prefix}' overlaps with {which} prefix '{other}'. Prefixes for a single client must not overlap."
        )))
    };
    for (at, prefix) in prefixes.iter().enumerate() {
        if let Some(other) = now.into_iter().flat_map(|now| &now.prefixes).find(|other| overlap(other, prefix)) {
            return refused(prefix, "an existing", other);
        }
        if let Some(other) = prefixes[at + 1..].iter().find(|other| overlap(other, prefix)) {
            return refused(prefix, "another provided", other);
        }
    }
    Ok(())
}

pub fn caching(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    let word = args.bytes();
    let Some(tracked) = &mut Parts::of(cx).client_mut(id).tracking else {
        return Err(CommandError::fixed(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let refused = if word.eq_ignore_ascii_case(b"yes") {
        (!tracked.options.opt_in)
            .then_some("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
    } else if word.eq_ignore_ascii_case(b"no") {
        (!tracked.options.opt_out)
            .then_some("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
    } else {
        return Err(CommandError::SYNTAX);
    };
    if let Some(refused) = refused {
        return Err(CommandError::fixed(refused));
    }
    tracked.caching = true;
    cx.reply.ok();
    Ok(())
}

/// Whom invalidations go to, as CLIENT GETREDIR and CLIENT LIST say it.
pub fn redirection(tracked: Option<&Tracked>) -> i64 {
    tracked.map_or(-1, |tracked| tracked.redirect.map_or(0, |id| id.0 as i64))
}

pub fn getredir(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    let redirection = redirection(Parts::of(cx).client_mut(id).tracking.as_deref());
    cx.reply.int(redirection);
    Ok(())
}

pub fn trackinginfo(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Result<(), CommandError> {
    let id = cx.client;
    let tracked = Parts::of(cx).client_mut(id).tracking.as_deref();
    let mut flags = vec![if tracked.is_some() { "on" } else { "off" }];
    let mut prefixes = Vec::new();
    if let Some(tracked) = tracked {
        let TrackingOptions { broadcast, opt_in, opt_out, no_loop } = tracked.options;
        for (set, name) in [
            (broadcast, "bcast"),
            (opt_in, "optin"),
            (opt_in && tracked.caching, "caching-yes"),
            (opt_out, "optout"),
            (opt_out && tracked.caching, "caching-no"),
            (no_loop, "noloop"),
            (tracked.redirect_broken, "broken_redirect"),
        ] {
            flags.extend(set.then_some(name));
        }
        prefixes.extend(tracked.prefixes.iter().cloned());
    }
    let redirection = redirection(tracked);
    cx.reply.map(3);
    cx.reply.bulk("flags");
    cx.reply.set(flags.len());
    flags.iter().for_each(|flag| cx.reply.bulk(flag));
    cx.reply.bulk("redirect");
    cx.reply.int(redirection);
    cx.reply.bulk("prefixes");
    cx.reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| cx.reply.bulk(prefix));
    Ok(())
}
