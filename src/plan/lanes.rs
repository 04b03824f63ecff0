//! Which steps can be applied at the same time: those of different sites, unless they
//! write to the same place, as sites that share a folder or a file do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::host::files::{Meta, Node};
use crate::plan::Step;
use crate::plan::journal::Scope;
use crate::resource::Place;

/// The lanes of these steps, as their positions: each in order, and the lanes in the
/// order of their first steps.
pub fn of(host: &Host, steps: &[Step]) -> Vec<Vec<usize>> {
    let mut sites: BTreeMap<&Scope, usize> = BTreeMap::new();
    let mut places: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut real = Real {
        host,
        folders: BTreeMap::new(),
    };
    // For each site the lane that it is in: itself, or one that came before it.
    let mut joined: Vec<usize> = Vec::new();
    let mut of_steps = Vec::new();
    for step in steps {
        let site = *sites.entry(&step.item.scope).or_insert_with(|| {
            joined.push(joined.len());
            joined.len() - 1
        });
        of_steps.push(site);
        if let Some(place) = step.item.resource.place() {
            let other = *places.entry(real.of(place)).or_insert(site);
            let (one, two) = (first(&joined, site), first(&joined, other));
            joined[one.max(two)] = one.min(two);
        }
    }
    let mut lanes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, site) in of_steps.into_iter().enumerate() {
        lanes.entry(first(&joined, site)).or_default().push(at);
    }
    lanes.into_values().collect()
}

fn first(joined: &[usize], mut site: usize) -> usize {
    while joined[site] != site {
        site = joined[site];
    }
    site
}

/// Places without links in them.
struct Real<'h> {
    host: &'h Host,
    folders: BTreeMap<PathBuf, PathBuf>,
}

impl Real<'_> {
    fn of(&mut self, place: Place) -> PathBuf {
        if let Place::File(path) = place
            && let Ok(Node::File(Meta { path, .. })) = self.host.look_through(path)
        {
            return path;
        }
        self.named(place.path())
    }

    /// A name in a folder that may not exist yet.
    fn named(&mut self, path: &Path) -> PathBuf {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return path.to_owned();
        };
        if let Some(known) = self.folders.get(folder) {
            return known.join(name);
        }
        let real = match self.host.look_through(folder) {
            Ok(Node::Directory(meta)) => meta.path,
            _ => self.named(folder),
        };
        let here = real.join(name);
        self.folders.insert(folder.to_owned(), real);
        here
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::scratch;
    use crate::plan::Item;
    use crate::resource::State;
    use crate::resource::file::File;

    fn step(site: &str, path: &str) -> Step {
        Step {
            item: Item {
                scope: Scope::Site(site.into()),
                resource: Box::new(File::whole(path, Vec::new(), 0o644)),
            },
            state: State::Same,
        }
    }

    #[test]
    fn sites_have_lanes_of_their_own() {
        let (_dir, host) = scratch();
        let steps = [
            step("b", "/b/1"),
            step("a", "/a/1"),
            step("b", "/b/2"),
            step("a", "/a/2"),
        ];
        assert_eq!(of(&host, &steps), [vec![0, 2], vec![1, 3]]);
    }

    #[test]
    fn sites_that_write_to_the_same_place_share_a_lane() {
        let (dir, host) = scratch();
        for folder in ["a", "b", "shared"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("shared/config"), "").unwrap();
        for site in ["a", "b"] {
            std::os::unix::fs::symlink("/shared", dir.path().join(site).join("content")).unwrap();
        }
        std::os::unix::fs::symlink("/shared/config", dir.path().join("a/config")).unwrap();
        for [one, two] in [
            // A folder behind a link, which exists or not.
            ["/a/content/new", "/b/content/new"],
            ["/a/content/mu-plugins/new", "/shared/mu-plugins/new"],
            // A file behind a link.
            ["/a/config", "/shared/config"],
        ] {
            let steps = [
                step("a", "/a/1"),
                step("c", "/c/1"),
                step("b", "/b/1"),
                step("a", one),
                step("b", two),
            ];
            assert_eq!(of(&host, &steps), [vec![0, 2, 3, 4], vec![1]], "{one}");
        }
    }
}
