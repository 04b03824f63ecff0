//! Options that are defined once: `options!` makes of one list of fields the
//! struct that the command line, the environment and the file fill in, and the
//! struct of settings that it resolves to.

/// Options and the settings that they resolve to.
///
/// A field is its help, what clap needs to know, its name and its type, and,
/// after `=`, its default. The options struct has an `Option` of each. The
/// settings struct has the value where there is a default, else the `Option`.
/// `with` adds a group of options that another `options!` defines.
///
/// ```ignore
/// options! {
///     /// How long …
///     pub struct WaitOptions => WaitSettings {
///         /// Stop waiting after this many seconds
///         #[arg(value_name = "SECONDS", value_parser = number::<u64>(1, 60))]
///         patience: u64 = 10,
///     }
/// }
/// ```
macro_rules! options {
    (
        $(#[$outer:meta])*
        pub struct $Options:ident => $Settings:ident {
            $( $(#[$inner:meta])* $field:ident: $type:ty $(= $default:expr)? ),* $(,)?
        }
        $( with $group:ident: $GroupOptions:ident => $GroupSettings:ident )*
    ) => {
        #[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, serde::Serialize, serde::Deserialize)]
        $(#[$outer])*
        #[serde(default, rename_all = "kebab-case")]
        pub struct $Options {
            $( $(#[$inner])* #[arg(long)] pub $field: Option<$type>, )*
            $( #[command(flatten)] #[serde(flatten)] pub $group: $GroupOptions, )*
        }

        #[doc = concat!("What [`", stringify!($Options), "`] resolve to.")]
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Settings {
            $( pub $field: $crate::base::options::options!(@setting $type $(, $default)?), )*
            $( pub $group: $GroupSettings, )*
        }

        impl $Options {
            /// Each option that is set here, and the other's where it is not.
            pub fn over(self, under: Self) -> Self {
                Self {
                    $( $field: self.$field.or(under.$field), )*
                    $( $group: self.$group.over(under.$group), )*
                }
            }

            /// Only what is set here and differs from the other.
            pub fn beyond(self, other: &Self) -> Self {
                Self {
                    $( $field: self.$field.filter(|it| other.$field.as_ref() != Some(it)), )*
                    $( $group: self.$group.beyond(&other.$group), )*
                }
            }

            /// Every default that is a fixed value.
            pub fn defaults() -> Self {
                Self {
                    $( $field: $crate::base::options::options!(@default $($default)?), )*
                    $( $group: $GroupOptions::defaults(), )*
                }
            }

            /// With the defaults of those that are not set.
            pub fn settings(self) -> $Settings {
                $Settings {
                    $( $field: $crate::base::options::options!(@resolve self.$field $(, $default)?), )*
                    $( $group: self.$group.settings(), )*
                }
            }
        }
    };
    (@setting $type:ty, $default:expr) => { $type };
    (@setting $type:ty) => { Option<$type> };
    (@default $default:expr) => { Some($default) };
    (@default) => { None };
    (@resolve $value:expr, $default:expr) => { $value.unwrap_or_else(|| $default) };
    (@resolve $value:expr) => { $value };
}

pub(crate) use options;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Parses a whole number from `low` to `high`.
pub fn number<T: TryFrom<u64>>(low: u64, high: u64) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        text.parse()
            .ok()
            .filter(|number| (low..=high).contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("it is a whole number from {low} to {high}"))
    }
}

/// Parses a path that is not empty.
pub fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("it is a path".into()),
        text => Ok(text.into()),
    }
}

/// A duration in whole seconds, as options and files write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds(pub u64);

impl From<Seconds> for Duration {
    fn from(seconds: Seconds) -> Self {
        Duration::from_secs(seconds.0)
    }
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Parses a whole number of seconds from `low` to `high`.
pub fn seconds(low: u64, high: u64) -> impl Fn(&str) -> Result<Seconds, String> + Clone {
    move |text| number(low, high)(text).map(Seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    options! {
        /// Of a test.
        pub struct WaitOptions => WaitSettings {
            /// Stop waiting after this many seconds
            #[arg(value_name = "SECONDS", value_parser = seconds(1, 60))]
            patience: Seconds = Seconds(10),
            /// Where to wait
            room: PathBuf,
        }
    }

    #[test]
    fn what_is_set_wins_and_the_rest_has_its_default() {
        let over = WaitOptions {
            patience: Some(Seconds(3)),
            ..WaitOptions::default()
        };
        let under = WaitOptions {
            patience: Some(Seconds(4)),
            room: Some("/a".into()),
        };
        let settings = over.clone().over(under).settings();
        assert_eq!(settings.patience, Seconds(3));
        assert_eq!(settings.room, Some("/a".into()));
        assert_eq!(WaitOptions::default().settings().patience, Seconds(10));
        assert_eq!(WaitOptions::defaults().patience, Some(Seconds(10)));
        let default = WaitOptions::defaults();
        assert_eq!(default.clone().beyond(&default), WaitOptions::default());
        assert_eq!(over.clone().beyond(&default), over);
    }
}
