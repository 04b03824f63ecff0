//! Odd settings of PHP's command line: setup either ends with a job that ran, or refuses
//! before it changes anything, and names the directive, the ini file and what would do.

use crate::harness::Host;
use crate::phase::phase;
use crate::support::{on_site, ready_host, refused};

const INI: &str = "/etc/php/8.2/cli/conf.d/99-odd.ini";

enum Then {
    /// A job runs.
    Runs,
    /// Setup refuses, and says this.
    Refused(&'static [&'static str]),
}
use Then::{Refused, Runs};

const SETTINGS: [(&str, Then); 16] = [
    ("disable_functions = getmypid", Runs),
    ("disable_functions = readlink,ignore_user_abort", Runs),
    (
        "disable_functions = cli_set_process_title,gc_mem_caches",
        Runs,
    ),
    ("disable_functions = ini_set,stream_socket_client", Runs),
    ("disable_functions = pcntl_waitpid", Runs),
    (
        "disable_functions = exec,shell_exec,system,passthru,popen,proc_open,pcntl_fork,pcntl_signal,posix_kill",
        Runs,
    ),
    (
        "disable_functions = exec,glob,opendir",
        Refused(&["glob (for WordPress)", "'disable_functions = exec'"]),
    ),
    (
        "disable_functions = json_encode",
        Refused(&["json_encode (for the format of jobs)"]),
    ),
    (
        "disable_classes = ReflectionMethod,GearmanClient",
        Refused(&["disable_classes", "GearmanClient (for submitting jobs)"]),
    ),
    (
        "open_basedir = /var/www",
        Refused(&["'open_basedir = /var/www:/usr/local/lib/wp-gears:/var/lib/wp-gears/run/site'"]),
    ),
    (
        "open_basedir = /srv",
        Refused(&[
            "open_basedir",
            "closes /var/www/site, /usr/local/lib/wp-gears",
        ]),
    ),
    (
        "open_basedir = /var/www:/usr/share/wordpress:/usr/local/lib/wp-gears/:/var/lib/wp-gears",
        Runs,
    ),
    (
        "auto_prepend_file = /srv/exits.php",
        Refused(&["auto_prepend_file", "/srv/exits.php, which calls exit()"]),
    ),
    ("auto_prepend_file = /srv/prints.php", Runs),
    (
        "memory_limit = 2M",
        Refused(&["memory_limit", "'memory_limit = 128M'"]),
    ),
    (
        "memory_limit = 16M\nopcache.enable_cli = 1\nopcache.preload = /srv/prints.php\nopcache.preload_user = www-data",
        Runs,
    ),
];

#[test]
fn odd_settings_of_php_are_told_or_do_not_matter() {
    let host = ready_host("oddphp");
    host.put("/srv/exits.php", "<?php exit;", 0o644).unwrap();
    host.put("/srv/prints.php", "hello", 0o644).unwrap();
    for (ini, then) in SETTINGS {
        phase(ini.lines().next().unwrap_or(ini));
        host.put(INI, format!("{ini}\n"), 0o644).unwrap();
        match then {
            Runs => runs(&host),
            Refused(says) => {
                let words = ["wp-gears", "setup", "--site", "/var/www/site", "--yes"];
                refused(&host, &words, 1, &[says, &[INI]].concat());
            }
        }
    }

    phase("set after setup");
    host.run(&["rm", INI]).ok();
    on_site(&host, "setup", &[]).exits(0);
    host.put(INI, "disable_functions = opendir\n", 0o644)
        .unwrap();
    let doctor = host.run(&["wp-gears", "doctor", "php-settings"]).exits(1);
    assert!(
        doctor.stdout.contains("opendir (for WordPress)"),
        "{doctor}"
    );
}

fn runs(host: &Host) {
    let setup = on_site(host, "setup", &[]).exits(0);
    assert!(
        setup.stdout.contains("ran a test job through WordPress"),
        "{setup}"
    );
    host.run(&["wp-gears", "doctor"]).exits(0);
    on_site(host, "remove", &[]).exits(0);
}
