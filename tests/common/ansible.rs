//! Real Ansible, with the collection in `contrib/ansible`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::needs::cache_folder;

const TOOLS: [&str; 2] = ["ansible-core==2.19.14", "ansible-lint==26.10.1"];

/// Programs of Ansible, in a virtual environment in the cache folder.
fn tools() -> PathBuf {
    let cache = cache_folder();
    fs::create_dir_all(&cache).unwrap();
    let place = cache.join("ansible-2.19.14");
    let lock = File::create(place.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    let done = place.join("done");
    if !done.exists() {
        let _ = fs::remove_dir_all(&place);
        let mut venv = Command::new("python3");
        succeeds(venv.args(["-m", "venv"]).arg(&place).output());
        let mut pip = Command::new(place.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]);
        succeeds(pip.args(TOOLS).stdin(Stdio::null()).output());
        File::create(done).unwrap();
    }
    place.join("bin")
}

/// What a command printed; it has to succeed.
pub fn succeeds(output: std::io::Result<Output>) -> String {
    let output = output.unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    printed(&output)
}

pub fn collection() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/ansible")
}

/// A controller with the collection.
pub struct Controller {
    pub home: tempfile::TempDir,
    tools: PathBuf,
}

impl Controller {
    pub fn new() -> Controller {
        let home = tempfile::tempdir().unwrap();
        let namespace = home.path().join("ansible_collections/wp_gears");
        fs::create_dir_all(&namespace).unwrap();
        std::os::unix::fs::symlink(collection(), namespace.join("wp_gears")).unwrap();
        Controller {
            home,
            tools: tools(),
        }
    }

    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.join(name));
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.tools.display());
        command
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8");
        command.env("HOME", self.home.path()).env("NO_COLOR", "1");
        // The plugins are in the sources.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.current_dir(self.home.path()).stdin(Stdio::null());
        command
    }
}

pub fn printed(output: &Output) -> String {
    let bytes = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(bytes).unwrap()
}
