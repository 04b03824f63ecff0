//! Defines each option once: `options!` expands one list of fields into the
//! struct that the command line, the environment and the config file fill in,
//! and into the struct of settings that it resolves to.

/// Defines options and the settings that they resolve to.
///
/// A field has a doc comment (its help), attributes for clap, a name, a type
/// and optionally a default after `=`. In the options struct every field is an
/// `Option`; in the settings struct, only fields without a default are. `with`
/// includes a group of options defined by another `options!`.
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
            /// The options set here, and those of `under` that are not set here.
            pub fn over(self, under: Self) -> Self {
                Self {
                    $( $field: self.$field.or(under.$field), )*
                    $( $group: self.$group.over(under.$group), )*
                }
            }

            /// The options set here to another value than in `other`.
            pub fn changed_from(self, other: &Self) -> Self {
                Self {
                    $( $field: self.$field.filter(|it| other.$field.as_ref() != Some(it)), )*
                    $( $group: self.$group.changed_from(&other.$group), )*
                }
            }

            /// All defaults that are fixed values.
            pub fn defaults() -> Self {
                Self {
                    $( $field: $crate::base::options::options!(@default $($default)?), )*
                    $( $group: $GroupOptions::defaults(), )*
                }
            }

            /// Fills in the defaults of options that are not set.
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
            .ok_or_else(|| format!("expected a whole number from {low} to {high}"))
    }
}

/// Parses a path and makes it absolute, because it is recorded and a later run
/// may start in another folder. `-` means a standard stream and stays.
pub fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("expected a path".into()),
        "-" => Ok(text.into()),
        text => std::path::absolute(text).map_err(|error| error.to_string()),
    }
}

/// Parses the path of a program. A bare name stays, to be found in the PATH.
pub fn program(text: &str) -> Result<PathBuf, String> {
    match text.contains('/') || text.is_empty() {
        true => path(text),
        false => Ok(text.into()),
    }
}

/// A duration in whole seconds, the unit of all options that take a time.
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
        /// Options for this test.
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
        assert_eq!(
            default.clone().changed_from(&default),
            WaitOptions::default()
        );
        assert_eq!(over.clone().changed_from(&default), over);
    }
}
