//! LATENCY GRAPH and LATENCY DOCTOR: spikes for people to read.

use std::fmt::Write as _;

use crate::engine::{Notice, Series, Spikes};

/// Columns of a graph, and of the line above it.
const COLUMNS: usize = 80;
const ROWS: i64 = 4;
/// How full a cell is, from below.
const LEVELS: [char; 3] = ['_', 'o', '#'];

/// The latest spikes of an event as columns, each with how long ago it was.
pub fn graph_text(event: &str, series: &Series, now: i64) -> String {
    let samples: Vec<_> = series.samples().collect();
    let shown = &samples[samples.len().saturating_sub(COLUMNS)..];
    let high = shown.iter().map(|spike| spike.millis).max().unwrap_or(0);
    let low = shown.iter().map(|spike| spike.millis).min().unwrap_or(0);
    let mut text = format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n", series.highest);
    text.push_str(&"-".repeat(COLUMNS));
    text.push('\n');
    let steps = ROWS * LEVELS.len() as i64;
    let range = (high - low).max(1) as f64;
    let height = |millis: u64| ((((millis - low) as f64 * steps as f64) / range) as i64).min(steps - 1);
    for row in (0..ROWS).rev() {
        let cell = |millis: u64| match usize::try_from(height(millis) - row * LEVELS.len() as i64) {
            Ok(level) => LEVELS.get(level).copied().unwrap_or('|'),
            Err(_) => ' ',
        };
        text.extend(shown.iter().map(|spike| cell(spike.millis)));
        text.push('\n');
    }
    let labels: Vec<String> = shown.iter().map(|spike| ago(now - spike.at)).collect();
    let longest = labels.iter().map(String::len).max().unwrap_or(0);
    text.push_str(&" ".repeat(shown.len()));
    text.push('\n');
    for at in 0..longest {
        text.extend(labels.iter().map(|label| label.chars().nth(at).unwrap_or(' ')));
        text.push('\n');
    }
    text
}

fn ago(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What the spikes say, and what can be done about them.
pub fn doctor_report(spikes: &Spikes, notice: &Notice, now: i64) -> String {
    let Some(threshold) = notice.spike_from() else {
        return "Latency monitoring is off. CONFIG SET latency-monitor-threshold <milliseconds> switches it on; ask \
                again when the server has worked for a while.\n"
            .to_owned();
    };
    if spikes.iter().len() == 0 {
        return format!("No event has taken {} ms or longer: there is nothing to report.\n", threshold.as_millis());
    }
    let mut text = String::from("Events that took long since monitoring began:\n\n");
    let mut advice: Vec<String> = Vec::new();
    for (number, (event, series)) in spikes.iter().enumerate() {
        let millis: Vec<u64> = series.samples().map(|spike| spike.millis).collect();
        let count = millis.len().max(1) as u64;
        let average = millis.iter().sum::<u64>() / count;
        let deviation = millis.iter().map(|one| one.abs_diff(average)).sum::<u64>() / count;
        let since = series.samples().next().map_or(0, |spike| now - spike.at);
        let _ = writeln!(
            text,
            "{}. {event}: {count} latency spikes (average {average}ms, mean deviation {deviation}ms, period {:.2} sec). \
             Worst all time event {}ms.",
            number + 1,
            since.max(1) as f64 / count as f64,
            series.highest
        );
        advice.extend(advice_on(event, notice));
    }
    advice.dedup();
    if !advice.is_empty() {
        text.push_str("\nWhat can be done:\n\n");
        for line in advice {
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}

fn advice_on(event: &str, notice: &Notice) -> Vec<String> {
    match event {
        "command" | "fast-command" => {
            let threshold = notice.spike_from().unwrap_or_default();
            let hidden = notice.slow_from().is_none_or(|from| from > threshold);
            let mut lines = Vec::new();
            if hidden {
                lines.push(format!(
                    "The slow log leaves out calls as quick as these: CONFIG SET slowlog-log-slower-than {}.",
                    threshold.as_micros()
                ));
            }
            lines.push("SLOWLOG GET names the calls that took long; think of their complexity.".to_owned());
            lines
        }
        "expire-cycle" => vec!["Many keys come due at the same time: spread their times to live.".to_owned()],
        "eviction-cycle" | "eviction-del" => vec![
            "Memory is short all the time: raise maxmemory, or lower maxmemory-eviction-tenacity.".to_owned(),
        ],
        "aof-write" | "aof-write-alone" | "aof-write-pending-fsync" | "aof-fsync-always" => vec![
            "The disk is slow or shared: look for other programs that write to it, or relax appendfsync where a second's \
             loss can be borne."
                .to_owned(),
        ],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ago, doctor_report, graph_text};
    use crate::engine::{Notice, Spike, Spikes};
    use std::time::Duration;

    fn spikes(all: &[(i64, u64)]) -> Spikes {
        let mut spikes = Spikes::default();
        for (at, millis) in all {
            spikes.add("command", Spike { at: *at, millis: *millis });
        }
        spikes
    }

    #[test]
    fn a_graph_shows_heights_and_ages() {
        let spikes = spikes(&[(0, 100), (3500, 106), (3610, 112)]);
        let series = spikes.get(b"command").expect("there").1;
        let text = graph_text("command", series, 3620);
        let line = "-".repeat(80);
        assert_eq!(
            text,
            format!(
                "command - high 112 ms, low 100 ms (all time high 112 ms)\n{line}\n  #\n _|\n ||\n_||\n   \n121\nhm0\n  s\n"
            )
        );
    }

    #[test]
    fn ages() {
        assert_eq!([0, 59, 60, 3600, 90_000].map(ago), ["0s", "59s", "1m", "1h", "1d"]);
    }

    #[test]
    fn the_report_tells_what_to_do() {
        let notice = Notice::new(Some(Duration::from_millis(50)), 10, Some(Duration::from_millis(20)));
        let text = doctor_report(&spikes(&[(0, 100), (10, 200)]), &notice, 20);
        assert!(text.contains("1. command: 2 latency spikes (average 150ms, mean deviation 50ms, period 10.00 sec). Worst all time event 200ms."), "{text}");
        assert!(text.contains("slowlog-log-slower-than 20000"), "{text}");
        assert!(doctor_report(&Spikes::default(), &Notice::NEVER, 0).contains("off"));
        assert!(doctor_report(&Spikes::default(), &notice, 0).contains("nothing to report"));
    }
}
