//! What dnf's error messages mean, and what helps.

use crate::base::problem::Problem;
use crate::host::commands::{Output, explain};

/// The first row with a text in the output counts.
const HELP: [(&[&str], &str); 9] = [
    (
        &["filtered out by exclude", "filtered out by modular"],
        "it is excluded on this host: see 'exclude' in /etc/dnf/dnf.conf and /etc/yum.repos.d, and 'dnf versionlock list'; allow it, then run again",
    ),
    (
        &["not registered", "no enabled repo"],
        "enable a repository (on RHEL: 'subscription-manager register'), then run again",
    ),
    (
        &[
            "Failed to download metadata",
            "Cannot download",
            "All mirrors were tried",
            "Cannot find a valid baseurl",
            "Could not retrieve mirrorlist",
            "Curl error",
        ],
        "make sure that the host reaches its package sources (/etc/yum.repos.d; a release past its end of life is in its maker's archive), then run again",
    ),
    (
        &[
            "GPG check FAILED",
            "is not signed",
            "ublic key",
            "GPG public keys",
        ],
        "the package's signature cannot be checked: see gpgkey of its repository in /etc/yum.repos.d, then run again",
    ),
    (
        &["incorrect checksum", "checksum doesn't match", "is damaged"],
        "the download is broken or incomplete: run 'dnf clean all', then run again; if that does not help, use another mirror in /etc/yum.repos.d",
    ),
    (
        &["nothing provides"],
        "a repository that it depends on is off (for EPEL mostly CRB or PowerTools: 'dnf config-manager --set-enabled crb'); enable it, then run again",
    ),
    (
        &[
            "Unable to find a match",
            "No match for argument",
            "No package ",
        ],
        "enable the repository that has it, then run again",
    ),
    (
        &["conflict", "Problem:"],
        "decide which of the packages named above this host needs, then run again",
    ),
    (
        &["No space left", "needs at least", "more space needed"],
        "free some space, then run again: setup continues where it stopped",
    ),
];

/// The error for a command of `program` that failed.
pub fn problem(program: &str, what: &str, output: &Output) -> Problem {
    let known = HELP
        .iter()
        .find(|(texts, _)| texts.iter().any(|text| output.says(text)));
    let help = match known {
        Some((_, help)) => (*help).to_owned(),
        None => {
            format!("fix what {program} reports, then run again: setup continues where it stopped")
        }
    };
    Problem::new(what, reason(output)).help(help)
}

/// The output without what hides the reason in it: the table of the
/// transaction and the settings of a repository.
pub fn reason(output: &Output) -> String {
    const TABLE: &str = "\nDownloading Packages:";
    const SETTINGS: &str = "\nProblem repository: ";
    let without = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let text = text.rsplit(TABLE).next().unwrap_or_default();
        match text.split_once(SETTINGS) {
            Some((before, rest)) => {
                let name = rest.lines().next().unwrap_or_default();
                format!("{before}{SETTINGS}{name}").into_bytes()
            }
            None => text.as_bytes().to_vec(),
        }
    };
    explain(&Output {
        stdout: without(&output.stdout),
        stderr: without(&output.stderr),
        status: output.status,
    })
}
