//! Formats wall-clock times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 for earlier times.
pub fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_millis() as u64
}

pub fn now_ms() -> u64 {
    millis(SystemTime::now())
}

/// Formats milliseconds since the epoch as `2026-11-25T01:27:46.123Z`. Any
/// number is shown, as some come from files of a site's user: what is beyond
/// the year 9999 as its last moment.
pub fn utc(millis: u64) -> String {
    const LAST: u64 = 253_402_300_799_999;
    let time = UNIX_EPOCH + Duration::from_millis(millis.min(LAST));
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_dates() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (1_795_570_066, "2026-11-25T01:27:46.000Z"),
        ] {
            assert_eq!(utc(seconds * 1000), shown);
        }
        assert_eq!(utc(1), "1970-01-01T00:00:00.001Z");
        assert_eq!(utc(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
