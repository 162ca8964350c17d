//! COMMAND DOCS: what a command is for, and its arguments as a tree. The hints of redis-cli come from here.

use crate::command::{Argument, Command, Flags, Resolved, parse_syntax};
use crate::resp::Reply;

/// The entry of one command: its name and what is to be said of it.
pub(super) fn document(reply: &mut Reply, resolved: &Resolved) {
    let command = resolved.command;
    // A line that does not parse is a mistake in a declaration, and a test finds it.
    let arguments = parse_syntax(command.syntax).unwrap_or_default();
    let history = history(command, &arguments);
    reply.bulk(resolved.full_name());
    let at = reply.begin();
    let mut fields = 0;
    let mut text = |reply: &mut Reply, name: &str, text: &str| {
        if !text.is_empty() {
            reply.bulk(name);
            reply.bulk(text);
            fields += 1;
        }
    };
    text(reply, "summary", command.summary);
    text(reply, "since", command.since);
    text(reply, "group", command.group.name());
    text(reply, "complexity", command.complexity);
    let flags: Vec<&str> = [("deprecated", command.deprecated.is_some()), ("syscmd", command.flags.has(Flags::SYSTEM))]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect();
    if !flags.is_empty() {
        reply.bulk("doc_flags");
        super::describe::words(reply, flags.into_iter(), "");
        fields += 1;
    }
    if let Some(deprecated) = command.deprecated {
        for (name, value) in [("deprecated_since", deprecated.since), ("replaced_by", deprecated.replaced_by)] {
            reply.bulk(name);
            reply.bulk(value);
            fields += 1;
        }
    }
    if !history.is_empty() {
        reply.bulk("history");
        reply.set(history.len());
        for (version, change) in history {
            reply.array(2);
            reply.bulk(version);
            reply.bulk(change);
        }
        fields += 1;
    }
    if !arguments.is_empty() {
        reply.bulk("arguments");
        describe_arguments(reply, &arguments);
        fields += 1;
    }
    if !command.subcommands.is_empty() {
        reply.bulk("subcommands");
        reply.map(command.subcommands.len());
        for sub in command.subcommands {
            document(reply, &Resolved { command: sub, parent: Some(command), index: 0 });
        }
        fields += 1;
    }
    reply.end_map(at, fields);
}

fn describe_arguments(reply: &mut Reply, arguments: &[Argument<'_>]) {
    reply.array(arguments.len());
    for argument in arguments {
        describe_argument(reply, argument);
    }
}

fn describe_argument(reply: &mut Reply, argument: &Argument<'_>) {
    let is_group = matches!(argument.kind, "oneof" | "block");
    let flags: Vec<&str> =
        [("optional", argument.optional), ("multiple", argument.multiple), ("multiple_token", argument.multiple_token)]
            .into_iter()
            .filter_map(|(name, set)| set.then_some(name))
            .collect();
    let texts = [("token", argument.token), ("since", argument.since), ("deprecated_since", argument.deprecated_since)];
    let present = texts.iter().filter(|(_, text)| text.is_some()).count();
    reply.map(
        2 + usize::from(!is_group)
            + usize::from(argument.key_spec.is_some())
            + present
            + usize::from(!flags.is_empty())
            + usize::from(is_group),
    );
    reply.bulk("name");
    reply.bulk(&*argument.name);
    reply.bulk("type");
    reply.bulk(argument.kind);
    if !is_group {
        reply.bulk("display_text");
        reply.bulk(&*argument.name);
    }
    if let Some(spec) = argument.key_spec {
        reply.bulk("key_spec_index");
        reply.int(spec as i64);
    }
    for (name, text) in texts {
        if let Some(text) = text {
            reply.bulk(name);
            reply.bulk(text);
        }
    }
    if !flags.is_empty() {
        reply.bulk("flags");
        super::describe::words(reply, flags.into_iter(), "");
    }
    if is_group {
        reply.bulk("arguments");
        describe_arguments(reply, &argument.arguments);
    }
}

/// What came and went with which version, told from the versions at the arguments. Oldest first.
fn history<'a>(command: &'a Command, arguments: &[Argument<'a>]) -> Vec<(&'a str, String)> {
    let mut changes: Vec<(&str, &str, String)> = Vec::new();
    collect(arguments, &mut changes);
    let mut told: Vec<(&str, String)> = Vec::new();
    changes.retain(|(version, ..)| *version != command.since);
    changes.sort_by_key(|(version, ..)| numbers(version));
    for (version, verb, name) in changes {
        match told.last_mut() {
            Some((last, text)) if *last == version && text.starts_with(verb) => {
                text.pop();
                text.push_str(&format!(", `{name}`."));
            }
            _ => told.push((version, format!("{verb} `{name}`."))),
        }
    }
    told
}

fn collect<'a>(arguments: &[Argument<'a>], changes: &mut Vec<(&'a str, &'static str, String)>) {
    for argument in arguments {
        let alternatives = argument.kind == "oneof" && argument.token.is_none();
        let name = match argument.token {
            Some(token) => token.to_owned(),
            None if alternatives => {
                let names = argument.arguments.iter().map(|one| one.token.unwrap_or(&one.name));
                names.collect::<Vec<_>>().join("`, `")
            }
            None => argument.name.clone().into_owned(),
        };
        for (version, verb) in [(argument.since, "Added"), (argument.deprecated_since, "Deprecated")] {
            changes.extend(version.map(|version| (version, verb, name.clone())));
        }
        collect(&argument.arguments, changes);
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{history, parse_syntax};
    use crate::command::Command;

    fn all() -> Vec<&'static Command> {
        let mut families = crate::engine::families();
        families.extend(crate::server::families());
        let commands = families.iter().flat_map(|family| family.iter());
        commands.flat_map(|command| std::iter::once(command).chain(command.subcommands)).collect()
    }

    #[test]
    fn every_syntax_line_parses_and_every_key_has_its_spec() {
        for command in all() {
            let arguments = parse_syntax(command.syntax).unwrap_or_else(|error| panic!("{}: {error}", command.name));
            for argument in arguments.iter().filter(|argument| argument.kind == "key") {
                let spec = argument.key_spec.unwrap_or(usize::MAX);
                assert!(spec < command.keys.len(), "{}: {} has key spec {spec}", command.name, argument.name);
            }
        }
    }

    #[test]
    fn history_follows_from_the_versions_at_the_arguments() {
        let set = all().into_iter().find(|command| command.name == "set").expect("a command that is always there");
        let told = history(set, &parse_syntax(set.syntax).expect("parses"));
        assert_eq!(
            told,
            [
                ("2.6.12", "Added `NX`, `XX`, `EX`, `PX`.".to_owned()),
                ("6.0.0", "Added `KEEPTTL`.".to_owned()),
                ("6.2.0", "Added `GET`, `EXAT`, `PXAT`.".to_owned()),
            ]
        );
    }
}
