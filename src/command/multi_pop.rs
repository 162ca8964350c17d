//! The grammar of LMPOP, ZMPOP and their blocking forms: `numkeys key [key ...] where [COUNT count]`.

use super::{Args, CommandError};

/// Which of several keys to pop from, and what.
pub(super) struct MultiPop<'a, W> {
    pub keys: &'a [&'a [u8]],
    pub from: W,
    /// At least 1.
    pub count: usize,
}

impl<'a, W> MultiPop<'a, W> {
    /// `word` reads the word that says from where.
    pub fn parse(args: &mut Args<'a>, word: impl FnOnce(&mut Args<'a>) -> Option<W>) -> Result<Self, CommandError> {
        let keys = args.int_within(1..=i64::MAX, CommandError::fixed("ERR numkeys should be greater than 0"));
        args.check()?;
        let keys = args.take(usize::try_from(keys).unwrap_or(usize::MAX));
        args.check()?;
        let from = word(args).ok_or(CommandError::SYNTAX)?;
        let mut count = 1;
        if args.remaining() > 1 && args.word("count") {
            count = args.int_within(1..=i64::MAX, CommandError::fixed("ERR count should be greater than 0")) as usize;
            args.check()?;
        }
        args.finish()?;
        Ok(Self { keys, from, count })
    }
}
