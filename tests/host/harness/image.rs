//! Images of hosts, as layers that are built once: the fresh release, a site on it,
//! and our packages on top. All packages come from a folder.

use std::path::PathBuf;

use anyhow::Result;

use super::debian::{self, OURS, PACKAGES};
use super::{Host, Shape, cache, site};

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Release {
    Bookworm,
    Trixie,
}

impl Release {
    pub fn name(self) -> &'static str {
        match self {
            Release::Bookworm => "bookworm",
            Release::Trixie => "trixie",
        }
    }
}

#[derive(Clone)]
pub struct Image {
    /// The topmost first.
    layers: Vec<PathBuf>,
    /// The folder with all packages, which hosts see as `PACKAGES`.
    packages: Option<PathBuf>,
}

impl Image {
    pub fn lower(&self) -> String {
        let layers: Vec<String> = self
            .layers
            .iter()
            .map(|dir| dir.display().to_string())
            .collect();
        layers.join(":")
    }

    pub fn binds(&self) -> Vec<String> {
        let packages = self.packages.iter();
        packages
            .map(|dir| format!("{}:{PACKAGES}:ro", dir.display()))
            .collect()
    }

    /// This image, with another folder that hosts see as `PACKAGES`.
    pub fn with_repository(mut self, folder: PathBuf) -> Image {
        self.packages = Some(folder);
        self
    }

    /// This image with another layer: what `build` does to a running host.
    pub fn layer(
        &self,
        name: &str,
        made_of: &str,
        shape: Shape,
        build: impl FnOnce(&Host) -> Result<()>,
    ) -> Result<Image> {
        let made_of = format!("{}\n{made_of}", self.lower());
        let entry = cache::entry(name, &made_of, |folder| {
            let host = Host::start(self, name, shape, &[])?;
            build(&host)?;
            host.into_layer(&folder.join("layer"))
        })?;
        let mut image = self.clone();
        image.layers.insert(0, entry.join("layer"));
        Ok(image)
    }

    /// Debian with systemd, and a package folder for its apt.
    pub fn base(release: Release) -> Result<Image> {
        let root = cache::entry(release.name(), debian::MADE_OF, |folder| {
            debian::debootstrap(release, &folder.join("layer"))
        })?;
        let bare = Image {
            layers: vec![root.join("layer")],
            packages: None,
        };
        let name = format!("{}-packages", release.name());
        let packages = cache::entry(&name, &bare.lower(), |folder| {
            debian::download(&bare, release, folder)
        })?;
        Ok(Image {
            packages: Some(packages),
            ..bare
        })
    }

    /// The base with MariaDB, nginx, PHP and a WordPress site that answers.
    pub fn site(release: Release) -> Result<Image> {
        Image::site_made(release, Shape::Booted)
    }

    /// The same, built in a plain container, if nothing can be booted.
    pub fn site_made(release: Release, shape: Shape) -> Result<Image> {
        let name = format!("{}-site-{}", release.name(), shape.name());
        Image::base(release)?.layer(&name, site::MADE_OF, shape, site::install)
    }

    /// The host with a site and the packages that setup installs, without any
    /// configuration.
    pub fn with_packages(release: Release) -> Result<Image> {
        let name = format!("{}-ready", release.name());
        Image::site(release)?.layer(&name, &OURS.join(" "), Shape::Booted, |host| {
            debian::install(host, &OURS)
        })
    }
}
