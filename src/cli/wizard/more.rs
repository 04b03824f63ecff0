//! The menu with all other options. Their help and their validation are those
//! of the command line.

use anyhow::Result;
use clap::Arg;

use crate::cli::wizard::{Question, Wizard};
use crate::intent::effective::{host_values, names, options, parsed, site_values};
use crate::intent::options::{HostOptions, SiteOptions};
use crate::intent::resolve::Resolved;
use crate::queue::{of_option, queues};
use crate::report::message;

/// Shown for an option without a value.
const UNSET: &str = "-";

type Row = (Arg, Option<String>);

impl Wizard<'_> {
    /// Whether the option has its own question.
    fn asks(&self, option: &str) -> bool {
        let of_store = || {
            let queues = queues();
            let mut questions = queues.iter().flat_map(|queue| queue.questions());
            questions.any(|question| question.option == option)
        };
        self.questions.iter().any(|question| match question {
            Question::Sites => false,
            Question::Workers => option == "workers",
            Question::Queue => option == "queue" || of_store(),
        })
    }

    /// The options that were not given: the host's, and those of the only site.
    fn rows(&self, resolved: &Resolved) -> Result<(Vec<Row>, Vec<Row>)> {
        let spec = self.spec()?;
        let given = (self.layers)(&self.answers.sites)?;
        let open = |rows: Vec<Row>, given: Vec<String>| -> Vec<Row> {
            let name = |arg: &Arg| arg.get_long().unwrap_or_default().to_owned();
            rows.into_iter()
                .filter(|(arg, _)| {
                    let name = name(arg);
                    !self.asks(&name) && name != "salt" && !given.contains(&name)
                })
                .collect()
        };
        let mut of_host = open(host_values(&spec, resolved), names(&given.host));
        of_host.retain(|(arg, _)| {
            let queue = arg.get_long().and_then(of_option);
            queue.is_none_or(|queue| queue == resolved.host.queue)
        });
        // Site options are offered only if there is a single site.
        let of_site = match (&resolved.sites[..], &given.sites[..]) {
            ([site], [given]) => open(site_values(&spec, site), names(&given.options)),
            _ => Vec::new(),
        };
        Ok((of_host, of_site))
    }

    /// Describes the menu: the options changed there, or examples of its options.
    pub fn more_row(&self) -> String {
        let mut set = options(&self.answers.site);
        set.extend(options(&self.answers.host));
        let mut set: Vec<&str> = set.iter().map(|it| it.trim_start_matches("--")).collect();
        set.retain(|it| !self.asks(it.split([' ', '=']).next().unwrap_or_default()));
        match set.is_empty() {
            true => "user, PHP, port, limits …".into(),
            false => format!("{} …", set.join(", ")),
        }
    }

    pub fn ask_more(&mut self) -> Result<()> {
        let resolved = self.resolved()?;
        let (of_host, of_site) = self.rows(&resolved)?;
        let site_count = of_site.len();
        let rows: Vec<Row> = of_site.into_iter().chain(of_host).collect();
        let name = |arg: &Arg| arg.get_long().unwrap_or_default().to_owned();
        let width = rows
            .iter()
            .map(|(arg, _)| name(arg).len())
            .max()
            .unwrap_or(0);
        let mut items: Vec<String> = vec!["back".into()];
        items.extend(rows.iter().map(|(arg, value)| {
            let value = value.as_deref().unwrap_or(UNSET);
            format!("{:<width$}  {value}", name(arg))
        }));
        let at = self.ui.one("Which option?", &items, 0)?;
        let Some((arg, value)) = at.checked_sub(1).and_then(|at| rows.get(at)) else {
            return Ok(());
        };
        let name = name(arg);
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        self.ui.wrapped(&help);
        let before = self.answers.clone();
        let of_site = at <= site_count;
        let allowed: Vec<String> = arg
            .get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        let now = value.clone().unwrap_or_else(|| UNSET.into());
        let text = if allowed.is_empty() || name == "role" {
            let check = |text: &str| match of_site {
                _ if text == now => Ok(()),
                true => parsed::<SiteOptions>(&name, text).map(drop),
                false => parsed::<HostOptions>(&name, text).map(drop),
            };
            let text = self.ui.text(&name, Some(&now), &check)?;
            self.ui.line("");
            text
        } else {
            let at = allowed.iter().position(|it| *it == now).unwrap_or(0);
            let text = allowed[self.ui.one(&name, &allowed, at)?].clone();
            self.ui.answered(&name, &text);
            text
        };
        if text == now {
            return Ok(());
        }
        let set = match of_site {
            true => parsed::<SiteOptions>(&name, &text).map(|it| {
                self.answers.site = it.over(self.answers.site.clone());
            }),
            false => parsed::<HostOptions>(&name, &text).map(|it| {
                self.answers.host = it.over(self.answers.host.clone());
            }),
        };
        // Discard an answer that cannot be resolved on this host.
        let refused = match (set, self.resolved()) {
            (Err(why), _) => Some(why),
            (_, Err(error)) => Some(message(&error, false)),
            (_, Ok(resolved)) => resolved
                .refused
                .first()
                .map(|(_, error)| message(error, false)),
        };
        if let Some(why) = refused {
            self.ui.invalid(&why);
            self.answers = before;
            self.ui.line("");
        }
        Ok(())
    }
}
