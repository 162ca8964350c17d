//! What a crash leaves: draws, for everything unsynced, what became of it. The fault model stands in the module above.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::file::{Change, Effect, File, PAGE, Page, PageBytes};
use super::tree::{Inode, Place, Tree};
use crate::env::{Entropy, SeededEntropy};

/// Size of what a drive writes atomically.
const SECTOR: usize = 512;

/// How the machine or the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// The process dies; the machine lives on with its page cache.
    Kill,
    /// The machine dies.
    PowerCut(PowerCut),
}

impl CrashMode {
    /// Anything that a power cut may do; the seed decides.
    pub const ANY_POWER_CUT: Self = Self::PowerCut(PowerCut::ANY);
    /// Nothing unsynced is left.
    pub const ALL_UNSYNCED_LOST: Self = Self::PowerCut(PowerCut::NOTHING_KEPT);
}

/// Which of the unsynced things a power cut may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// Content of pages.
    pub data: Survival,
    /// Sizes of files.
    pub sizes: Survival,
    /// Directory entries.
    pub names: Survival,
    /// A page that a file got but that was not written back may hold old content of other files instead of zeros.
    pub stale: bool,
    /// A sector that was being written may hold garbage, its durable bytes included.
    pub ruined_sector: bool,
}

impl PowerCut {
    pub const ANY: Self =
        Self { data: Survival::Any, sizes: Survival::Any, names: Survival::Any, stale: true, ruined_sector: false };
    pub const NOTHING_KEPT: Self =
        Self { data: Survival::Lost, sizes: Survival::Lost, names: Survival::Lost, stale: false, ruined_sector: false };
}

/// What becomes of unsynced things of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    Lost,
    Kept,
    /// Each by itself, as the seed decides; whole crashes without loss and without survivors are among the draws.
    Any,
}

/// The odds of one kind of thing in one crash.
#[derive(Clone, Copy)]
enum Odds {
    Lost,
    Kept,
    /// Kept in so many cases out of eight.
    Mixed(u64),
}

pub(super) struct Dice {
    entropy: SeededEntropy,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { entropy: SeededEntropy::new(seed) }
    }

    /// Uniform in the range, ends included.
    pub(super) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.entropy.below(range.end() - range.start() + 1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.entropy.below(n) == 0
    }

    fn index(&mut self, range: RangeInclusive<usize>) -> usize {
        self.within(*range.start() as u64..=*range.end() as u64) as usize
    }

    fn odds(&mut self, survival: Survival) -> Odds {
        let drawn = match self.entropy.below(8) {
            0 => Odds::Lost,
            1 => Odds::Kept,
            2 | 3 => Odds::Mixed(1),
            4 | 5 => Odds::Mixed(4),
            _ => Odds::Mixed(7),
        };
        match survival {
            Survival::Lost => Odds::Lost,
            Survival::Kept => Odds::Kept,
            Survival::Any => drawn,
        }
    }

    fn keeps(&mut self, odds: Odds) -> bool {
        match odds {
            Odds::Lost => false,
            Odds::Kept => true,
            Odds::Mixed(eighths) => self.entropy.below(8) < eighths,
        }
    }
}

/// How much of the call in flight took place, in thousandths of its work.
pub(super) fn in_flight_share(mode: CrashMode, dice: &mut Dice) -> u64 {
    let drawn = match dice.within(0..=3) {
        0 => 0,
        1 => 1000,
        _ => dice.within(0..=1000),
    };
    match mode {
        CrashMode::PowerCut(PowerCut { data: Survival::Lost, names: Survival::Lost, .. }) => 0,
        CrashMode::PowerCut(PowerCut { data: Survival::Kept, names: Survival::Kept, .. }) => 1000,
        _ => drawn,
    }
}

/// The tree that the next start finds after a power cut.
pub(super) fn power_cut(tree: &Tree, cut: PowerCut, dice: &mut Dice) -> Tree {
    let mut platter = tree.clone();
    let names = dice.odds(cut.names);
    let mut lost: BTreeSet<&Place> = BTreeSet::new();
    let mut lost_directories: BTreeSet<Inode> = BTreeSet::new();
    for change in &tree.pending {
        let impossible = change.places().any(|place| lost.contains(place) || lost_directories.contains(&place.0));
        if dice.keeps(names) && !impossible {
            platter.name_durably(change);
        } else {
            lost.extend(change.places());
            lost_directories.extend(change.created_directory(tree));
        }
    }
    let (data, sizes) = (dice.odds(cut.data), dice.odds(cut.sizes));
    let stale = if cut.stale && dice.one_in(8) { old_pages(tree) } else { Vec::new() };
    let ruin = cut.ruined_sector;
    platter.restarted(|file| Wreck { file, data, sizes, stale: &stale, ruin }.settle(dice))
}

fn old_pages(tree: &Tree) -> Vec<Arc<[u8; PAGE]>> {
    let files = tree.files();
    let files = files.values().filter_map(|inode| tree.file(*inode).ok());
    files.flat_map(|file| file.pages.values().filter_map(|page| page.cached.clone())).collect()
}

struct Wreck<'a> {
    file: &'a File,
    data: Odds,
    sizes: Odds,
    stale: &'a [Arc<[u8; PAGE]>],
    ruin: bool,
}

impl Wreck<'_> {
    fn settle(&self, dice: &mut Dice) -> File {
        let (upto, len) = self.size(dice);
        let mut content = BTreeMap::new();
        for (number, page) in &self.file.pages {
            let start = number * PAGE as u64;
            let bytes = if page.pending.is_empty() { page.durable.clone() } else { self.page(page, start, upto, dice) };
            if start >= len {
                continue;
            }
            if let Some(mut bytes) = bytes {
                let within = (len - start).min(PAGE as u64) as usize;
                if bytes[within..].iter().any(|byte| *byte != 0) {
                    Arc::make_mut(&mut bytes)[within..].fill(0);
                }
                content.insert(*number, bytes);
            }
        }
        File::settled(content, len)
    }

    /// The length, and the last change of size that it includes.
    fn size(&self, dice: &mut Dice) -> (u64, u64) {
        let sizes = &self.file.sizes;
        let kept = match self.sizes {
            Odds::Lost => 0,
            Odds::Kept => sizes.len(),
            Odds::Mixed(_) if dice.keeps(self.sizes) => sizes.len(),
            Odds::Mixed(_) => dice.index(0..=sizes.len()),
        };
        let (upto, mut len) = if kept == 0 { (0, self.file.durable_len) } else { sizes[kept - 1] };
        if let Odds::Mixed(_) = self.sizes
            && let Some((_, next)) = sizes.get(kept)
            && *next > len
            && dice.one_in(2)
        {
            let grain = [1, SECTOR as u64, PAGE as u64][dice.index(0..=2)];
            let between = dice.within(len..=*next);
            len = len.max(between - between % grain);
        }
        (upto, len)
    }

    /// One page with unsynced changes, given which changes of size are kept.
    fn page(&self, page: &Page, start: u64, upto: u64, dice: &mut Dice) -> PageBytes {
        let kept_cut = |change: &&Change| change.sequence <= upto && matches!(change.effect, Effect::Cut { .. });
        let lost_cut = |change: &Change| change.sequence > upto && change.frees();
        let last = page.pending.iter().position(lost_cut).unwrap_or(page.pending.len());
        let state = |after: usize| {
            let mut content = page.durable.clone();
            let (done, rest) = page.pending.split_at(after);
            for change in done.iter().chain(rest.iter().filter(kept_cut)) {
                change.effect.apply(&mut content);
            }
            content
        };
        if last == 0 {
            return state(0);
        }
        let mut content = match self.data {
            Odds::Lost => state(0),
            Odds::Kept => state(last),
            Odds::Mixed(_) if dice.keeps(self.data) => state(last),
            Odds::Mixed(_) => match dice.within(0..=3) {
                0 => state(0),
                1 => state(dice.index(0..=last)),
                _ => {
                    let older = dice.index(0..=last - 1);
                    let newer = dice.index(older + 1..=last);
                    torn(state(older), state(newer), dice)
                }
            },
        };
        let grown = start >= self.file.durable_len && !matches!(self.data, Odds::Kept);
        if content.is_none() && grown && !self.stale.is_empty() {
            content = Some(self.stale[dice.index(0..=self.stale.len() - 1)].clone());
        }
        if self.ruin && dice.one_in(4) {
            ruin_sector(&mut content, &page.pending[dice.index(0..=last - 1)].effect, dice);
        }
        content
    }
}

/// A page caught between two of its states.
fn torn(older: PageBytes, newer: PageBytes, dice: &mut Dice) -> PageBytes {
    let older = older.unwrap_or_else(|| Arc::new([0; PAGE]));
    let newer = newer.unwrap_or_else(|| Arc::new([0; PAGE]));
    let differing = |at: &usize| older[*at] != newer[*at];
    let (Some(from), Some(to)) = ((0..PAGE).find(differing), (0..PAGE).rfind(differing)) else {
        return Some(newer);
    };
    let mut mixed = *older;
    match dice.within(0..=3) {
        0 => {
            for sector in from / SECTOR..=to / SECTOR {
                if dice.one_in(2) {
                    let range = sector * SECTOR..(sector + 1) * SECTOR;
                    mixed[range.clone()].copy_from_slice(&newer[range]);
                }
            }
        }
        1 => {
            let at = dice.index(from..=to + 1);
            mixed[at..].copy_from_slice(&newer[at..]);
        }
        _ => {
            let at = dice.index(from..=to + 1);
            mixed[..at].copy_from_slice(&newer[..at]);
        }
    }
    Some(Arc::new(mixed))
}

fn ruin_sector(content: &mut PageBytes, effect: &Effect, dice: &mut Dice) {
    let Effect::Write { at, bytes } = effect else { return };
    if bytes.is_empty() {
        return;
    }
    let start = dice.index(*at..=at + bytes.len() - 1) / SECTOR * SECTOR;
    let page = Arc::make_mut(content.get_or_insert_with(|| Arc::new([0; PAGE])));
    dice.entropy.fill(&mut page[start..start + SECTOR]);
}
