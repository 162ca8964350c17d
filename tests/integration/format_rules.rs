//! Each rule of `format-spec/` names the tests that hold it to the code, and those tests are there.

use super::layers::sources;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    sources(&root().join("format-spec"), "md", &mut found);
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).expect("a document"))).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names behind `fn` or `def` in the sources and suites.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for (directory, ending) in [("src", "rs"), ("tests", "rs"), ("tests/python", "py")] {
        sources(&root().join(directory), ending, &mut files);
    }
    let names = |text: String| -> Vec<String> {
        let lines = text.lines().filter_map(|line| {
            let line = line.trim_start();
            line.strip_prefix("fn ").or_else(|| line.strip_prefix("def "))
        });
        lines.map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()).collect()
    };
    files.iter().flat_map(|file| names(std::fs::read_to_string(file).expect("a source"))).collect()
}

/// The numbered rules of sections that are called rules or go step by step: (section, rule).
fn rules(document: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let (mut section, mut numbered) = ("", false);
    for line in document.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            (section, numbered) = (title, title.ends_with("rules") || title.ends_with("step by step"));
        } else if numbered && line.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok()) {
            found.push((section, line.to_owned()));
        } else if let (true, true, Some((_, rule))) = (numbered, line.starts_with("   "), found.last_mut()) {
            rule.push_str(line);
        }
    }
    found
}

#[test]
fn each_rule_names_its_tests() {
    let mut bare = Vec::new();
    let mut count = 0;
    for (path, document) in documents() {
        for (section, rule) in rules(&document) {
            count += 1;
            if !rule.contains("Held by `") {
                bare.push(format!("{}: {section}: {rule}", path.display()));
            }
        }
    }
    assert!(bare.is_empty(), "no test is named by:\n{}", bare.join("\n"));
    assert!(count > 25, "{count} rules were found");
}

#[test]
fn the_tests_that_rules_name_are_there() {
    let there = tests();
    let mut missing = Vec::new();
    for (path, document) in documents() {
        for line in document.lines().filter_map(|line| line.split_once("Held by ").map(|(_, names)| names)) {
            let names = line.split('`').skip(1).step_by(2);
            missing
                .extend(names.filter(|name| !there.contains(*name)).map(|name| format!("{}: {name}", path.display())));
        }
    }
    assert!(missing.is_empty(), "there are no such tests:\n{}", missing.join("\n"));
}
