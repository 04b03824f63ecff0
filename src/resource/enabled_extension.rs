//! PHP's gearman extension where it is installed, but switched off: its ini file is
//! missing, for one of PHP's interfaces or for all.

use std::path::PathBuf;

use anyhow::Result;

use crate::base::checksum::sha256;
use crate::host::Host;
use crate::host::files::Attributes;
use crate::resource::extension::{Extension, INI, Ini};
use crate::resource::file::{Edit, FileInverse};
use crate::resource::link::LinkInverse;
use crate::resource::{Change, Inverse, Resource, ResourceId, State, Verb};

pub struct EnabledExtension {
    pub extension: Extension,
}

impl EnabledExtension {
    /// The ini files to write, and the links to make.
    fn missing(&self, host: &Host) -> Result<Ini> {
        let installed = host.installed()?;
        let packages = &self.extension.packages;
        if !packages.iter().any(|name| installed.contains_key(name))
            || self.extension.is_called_for(host)?
        {
            return Ok(Ini::default());
        }
        let mut missing = Ini::lacking(host, &self.extension.php)?;
        missing.files.retain(|file| !host.exists(file));
        Ok(missing)
    }
}

impl Resource for EnabledExtension {
    fn id(&self) -> ResourceId {
        ResourceId::EnabledExtension(self.extension.php.label())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let Ini { files, links } = self.missing(host)?;
        let links = links.into_iter().map(|(path, _)| path);
        let paths: Vec<PathBuf> = files.into_iter().chain(links).collect();
        if paths.is_empty() {
            return Ok(State::Same);
        }
        let change = Change::new(Verb::Enable);
        Ok(State::Differs(paths.iter().fold(change, |change, path| {
            change.detail(format!("create {}", path.display()))
        })))
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let Ini { files, links } = self.missing(host)?;
        let file = |path: PathBuf| {
            let after = Some(sha256(INI));
            Inverse::File(FileInverse::new(path, Edit::Whole, None, after))
        };
        let link = |(path, to)| Inverse::Link(LinkInverse::new(path, to));
        Ok(files
            .into_iter()
            .map(file)
            .chain(links.into_iter().map(link))
            .collect())
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        let Ini { files, links } = self.missing(host)?;
        for path in &files {
            host.write(path, INI, Some(Attributes::root(0o644)), None)?;
        }
        for (path, to) in &links {
            host.make_link(path, to, (0, 0))?;
        }
        Ok(())
    }
}
