//! Finds sites, describes each and lets the user choose.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use console::measure_text_width;

use crate::base::parallel;
use crate::base::problem::Problem;
use crate::cli::wizard::{Layers, Wizard};
use crate::host::Host;
use crate::intent::file::absolute;
use crate::intent::resolve::{self, SiteResolved};
use crate::report::message;
use crate::report::progress::Progress;
use crate::site::answers::Identity;
use crate::site::config::Network;
use crate::site::roots;

/// Up to this many sites, all are preselected.
const FEW: usize = 5;
const ELSEWHERE: &str = "another folder …";

pub struct Found {
    pub dir: PathBuf,
    /// A description for the user.
    pub about: String,
    /// It has the plugin or workers, so it is probably the one to set up.
    likely: bool,
    /// The reason why it cannot be set up.
    trouble: Option<String>,
    pub has_workers: bool,
    /// Its WordPress did not respond.
    unresponsive: bool,
    /// What the user should know before it is set up.
    pub note: Option<String>,
}

/// After this time no more sites are asked; their files have to be enough.
const ASKING: Duration = Duration::from_secs(5);

fn one(host: &Host, layers: &Layers, dir: &Path, until: Instant) -> Result<Found> {
    let mut spec = layers(&[dir.to_owned()])?;
    spec.sites.retain(|site| site.dir == dir);
    let resolved = resolve::resolve(host, &spec)?;
    let mut found = Found {
        dir: dir.to_owned(),
        about: String::new(),
        likely: false,
        trouble: resolved.refused.first().map(|(_, error)| trouble(error)),
        has_workers: false,
        unresponsive: false,
        note: None,
    };
    if let Some(site) = resolved.sites.first() {
        let answer = match host.live() && Instant::now() < until {
            true => Some(site.target().identify(host)),
            false => None,
        };
        found.unresponsive = matches!(answer, Some(Err(_)));
        let identity = answer.and_then(Result::ok);
        found.about = about(site, identity.as_ref());
        if found.unresponsive {
            found.about.push_str(", not responding");
        }
        found.has_workers = site.existing.is_some();
        let has_plugin = !site.plugin.bundled;
        found.likely = has_plugin || found.has_workers;
        if has_plugin && identity.is_some_and(|identity| !identity.active) {
            found.note = Some(format!(
                "{} in {} is not active: activate it, or choose the plugin 'bundled' under More",
                site.plugin.label,
                dir.display()
            ));
        }
    }
    Ok(found)
}

fn about(site: &SiteResolved, identity: Option<&Identity>) -> String {
    let mut parts = Vec::new();
    if let Some(identity) = identity.filter(|identity| !identity.name.is_empty()) {
        parts.push(format!("\"{}\"", identity.name));
    }
    let network = match identity {
        Some(identity) => identity.network,
        None => site.found.network == Network::Yes,
    };
    let kind = if network { " network" } else { "" };
    parts.push(format!("WordPress {}{kind}", site.version));
    let label = site.plugin.label;
    parts.push(match identity.map(|identity| identity.active) {
        _ if site.plugin.bundled => "no plugin yet".into(),
        None => label.to_owned(),
        Some(true) => format!("{label} active"),
        Some(false) => format!("{label} not active"),
    });
    if site.existing.is_some() {
        parts.push("has workers".into());
    }
    parts.join(", ")
}

/// The innermost reason why a site cannot be set up.
fn trouble(error: &anyhow::Error) -> String {
    let problem = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Problem>());
    match problem.last() {
        Some(problem) => problem.why.clone(),
        None => message(error, false),
    }
}

impl Wizard<'_> {
    /// Inspects the folders in parallel, and asks the sites that can be asked.
    pub fn inspect(&self, dirs: Vec<PathBuf>) -> Result<Vec<Found>> {
        let progress = Progress::new(self.ui);
        progress.start("Inspecting sites");
        let until = Instant::now() + ASKING;
        let (host, layers) = (self.host, self.layers);
        let found = parallel::map(&dirs, parallel::cores(), |dir| {
            one(host, layers, dir, until)
        });
        progress.stop();
        found.into_iter().collect()
    }

    pub fn find_sites(&mut self) -> Result<()> {
        let dirs = roots::find(self.host)?;
        self.found = self.inspect(dirs)?;
        let (bad, good): (Vec<Found>, _) = std::mem::take(&mut self.found)
            .into_iter()
            .partition(|site| site.trouble.is_some());
        self.found = good;
        // In a long list, the preselected sites come first.
        self.found
            .sort_by_key(|site| (!site.likely, site.unresponsive));
        for site in &bad {
            let why = site.trouble.as_deref().unwrap_or_default();
            let text = format!("Skipped {}: {why}", site.dir.display());
            self.ui.hanging(&text);
        }
        if !bad.is_empty() {
            self.ui.line("");
        }
        Ok(())
    }

    /// Describes the sites that were given.
    pub fn show_named(&self) {
        for site in self.found.iter().filter(|site| site.trouble.is_none()) {
            self.ui
                .wrapped(&format!("{}: {}", site.dir.display(), site.about));
        }
        self.ui.line("");
    }

    pub fn ask_sites(&mut self) -> Result<()> {
        if self.found.is_empty() {
            self.ui
                .wrapped("No WordPress sites were found in the usual web folders.");
            self.answers.sites = vec![self.ask_folder()?];
            self.ui.line("");
            return Ok(());
        }
        let mut items = self.items();
        items.push(ELSEWHERE.into());
        let now = |at: usize| match self.answers.sites.is_empty() {
            true => self.is_suggested(at),
            false => self.answers.sites.contains(&self.found[at].dir),
        };
        let mut on: Vec<bool> = (0..self.found.len()).map(now).collect();
        on.push(false);
        let chosen = match self.one_site {
            true => {
                let first = on.iter().position(|on| *on).unwrap_or(0);
                vec![self.ui.one("Which site?", &items, first)?]
            }
            false => loop {
                let hint = match self.ui.plain {
                    true => "Which sites?",
                    false => "Which sites? (space to select)",
                };
                let mut chosen = self.ui.some(hint, &items, &on)?;
                // The key that selects all means all sites that were found.
                if chosen.len() == items.len() {
                    chosen.pop();
                }
                if !chosen.is_empty() {
                    break chosen;
                }
                self.ui.line("Select at least one site.");
            },
        };
        let mut sites = Vec::new();
        for at in chosen {
            match self.found.get(at) {
                Some(site) => sites.push(site.dir.clone()),
                None => sites.push(self.ask_folder()?),
            }
        }
        let dirs: Vec<String> = sites.iter().map(|dir| dir.display().to_string()).collect();
        self.ui.answered("Which sites?", &dirs.join(" "));
        self.answers.sites = sites;
        Ok(())
    }

    /// Suggests the likely sites; without any, all of a few or the first of many.
    fn is_suggested(&self, at: usize) -> bool {
        let any = self.found.iter().any(|site| site.likely);
        let all = !any && self.found.len() <= FEW && !self.found[at].unresponsive;
        self.found[at].likely || all || (!any && at == 0)
    }

    /// One line per site if all fit, otherwise two.
    fn items(&self) -> Vec<String> {
        let width = |site: &Found| measure_text_width(&site.dir.to_string_lossy());
        let dirs = self.found.iter().map(width).max().unwrap_or(0);
        let abouts = self
            .found
            .iter()
            .map(|site| measure_text_width(&site.about));
        // The marks before an item, and an empty last column.
        let all = dirs + 2 + abouts.max().unwrap_or(0) + 7;
        let fits = self.ui.columns().is_none_or(|columns| all <= columns);
        let item = |site: &Found| {
            let dir = site.dir.display().to_string();
            match fits {
                true => format!("{dir:<dirs$}  {}", site.about),
                false => format!("{dir}\n{}", site.about),
            }
        };
        self.found.iter().map(item).collect()
    }

    fn ask_folder(&mut self) -> Result<PathBuf> {
        let (host, layers, until) = (self.host, self.layers, Instant::now());
        let check = |text: &str| {
            let dir = absolute(Path::new(text)).map_err(|error| error.to_string())?;
            match one(host, layers, &dir, until) {
                Ok(Found { trouble: None, .. }) => Ok(()),
                Ok(site) => Err(site.trouble.unwrap_or_default()),
                Err(error) => Err(message(&error, false)),
            }
        };
        let text = self
            .ui
            .text("WordPress folder (with wp-load.php)", None, &check)?;
        absolute(Path::new(&text))
    }
}
