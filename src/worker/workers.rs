//! How many workers a site has: a number, or a range within which a crew follows the load.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most workers that a site may have.
pub const MOST: u32 = 512;

/// `4` or `2..8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    pub min: u32,
    pub max: u32,
}

impl Workers {
    /// Until the host's budget is divided.
    pub const OPEN: Workers = Workers::fixed(0);

    pub const fn fixed(number: u32) -> Workers {
        Workers {
            min: number,
            max: number,
        }
    }

    pub fn is_fixed(self) -> bool {
        self.min == self.max
    }
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Workers, String> {
        let number = |text: &str| text.parse().ok().filter(|n| (1..=MOST).contains(n));
        let read = match text.split_once("..") {
            Some((min, max)) => number(min).zip(number(max)),
            None => number(text).map(|number| (number, number)),
        };
        read.filter(|(min, max)| min <= max)
            .map(|(min, max)| Workers { min, max })
            .ok_or_else(|| {
                format!("expected a whole number from 1 to {MOST}, or a range of them such as 2..8")
            })
    }
}

impl fmt::Display for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_fixed() {
            true => self.min.fmt(f),
            false => write!(f, "{}..{}", self.min, self.max),
        }
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.is_fixed() {
            true => serializer.serialize_u32(self.min),
            false => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Workers, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_range_are_read_and_shown_alike() {
        for (text, min, max, json) in [
            ("1", 1, 1, "1"),
            ("512", 512, 512, "512"),
            ("2..8", 2, 8, "\"2..8\""),
            ("1..512", 1, 512, "\"1..512\""),
            ("3..3", 3, 3, "3"),
        ] {
            let workers: Workers = text.parse().unwrap();
            assert_eq!(workers, Workers { min, max }, "{text}");
            assert_eq!(workers.to_string().parse(), Ok(workers), "{text}");
            assert_eq!(serde_json::to_string(&workers).unwrap(), json, "{text}");
            let read: Workers = serde_json::from_str(json).unwrap();
            assert_eq!(read, workers, "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", "0", "513", "-1", "many", "0..8", "8..2", "1..513", "2..", "..8", "2...8", "2-8",
            "2..=8", "2 .. 8", "1..2..3",
        ] {
            let read: Result<Workers, String> = text.parse();
            assert!(
                read.unwrap_err()
                    .contains("from 1 to 512, or a range of them such as 2..8")
            );
        }
    }
}
