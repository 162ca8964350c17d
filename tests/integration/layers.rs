//! Dependencies point down only: a room's source names no room above it.

use std::path::{Path, PathBuf};

/// Rooms from the bottom up; those on one line do not know each other.
const LAYERS: [&[&str]; 9] = [
    &["env"],
    &["resp", "ds"],
    &["value"],
    &["keyspace"],
    &["persist"],
    &["command"],
    &["engine"],
    &["server"],
    &["tools"],
];

/// The files below a directory whose names end so.
#[expect(clippy::disallowed_methods, reason = "reads the source tree, not data")]
pub fn sources(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("source tree").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// Rooms that a source names by `crate::room`, test code apart.
fn named(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .collect()
}

#[test]
fn no_room_uses_a_room_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, "rs", &mut files);
    let (mut edges, mut wrong) = (0, Vec::new());
    for file in files {
        let relative = file.strip_prefix(&root).expect("below src").to_path_buf();
        let in_tests = relative.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tests"));
        let Some(own) = relative.iter().next().and_then(|room| layer(&room.to_string_lossy())) else { continue };
        if in_tests {
            continue;
        }
        for room in named(&std::fs::read_to_string(&file).expect("source")) {
            let Some(used) = layer(&room) else { continue };
            let itself = relative.starts_with(&room);
            edges += usize::from(!itself);
            if used > own || (used == own && !itself) {
                wrong.push(format!("{} uses {room}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(edges > 100, "found only {edges} uses: the test no longer reads the source");
}
