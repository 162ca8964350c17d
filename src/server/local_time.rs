//! Broken-down time in the local time zone, which only the C library knows.
#![expect(unsafe_code, reason = "localtime_r has no safe binding among our dependencies")]

/// A moment as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    pub year: i32,
    /// 0 is January.
    pub month: usize,
    pub day: i32,
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
    /// Seconds that the zone is ahead of UTC.
    pub utc_offset: i64,
}

/// `unix_seconds` in the local time zone (`TZ`, `/etc/localtime`).
pub fn local_time(unix_seconds: i64) -> LocalTime {
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call; `tm` is plain data for which all zeros are a value, so reading it
    // is sound even where the C library could not fill it in.
    let parts = unsafe {
        libc::localtime_r(&unix_seconds, parts.as_mut_ptr());
        parts.assume_init()
    };
    LocalTime {
        year: parts.tm_year + 1900,
        month: usize::try_from(parts.tm_mon).unwrap_or(0),
        day: parts.tm_mday,
        hour: parts.tm_hour,
        minute: parts.tm_min,
        second: parts.tm_sec,
        utc_offset: parts.tm_gmtoff,
    }
}

#[cfg(test)]
mod tests {
    use super::local_time;

    #[test]
    fn a_known_moment_in_any_zone() {
        let time = local_time(1_795_226_094);
        assert_eq!((time.year, time.month, time.minute % 15, time.second), (2026, 10, 9, 54));
    }
}
