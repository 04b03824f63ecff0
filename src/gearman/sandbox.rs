//! What gearmand may do on its host: the settings of systemd's that confine it, each
//! with the version that brought it. They are in a drop-in of their own whose name
//! sorts early, so that drop-ins of administrators override them.

use std::path::{Path, PathBuf};

use crate::gearman::options;

/// The name of the drop-in.
pub const FILE: &str = "00-wp-gears-sandbox.conf";

/// What the settings depend on.
pub struct Sandbox {
    /// The version of systemd; `None` if unknown.
    pub systemd: Option<u32>,
    /// Whether services can get mount namespaces here, which a container may forbid.
    pub namespaces: bool,
    /// Whether systemd changes to gearmand's user, so that gearmand needs no rights of
    /// root's. Otherwise it does so itself.
    pub starts_as_user: bool,
    /// The words of gearmand's command line.
    pub words: Vec<String>,
}

/// When a setting applies.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Always,
    /// Where mount namespaces are possible.
    Namespaces,
    /// Where gearmand starts as its user.
    User,
}
use When::{Always, Namespaces, User};

/// Settings without conditions of their own: the first version of systemd that knows
/// them, when they apply, and their line.
const SETTINGS: [(u32, When, &str); 26] = [
    // Other users must not read its queue and its log.
    (0, Always, "UMask=0077"),
    (187, Always, "NoNewPrivileges=yes"),
    (232, Namespaces, "ProtectKernelTunables=yes"),
    (232, Namespaces, "ProtectKernelModules=yes"),
    (244, Namespaces, "ProtectKernelLogs=yes"),
    (232, Namespaces, "ProtectControlGroups=yes"),
    (245, Namespaces, "ProtectClock=yes"),
    (242, Namespaces, "ProtectHostname=yes"),
    (247, Namespaces, "ProtectProc=invisible"),
    (
        211,
        Always,
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    ),
    (233, Always, "RestrictNamespaces=yes"),
    (231, Always, "RestrictRealtime=yes"),
    (242, Always, "RestrictSUIDSGID=yes"),
    (235, Always, "LockPersonality=yes"),
    (231, Always, "MemoryDenyWriteExecute=yes"),
    (232, User, "RemoveIPC=yes"),
    // Debian's unit makes a folder for the user before it starts gearmand.
    (0, User, "CapabilityBoundingSet=CAP_CHOWN"),
    (209, Always, "SystemCallArchitectures=native"),
    (239, Always, "SystemCallErrorNumber=EPERM"),
    (239, Always, "SystemCallFilter=@system-service"),
    (239, User, "SystemCallFilter=~@privileged"),
    (239, User, "SystemCallFilter=@chown"),
    (239, Always, RESOURCES),
    (214, Namespaces, HOME),
    (0, Namespaces, TMP),
    (209, Namespaces, DEVICES),
];

// Each of these is left out where gearmand's options need what it hides.
const HOME: &str = "ProtectHome=yes";
const TMP: &str = "PrivateTmp=yes";
const DEVICES: &str = "PrivateDevices=yes";
const RESOURCES: &str = "SystemCallFilter=~@resources";

/// The first version in which all that a read-only file system needs is known.
const STRICT: u32 = 235;

/// Options of gearmand's that name a file which it writes.
const WRITTEN: [&str; 4] = ["libsqlite3-db", "log-file", "pid-file", "tokyocabinet-file"];

/// The text of the drop-in.
pub fn drop_in(sandbox: &Sandbox) -> String {
    format!(
        "# Made by wp-gears. 'wp-gears remove' takes it out.\n\
         # To allow gearmand more, override settings in a drop-in of your own.\n\
         [Service]\n{}",
        settings(sandbox)
    )
}

/// The settings, one a line.
pub fn settings(sandbox: &Sandbox) -> String {
    let mut lines = Vec::new();
    let version = sandbox.systemd.unwrap_or(0);
    let given = options::given(&sandbox.words.join(" "));
    let paths: Vec<PathBuf> = given
        .iter()
        .filter_map(|(_, value)| value.as_deref())
        .map(Path::new)
        .filter(|path| path.is_absolute())
        .map(present_name)
        .collect();
    let below = |folders: &[&str]| {
        let is_below = |path: &PathBuf| folders.iter().any(|folder| path.starts_with(folder));
        paths.iter().any(is_below)
    };
    let hides_nothing = |line: &str| match line {
        HOME => !below(&["/home", "/root", "/run/user"]),
        TMP => !below(&["/tmp", "/var/tmp"]),
        DEVICES => !below(&["/dev/shm"]),
        RESOURCES => !given.iter().any(|(name, _)| name == "file-descriptors"),
        _ => true,
    };
    for (since, when, line) in SETTINGS {
        let applies = match when {
            Always => true,
            Namespaces => sandbox.namespaces,
            User => sandbox.starts_as_user,
        };
        if since <= version && applies && hides_nothing(line) {
            lines.push(line.to_owned());
        }
    }
    if sandbox.namespaces {
        let written = given
            .iter()
            .filter(|(name, _)| WRITTEN.contains(&name.as_str()))
            .filter_map(|(_, value)| value.as_deref());
        let written = written.map(Path::new).filter(|path| path.is_absolute());
        let known = version >= STRICT;
        let strict = known.then(|| strict(written.map(present_name), sandbox.starts_as_user));
        match strict.flatten() {
            Some(strict) => lines.extend(strict),
            None if version >= 214 => lines.push("ProtectSystem=full".to_owned()),
            None => {}
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// A file system that is read-only except for the folders of these files; `None` where
/// systemd might not understand their names.
fn strict(written: impl Iterator<Item = PathBuf>, starts_as_user: bool) -> Option<Vec<String>> {
    let usual = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    let (mut runtime, mut folders) = (Vec::new(), Vec::new());
    for path in written {
        let folder = path.parent()?.to_str()?;
        let known = folder != "/" && !folder.contains("..") && folder.chars().all(usual);
        if path.starts_with("/dev") {
            continue;
        }
        let (list, name) = match folder.strip_prefix("/run/") {
            _ if !known => return None,
            // systemd makes it for the user before the rest is read-only.
            Some(name) if starts_as_user && !name.contains('/') => (&mut runtime, name),
            _ => (&mut folders, folder),
        };
        if !list.iter().any(|there| there == name) {
            list.push(name.to_owned());
        }
    }
    let mut lines = vec!["ProtectSystem=strict".to_owned()];
    if !folders.is_empty() {
        // A missing folder is no reason not to start.
        lines.push(format!("ReadWritePaths=-{}", folders.join(" -")));
    }
    if !runtime.is_empty() {
        lines.push(format!("RuntimeDirectory={}", runtime.join(" ")));
        lines.push("RuntimeDirectoryPreserve=yes".to_owned());
    }
    Some(lines)
}

/// `/var/run` is a link to `/run`, and mounts need the real name.
fn present_name(path: &Path) -> PathBuf {
    match path.strip_prefix("/var/run") {
        Ok(below) => Path::new("/run").join(below),
        Err(_) => path.components().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "--pid-file=/run/gearman/gearmand.pid --listen=127.0.0.1 --daemon \
        --log-file=/var/log/gearman-job-server/gearmand.log --queue-type=libsqlite3 \
        --libsqlite3-db=/var/lib/gearman/queue.sqlite";

    fn lines(line: &str, systemd: u32) -> Vec<String> {
        let sandbox = Sandbox {
            systemd: Some(systemd),
            namespaces: true,
            starts_as_user: true,
            words: line.split_whitespace().map(str::to_owned).collect(),
        };
        drop_in(&sandbox).lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn has(lines: &[String], wanted: &[&str], unwanted: &[&str]) {
        for line in wanted {
            assert!(lines.iter().any(|it| it == line), "no {line} in {lines:#?}");
        }
        for start in unwanted {
            let found = lines.iter().find(|it| it.starts_with(start));
            assert_eq!(found, None, "{lines:#?}");
        }
    }

    #[test]
    fn it_may_write_where_its_files_are() {
        let debian = lines(DEBIAN, 252);
        has(
            &debian,
            &[
                "ProtectSystem=strict",
                "ReadWritePaths=-/var/log/gearman-job-server -/var/lib/gearman",
                "RuntimeDirectory=gearman",
                "ProtectHome=yes",
            ],
            &[],
        );
        let short = lines(
            "-d -l /srv/log/g.log -P /var/run/g/g.pid -q libsqlite3",
            252,
        );
        has(
            &short,
            &["ReadWritePaths=-/srv/log", "RuntimeDirectory=g"],
            &[],
        );
    }

    #[test]
    fn nothing_that_its_options_need_is_hidden() {
        let odd = lines(
            "--libsqlite3-db=/home/g/q --log-file=/tmp/log --pid-file=/dev/shm/g.pid -f 100",
            252,
        );
        has(
            &odd,
            &["ReadWritePaths=-/home/g -/tmp", "NoNewPrivileges=yes"],
            &["ProtectHome", "PrivateTmp", "PrivateDevices", RESOURCES],
        );
        let quoted = lines("--log-file=/var/log/100%/g.log", 252);
        has(&quoted, &["ProtectSystem=full"], &["ReadWritePaths"]);
    }

    #[test]
    fn systemd_gets_only_what_it_knows() {
        let el7 = lines(DEBIAN, 219);
        has(
            &el7,
            &["UMask=0077", "NoNewPrivileges=yes", "ProtectSystem=full"],
            &[
                "SystemCallFilter",
                "ReadWritePaths",
                "RestrictNamespaces",
                "Lock",
            ],
        );
        let el8 = lines(DEBIAN, 239);
        has(
            &el8,
            &["ProtectSystem=strict", "SystemCallFilter=@system-service"],
            &["ProtectClock", "ProtectHostname", "RestrictSUIDSGID"],
        );
    }

    #[test]
    fn a_container_and_a_daemon_that_starts_as_root_get_less() {
        let sandbox = |namespaces, starts_as_user| {
            let words = DEBIAN.split_whitespace().map(str::to_owned).collect();
            let text = drop_in(&Sandbox {
                systemd: Some(252),
                namespaces,
                starts_as_user,
                words,
            });
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        has(
            &sandbox(false, true),
            &["UMask=0077", "RestrictNamespaces=yes"],
            &[
                "ProtectSystem",
                "PrivateTmp",
                "ReadWritePaths",
                "RuntimeDirectory",
            ],
        );
        has(
            &sandbox(true, false),
            &["ProtectSystem=strict"],
            &[
                "CapabilityBoundingSet",
                "SystemCallFilter=~@privileged",
                "RemoveIPC",
            ],
        );
    }
}
