//! Latency spikes by event: what took longer than `latency-monitor-threshold`. LATENCY shows them.

use std::collections::BTreeMap;

/// Samples kept of each event.
const SAMPLES_MAX: usize = 160;

/// All events that have had a spike.
#[derive(Default)]
pub struct Spikes {
    events: BTreeMap<&'static str, Series>,
}

/// The spikes of one event, oldest first; at most one in a second, the highest.
#[derive(Debug, Default)]
pub struct Series {
    samples: std::collections::VecDeque<Spike>,
    /// Highest of all times, milliseconds.
    pub highest: u64,
}

/// One spike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spike {
    /// Seconds since the epoch.
    pub at: i64,
    pub millis: u64,
}

impl Spikes {
    pub fn add(&mut self, event: &'static str, spike: Spike) {
        let series = self.events.entry(event).or_default();
        series.highest = series.highest.max(spike.millis);
        match series.samples.back_mut() {
            Some(last) if last.at == spike.at => last.millis = last.millis.max(spike.millis),
            _ => {
                if series.samples.len() == SAMPLES_MAX {
                    series.samples.pop_front();
                }
                series.samples.push_back(spike);
            }
        }
    }

    /// By name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &Series)> {
        self.events.iter().map(|(event, series)| (*event, series))
    }

    /// An event by its name, in any case.
    pub fn get(&self, event: &[u8]) -> Option<(&'static str, &Series)> {
        self.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(event))
    }

    /// Forgets one event; true when it was there.
    pub fn forget(&mut self, event: &[u8]) -> bool {
        let name = self.get(event).map(|(name, _)| name);
        name.is_some_and(|name| self.events.remove(name).is_some())
    }

    /// Forgets all; returns how many events there were.
    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.events).len()
    }
}

impl Series {
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Spike> {
        self.samples.iter().copied()
    }

    pub fn latest(&self) -> Option<Spike> {
        self.samples.back().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{SAMPLES_MAX, Spike, Spikes};

    #[test]
    fn one_sample_a_second_and_a_bounded_number_of_them() {
        let mut spikes = Spikes::default();
        for (at, millis) in [(1, 5), (1, 9), (1, 7), (2, 3)] {
            spikes.add("command", Spike { at, millis });
        }
        let series = spikes.get(b"COMMAND").expect("known in any case").1;
        let kept: Vec<Spike> = series.samples().collect();
        assert_eq!(kept, [Spike { at: 1, millis: 9 }, Spike { at: 2, millis: 3 }]);
        assert_eq!((series.highest, series.latest()), (9, Some(Spike { at: 2, millis: 3 })));
        for at in 0..2 * SAMPLES_MAX as i64 {
            spikes.add("fork", Spike { at, millis: 1 });
        }
        let series = spikes.get(b"fork").expect("there").1;
        assert_eq!((series.samples().len(), series.samples().next().map(|spike| spike.at)), (160, Some(160)));
        assert!(spikes.forget(b"fork") && !spikes.forget(b"fork"));
        assert_eq!((spikes.clear(), spikes.clear()), (1, 0));
    }
}
