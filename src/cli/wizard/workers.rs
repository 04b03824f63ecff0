//! The question about the number of workers, with a suggestion for this host.

use anyhow::Result;

use crate::cli::wizard::Wizard;
use crate::intent::effective::parsed;
use crate::intent::options::SiteOptions;
use crate::intent::resolve::Resolved;
use crate::worker::workers::Workers;

impl Wizard<'_> {
    pub fn ask_workers(&mut self) -> Result<()> {
        let before = self.answers.site.workers.take();
        let resolved = self.resolved()?;
        let several = resolved.sites.len() > 1;
        let open = resolved
            .sites
            .iter()
            .filter(|site| !(several && self.has_workers(&site.dir)));
        let open: Vec<_> = open.collect();
        let suggested = open.iter().map(|site| site.workers).max_by_key(|it| it.max);
        let suggested = before.or(suggested).unwrap_or(Workers::fixed(2));
        self.ui.wrapped(&match self.host.live() {
            true => {
                let (cores, kilobytes) = self.host.strength();
                format!(
                    "Each worker runs one job at a time. This host has room for about {} ({cores} {}, {:.1} GB).",
                    self.host.worker_budget(),
                    if cores == 1 { "core" } else { "cores" },
                    kilobytes as f64 / f64::from(1 << 20),
                )
            }
            false => "Each worker runs one job at a time; two are enough for most sites.".into(),
        });
        let question = match &open[..] {
            [site] if several => format!("How many workers for {}?", site.name),
            [_] => "How many workers?".into(),
            _ => "How many workers for each site?".into(),
        };
        let check = |text: &str| parsed::<SiteOptions>("workers", text).map(drop);
        let text = self
            .ui
            .text(&question, Some(&suggested.to_string()), &check)?;
        self.answers.site.workers = text.parse().ok();
        self.ui.line("");
        Ok(())
    }
}

pub fn row(resolved: &Resolved) -> String {
    let mut numbers: Vec<Workers> = resolved.sites.iter().map(|site| site.workers).collect();
    let count = numbers.len();
    numbers.dedup();
    if let [each] = numbers[..]
        && count > 1
    {
        return format!("Workers   {each} for each site");
    }
    let numbers = resolved.sites.iter().map(|site| site.workers.to_string());
    format!("Workers   {}", numbers.collect::<Vec<_>>().join(" + "))
}
