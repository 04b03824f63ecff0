//! The names of gearmand's options.

/// gearmand's options that have a short form.
pub(super) const SHORT: [(&str, char); 14] = [
    ("backlog", 'b'),
    ("daemon", 'd'),
    ("file-descriptors", 'f'),
    ("job-retries", 'j'),
    ("log-file", 'l'),
    ("listen", 'L'),
    ("port", 'p'),
    ("pid-file", 'P'),
    ("protocol", 'r'),
    ("round-robin", 'R'),
    ("queue-type", 'q'),
    ("threads", 't'),
    ("user", 'u'),
    ("worker-wakeup", 'w'),
];

/// Options without a value: the word that follows is not theirs.
pub(super) const FLAGS: [&str; 7] = [
    "check-args",
    "coredump",
    "daemon",
    "keepalive",
    "round-robin",
    "store-queue-on-shutdown",
    "syslog",
];

pub fn short(name: &str) -> Option<char> {
    let (_, short) = SHORT.iter().find(|(long, _)| *long == name)?;
    Some(*short)
}

/// The option with a short form.
pub(super) fn long_name(letter: char) -> Option<&'static str> {
    let (long, _) = SHORT.iter().find(|(_, short)| *short == letter)?;
    Some(*long)
}
