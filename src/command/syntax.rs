//! The grammar of a command's arguments, as its declaration writes it in one line, read into the tree of COMMAND DOCS.
//!
//! ```text
//! name:type               an argument; the type is left out for a string, and for a key that is called `key`
//! TOKEN                   a word that stands for itself, called by its own name in lower case
//! name:TOKEN              ... or by another one
//! TOKEN name:type         an argument behind a word
//! name:<a | b>            one of several
//! name:(a b)              several, together
//! [a]                     what may be left out
//! a [a ...]               what may be repeated; `TOKEN a [TOKEN a ...]` where its word is repeated with it
//! {7.0.0} {-7.0.0}        behind an argument: since when it is there, since when it is deprecated
//! name:type@2             the key spec that a key belongs to; otherwise they are counted
//! ```

use std::borrow::Cow;

/// One argument of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argument<'s> {
    pub name: Cow<'s, str>,
    /// As COMMAND DOCS calls it.
    pub kind: &'s str,
    pub token: Option<&'s str>,
    /// Position of its key spec in the declaration.
    pub key_spec: Option<usize>,
    pub since: Option<&'s str>,
    pub deprecated_since: Option<&'s str>,
    pub optional: bool,
    pub multiple: bool,
    /// The token is repeated too.
    pub multiple_token: bool,
    /// Of a block, or the alternatives.
    pub arguments: Vec<Argument<'s>>,
}

/// Types that are written behind a name.
const KINDS: [&str; 6] = ["key", "string", "integer", "double", "pattern", "unix-time"];
const PURE_TOKEN: &str = "pure-token";

/// Reads one line.
///
/// # Errors
/// What is wrong with it, in words: a mistake in a declaration.
pub fn parse_syntax(line: &str) -> Result<Vec<Argument<'_>>, String> {
    let mut parser = Parser { pieces: pieces(line), at: 0, keys: 0 };
    let arguments = parser.sequence()?;
    match parser.peek() {
        None => Ok(arguments),
        Some(piece) => Err(format!("'{piece}' where no argument can be, in: {line}")),
    }
}

/// Brackets and bars stand alone, versions with their braces; the rest is words.
fn pieces(line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let end = match rest.as_bytes()[0] {
            b'{' => rest.find('}').map_or(rest.len(), |at| at + 1),
            b'[' | b']' | b'<' | b'>' | b'(' | b')' | b'|' => 1,
            _ => rest.find(|c: char| c.is_whitespace() || "[]<>()|{".contains(c)).unwrap_or(rest.len()),
        };
        pieces.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    pieces
}

struct Parser<'s> {
    pieces: Vec<&'s str>,
    at: usize,
    /// Key arguments so far.
    keys: usize,
}

impl<'s> Parser<'s> {
    fn peek(&self) -> Option<&'s str> {
        self.pieces.get(self.at).copied()
    }

    fn take(&mut self, piece: &str) -> bool {
        let is = self.peek() == Some(piece);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, piece: &str) -> Result<(), String> {
        if self.take(piece) {
            return Ok(());
        }
        Err(format!("'{piece}' is missing before '{}'", self.peek().unwrap_or("the end")))
    }

    fn sequence(&mut self) -> Result<Vec<Argument<'s>>, String> {
        let mut arguments = Vec::new();
        while self.peek().is_some_and(|piece| !matches!(piece, "]" | ">" | ")" | "|")) {
            arguments.push(self.argument()?);
        }
        Ok(arguments)
    }

    fn argument(&mut self) -> Result<Argument<'s>, String> {
        if self.take("[") {
            let mut argument = self.argument()?;
            self.expect("]")?;
            argument.optional = true;
            return Ok(argument);
        }
        let word = self.word()?;
        let mut argument = if is_token(word) && self.peek().is_some_and(names_argument) {
            let argument_word = self.word()?;
            Argument { token: Some(word), ..self.named(argument_word)? }
        } else {
            self.named(word)?
        };
        self.repetition(&mut argument);
        while let Some(version) = self.peek().and_then(|piece| piece.strip_prefix('{')?.strip_suffix('}')) {
            self.at += 1;
            match version.strip_prefix('-') {
                Some(version) => argument.deprecated_since = Some(version),
                None => argument.since = Some(version),
            }
        }
        Ok(argument)
    }

    fn word(&mut self) -> Result<&'s str, String> {
        match self.peek() {
            Some(piece) if !"[]<>()|{".contains(&piece[..1]) => {
                self.at += 1;
                Ok(piece)
            }
            other => Err(format!("a name is missing before '{}'", other.unwrap_or("the end"))),
        }
    }

    /// What a word introduces: an argument, a token, a block or alternatives.
    fn named(&mut self, word: &'s str) -> Result<Argument<'s>, String> {
        if let Some(name) = word.strip_suffix(':').filter(|_| matches!(self.peek(), Some("<" | "("))) {
            return self.group(name);
        }
        if is_token(word) {
            let name = word.to_ascii_lowercase().into();
            return Ok(Argument { name, kind: PURE_TOKEN, token: Some(word), ..Argument::default() });
        }
        let (typed, spec) = match word.rsplit_once('@') {
            Some((typed, spec)) => (typed, Some(spec.parse().map_err(|_| format!("'{spec}' is no key spec"))?)),
            None => (word, None),
        };
        let (name, kind) = match typed.rsplit_once(':') {
            Some((name, kind)) if KINDS.contains(&kind) => (name, kind),
            Some((name, "\"\"")) => {
                return Ok(Argument { name: name.into(), kind: PURE_TOKEN, token: Some(""), ..Argument::default() });
            }
            Some((name, token)) if is_token(token) => {
                return Ok(Argument { name: name.into(), kind: PURE_TOKEN, token: Some(token), ..Argument::default() });
            }
            _ if typed == "key" => (typed, "key"),
            _ => (typed, "string"),
        };
        let mut key_spec = spec;
        if kind == "key" {
            let at = spec.unwrap_or(self.keys);
            self.keys = at + 1;
            key_spec = Some(at);
        }
        Ok(Argument { name: name.into(), kind, key_spec, ..Argument::default() })
    }

    fn group(&mut self, name: &'s str) -> Result<Argument<'s>, String> {
        if self.take("(") {
            let arguments = self.sequence()?;
            self.expect(")")?;
            return Ok(Argument { name: name.into(), kind: "block", arguments, ..Argument::default() });
        }
        self.expect("<")?;
        let mut arguments = vec![self.argument()?];
        while self.take("|") {
            arguments.push(self.argument()?);
        }
        self.expect(">")?;
        Ok(Argument { name: name.into(), kind: "oneof", arguments, ..Argument::default() })
    }

    /// Reads `[name ...]`, or `[TOKEN name ...]`, behind an argument of that name.
    fn repetition(&mut self, argument: &mut Argument<'s>) {
        if self.peek() != Some("[") {
            return;
        }
        let with_token = argument.token.is_some() && self.pieces.get(self.at + 1).copied() == argument.token;
        let name_at = self.at + 1 + usize::from(with_token);
        let named = self.pieces.get(name_at).is_some_and(|word| {
            word.strip_prefix(&*argument.name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        });
        let mut depth = 0;
        let end = (self.at..self.pieces.len()).find(|at| {
            match self.pieces[*at] {
                "[" => depth += 1,
                "]" => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        if let Some(end) = end.filter(|end| named && self.pieces[end - 1] == "...") {
            argument.multiple = true;
            argument.multiple_token = with_token;
            self.at = end + 1;
        }
    }
}

/// Words without lower-case letters stand for themselves.
fn is_token(word: &str) -> bool {
    !word.is_empty() && !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn names_argument(piece: &str) -> bool {
    !is_token(piece)
}

#[cfg(test)]
mod tests {
    use super::{Argument, parse_syntax};

    /// The tree in one line, every property in its place.
    fn show(arguments: &[Argument<'_>]) -> String {
        let one = |argument: &Argument<'_>| {
            let mut text = format!("{}={}", argument.name, argument.kind);
            for (letter, set) in [('?', argument.optional), ('+', argument.multiple), ('t', argument.multiple_token)] {
                text.extend(set.then_some(letter));
            }
            text.extend(argument.token.map(|token| format!(" {token:?}")));
            text.extend(argument.key_spec.map(|spec| format!(" @{spec}")));
            text.extend(argument.since.map(|since| format!(" since {since}")));
            text.extend(argument.deprecated_since.map(|since| format!(" until {since}")));
            if !argument.arguments.is_empty() {
                text.push_str(&format!(" {}", show(&argument.arguments)));
            }
            text
        };
        format!("({})", arguments.iter().map(one).collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn trees() {
        for (line, tree) in [
            ("", "()"),
            ("key value", "(key=key @0, value=string)"),
            (
                "source:key destination:key [REPLACE]",
                "(source=key @0, destination=key @1, replace=pure-token? \"REPLACE\")",
            ),
            ("key [key ...] timeout:double", "(key=key+ @0, timeout=double)"),
            ("[section [section ...]]", "(section=string?+)"),
            ("key [count:integer {6.2.0}]", "(key=key @0, count=integer? since 6.2.0)"),
            ("ip:port {-2.8.12}", "(ip:port=string until 2.8.12)"),
            ("[WEIGHTS weight:integer [weight ...]]", "(weight=integer?+ \"WEIGHTS\")"),
            ("[GET pattern:pattern@1 [GET pattern ...]]", "(pattern=pattern?+t \"GET\" @1)"),
            ("a:(x y:double) [a ...]", "(a=block+ (x=string, y=double))"),
            ("data:(s:double m) [data:(s:double m) ...]", "(data=block+ (s=double, m=string))"),
            (
                "[order:<ASC | DESC {7.0.0}>] id:<auto_id:* | id> [op:<equal:= | approximately:~>]",
                "(order=oneof? (asc=pure-token \"ASC\", desc=pure-token \"DESC\" since 7.0.0), \
                 id=oneof (auto_id=pure-token \"*\", id=string), \
                 op=oneof? (equal=pure-token \"=\", approximately=pure-token \"~\"))",
            ),
            (
                "args:<host-port:(host port:integer) | no-one:(NO ONE)>",
                "(args=oneof (host-port=block (host=string, \
              port=integer), no-one=block (no=pure-token \"NO\", one=pure-token \"ONE\")))",
            ),
            (
                "which:<key | empty_string:\"\"> [KEYS key [key ...]]",
                "(which=oneof (key=key @0, \
              empty_string=pure-token \"\"), key=key?+ \"KEYS\" @1)",
            ),
        ] {
            assert_eq!(parse_syntax(line).map(|tree| show(&tree)).as_deref(), Ok(tree), "{line}");
        }
    }

    #[test]
    fn mistakes() {
        for line in ["[key", "key]", "<A | B>", "name:<A | >", "name:(a", "a | b", "key@x"] {
            assert!(parse_syntax(line).is_err(), "{line}");
        }
    }
}
