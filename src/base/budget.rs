//! How many jobs suit a machine at a time.

/// Memory for each job, in kilobytes.
const EACH_KB: u64 = 64 << 10;

/// Four for each core, with 64 MB for each in half of the memory.
pub fn of_machine(cores: u64, kilobytes: u64) -> u32 {
    let by_memory = kilobytes / 2 / EACH_KB;
    let number = cores.saturating_mul(4).min(by_memory).max(1);
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The number of cores that this process may use.
pub fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |number| number.get() as u64)
}

/// A number in `/proc/meminfo`, in kilobytes.
pub fn meminfo(text: &str, name: &str) -> Option<u64> {
    let of_line = |line: &str| {
        let rest = line.strip_prefix(name)?.strip_prefix(':')?;
        rest.split_whitespace().next()?.parse().ok()
    };
    text.lines().find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_or_memory_limit_the_number() {
        for (cores, gigabytes, number) in [(1, 1, 4), (2, 8, 8), (16, 4, 32), (64, 64, 256)] {
            assert_eq!(of_machine(cores, gigabytes << 20), number);
        }
        assert_eq!(of_machine(1, 100_000), 1);
        assert_eq!(of_machine(1, 0), 1);
    }

    #[test]
    fn lines_of_meminfo_are_found_by_name() {
        let text = "MemTotal:        24683436 kB\nMemFree:  1 kB\nMemAvailable:   23548000 kB\n";
        assert_eq!(meminfo(text, "MemAvailable"), Some(23_548_000));
        assert_eq!(meminfo(text, "Mem"), None);
        assert_eq!(meminfo("MemAvailable: many kB", "MemAvailable"), None);
    }
}
