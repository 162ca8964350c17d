//! Moments on command lines and in reports: RFC 3339 in UTC, or seconds since 1970.

use crate::env::UnixMillis;

const DAY_MS: i64 = 86_400_000;

/// A moment as an option names it: `2026-11-21`, `2026-11-21T18:04:05.678Z` (a space may stand for the T, an offset as
/// `+02:00` for the Z; without either it is UTC), or seconds since 1970, with a fraction if need be.
///
/// # Errors
/// What is accepted.
pub fn parse(text: &str) -> Result<UnixMillis, String> {
    let wrong = || format!("\"{text}\" is no time: 2026-11-21T18:04:05.678Z or seconds since 1970 are");
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        // Beyond this nobody has logged anything.
        return if ms.abs() < 1e15 { Ok(UnixMillis(ms as i64)) } else { Err(wrong()) };
    }
    read(text).map(UnixMillis).ok_or_else(wrong)
}

fn read(text: &str) -> Option<i64> {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, "00:00:00"),
    };
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (time, offset_minutes) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (&time[..at], offset(&time[at..])?),
        None => (time, 0),
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.splitn(3, ':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    let right = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !right || fraction.is_empty() || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let ms = format!("{fraction:0<3}")[..3].parse::<i64>().ok()?;
    let days = days_before(year, month, day);
    let back = civil(days);
    if back != (year, month, day) {
        return None;
    }
    Some(days * DAY_MS + ((hour * 60 + minute - offset_minutes) * 60 + second) * 1000 + ms)
}

fn number(digits: &str) -> Option<i64> {
    let right = !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|digit| digit.is_ascii_digit());
    right.then(|| digits.parse().ok())?
}

/// Minutes that an offset from UTC means.
fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (hours, minutes) = text[1..].split_once(':')?;
    let minutes = number(hours)? * 60 + number(minutes)?;
    Some(if text.starts_with('-') { -minutes } else { minutes })
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (years that begin in March, eras of 400 of them).
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// `2026-11-21T18:04:05.678Z`.
pub fn show(moment: UnixMillis) -> String {
    let (days, ms) = (moment.0.div_euclid(DAY_MS), moment.0.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_back_whatever_the_year() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T12:34:56.789Z", 951_827_696_789),
            ("2026-11-21T18:04:05.000Z", 1_795_284_245_000),
            ("1969-12-31T23:59:59.999Z", -1),
        ] {
            assert_eq!(parse(text), Ok(UnixMillis(ms)), "{text}");
            assert_eq!(show(UnixMillis(ms)), text);
        }
        for days in (-800_000..800_000).step_by(97) {
            let (year, month, day) = civil(days);
            assert_eq!(days_before(year, month, day), days);
        }
    }

    #[test]
    fn what_people_write_is_understood_and_the_rest_is_not() {
        let noon = parse("2026-11-21T12:00:00Z").expect("a time");
        for same in ["2026-11-21 12:00", "2026-11-21T14:00:00+02:00", "2026-11-21t07:30:00.0-04:30", "1795262400"] {
            assert_eq!(parse(same), Ok(noon), "{same}");
        }
        assert_eq!(parse("1795262400.25"), Ok(UnixMillis(noon.0 + 250)));
        for wrong in ["", "yesterday", "2026-02-30", "2026-13-01", "2026-11-21T25:00", "12:00", "nan", "1e300"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
