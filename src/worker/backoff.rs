//! How long to wait before retrying something that failed.

use std::time::Duration;

/// Doubles with each failure, up to `longest`, minus a random part of up to 40%,
/// so that not all workers retry at once.
pub fn pause(failures: u32, first: Duration, longest: Duration) -> Duration {
    let full = first.saturating_mul(1 << failures.min(16)).min(longest);
    let mut byte = [0];
    // Without random bytes there is no jitter, which is harmless.
    let _ = getrandom::fill(&mut byte);
    full.mul_f64(0.6 + 0.4 * f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(2));
        for failures in 0..100 {
            let full = first.saturating_mul(1 << failures.min(16)).min(longest);
            let got = pause(failures, first, longest);
            assert!(
                got <= full && got >= full.mul_f64(0.59),
                "{failures}: {got:?}"
            );
        }
    }
}
