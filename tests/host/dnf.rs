//! Failures of the RHEL family's package manager, also under the name yum, and that
//! the next run continues.

use crate::harness::{Host, Site, rhel, site};
use crate::support::{everything, host_of, jobs_run, none, on_site, refused};

const SETUP: [&str; 5] = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
const REPOSITORIES: &str = "/etc/yum.repos.d";

#[test]
fn what_dnf_refuses_is_told_in_its_own_words_and_the_next_run_goes_on() {
    let host = host_of(&rhel::site().unwrap(), "dnf");
    excluded(&host);
    unreachable(&host);
    epel_is_broken(&host);
    a_release_without_gearmand(&host);
}

/// Settings of its main file.
fn with_setting(host: &Host, line: &str, then: impl FnOnce()) {
    let append = format!("cp /etc/dnf/dnf.conf /tmp/kept; echo '{line}' >>/etc/dnf/dnf.conf");
    host.shell(&append).ok();
    then();
    host.run(&["mv", "/tmp/kept", "/etc/dnf/dnf.conf"]).ok();
}

fn excluded(host: &Host) {
    with_setting(host, "exclude=kernel* gearman*", || {
        refused(host, &SETUP, 1, &["gearmand", "exclude="]);
    });
    with_setting(host, "excludepkgs=epel-release", || {
        let words = ["EPEL", "filtered out by exclude", "versionlock"];
        refused(host, &SETUP, 1, &words);
    });
}

fn unreachable(host: &Host) {
    host.shell(&format!(
        "dnf -q clean all; cp -a {REPOSITORIES} /tmp/repositories
         sed -i 's,file:///srv/packages,http://127.0.0.1:9,' {REPOSITORIES}/*"
    ))
    .ok();
    let words = [
        "baseos",
        "Cannot download repomd.xml",
        "reaches its package sources",
    ];
    refused(host, &SETUP, 1, &words);
    host.shell(&format!(
        "rm -r {REPOSITORIES}; mv /tmp/repositories {REPOSITORIES}"
    ))
    .ok();
}

/// A package that is not signed, or does not match its repository's metadata.
fn epel_is_broken(host: &Host) {
    let addons = format!("{REPOSITORIES}/centos-addons.repo");
    let kept = everything(host);
    let fails = |change: &str, words: &[&str]| {
        host.shell(&format!(
            "cp {addons} /tmp/addons; sed -i '{change}' {addons}"
        ))
        .ok();
        let failed = host.run(&SETUP).exits(1);
        for word in [&["EPEL"], words].concat() {
            assert!(failed.stderr.contains(word), "{word}: {failed}");
        }
        assert!(!failed.stderr.contains("Architecture"), "{failed}");
        assert!(!host.exists("/etc/sysconfig/gearmand"));
        host.run(&["mv", "/tmp/addons", &addons]).ok();
        on_site(host, "remove", &[]).exits(0);
    };
    fails(
        "s,gpgcheck=0,gpgcheck=1\\ngpgkey=file:///etc/none,",
        &["is not signed", "signature"],
    );
    fails("s,gpgcheck=0,gpgcheck=1,", &["GPG public keys", "[extras]"]);
    host.shell("mkdir /srv/broken; cp -r /srv/packages/extras/repodata /srv/broken")
        .ok();
    fails(
        "s,/srv/packages/extras,/srv/broken,",
        &["epel-release", "checksum", "clean all"],
    );
    none(kept.changes_to(&everything(host)), "left by what failed");
}

fn a_release_without_gearmand(host: &Host) {
    host.shell("sed -i 's/^VERSION_ID=.*/VERSION_ID=10/' /usr/lib/os-release")
        .ok();
    let words = [
        "gearmand",
        "EPEL 10 and Fedora since 42",
        "--role worker,web --servers",
    ];
    refused(host, &SETUP, 1, &words);
    // A repository that the administrator enabled has it.
    let repository = "[own]\nname=own\nbaseurl=file:///srv/packages/epel\ngpgcheck=0\n";
    host.put(&format!("{REPOSITORIES}/own.repo"), repository, 0o644)
        .unwrap();
    let plan = on_site(host, "plan", &[]).exits(0);
    assert!(!plan.stdout.contains("repository EPEL"), "{plan}");
    // At first another package manager is running: dnf's locks are files with the ID of
    // a running process.
    host.shell(
        "sleep 4 >/dev/null 2>&1 & echo $! | tee /var/lib/dnf/rpmdb_lock.pid \
         >/var/cache/dnf/metadata_lock.pid",
    )
    .ok();
    let setup = on_site(host, "setup", &[]).exits(0);
    assert!(setup.took.as_secs() >= 3, "{setup}");
    jobs_run(&Site::first(host), 3);
}
