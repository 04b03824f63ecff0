//! Doctor on a real host: silent where all is well, and each of many faults named.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Host, Out, Site, site};
use crate::support::{add_second, on_both, on_site, ready_host};

struct Fault {
    name: &'static str,
    plant: &'static str,
    /// The check that must fail.
    check: &'static str,
    mended: Mended,
}

enum Mended {
    /// By `--fix`.
    Fix,
    /// By hand, as doctor cannot: it must not say that it can.
    Hand(&'static str),
    /// By `--fix`, and the rest of the mess is cleared away then.
    FixThen(&'static str),
}
use Mended::{Fix, FixThen, Hand};

const fn fault(
    name: &'static str,
    plant: &'static str,
    check: &'static str,
    mended: Mended,
) -> Fault {
    Fault {
        name,
        plant,
        check,
        mended,
    }
}

/// What each mess begins with, and how it is put right.
const KEEP: &str = "cp -p /var/www/site/wp-config.php /root/wp-config.php";
const BACK: &str = "cp -p /root/wp-config.php /var/www/site/wp-config.php";

const FAULTS: [Fault; 30] = [
    fault("gearmand is stopped", "systemctl stop gearman-job-server", "job-server", Fix),
    fault("gearmand is off at boot", "systemctl disable --quiet gearman-job-server", "job-server", Fix),
    fault(
        "gearmand is masked",
        "systemctl stop gearman-job-server; systemctl mask --quiet --runtime gearman-job-server",
        "job-server",
        Hand("systemctl unmask --quiet --runtime gearman-job-server; systemctl start gearman-job-server"),
    ),
    fault("gearmand hangs", "pkill -STOP gearmand", "job-server", Hand("pkill -CONT gearmand")),
    fault(
        "PARAMS without --daemon",
        "sed -i 's/--daemon//' /etc/default/gearman-job-server",
        "job-server-options",
        Fix,
    ),
    fault(
        "an option given twice",
        "sed -i 's/--listen=127.0.0.1/--listen=127.0.0.1 --listen=127.0.0.1/' /etc/default/gearman-job-server",
        "job-server-options",
        Fix,
    ),
    fault(
        "open to every network",
        "sed -i 's/--listen=127.0.0.1/--listen=0.0.0.0/' /etc/default/gearman-job-server
         systemctl restart gearman-job-server",
        "port",
        Hand("wp-gears setup --site /var/www/site --listen 127.0.0.1 --yes"),
    ),
    fault(
        "another program on the port",
        "systemctl stop gearman-job-server
         setsid python3 -c 'import socket, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((\"127.0.0.1\", 4730)); s.listen(); time.sleep(600)' >/dev/null 2>&1 </dev/null & echo $! >/root/pid; sleep 1",
        "port",
        Hand("kill $(cat /root/pid); sleep 0.5; systemctl start gearman-job-server"),
    ),
    fault(
        "few files",
        "printf '[Service]\\nLimitNOFILE=1024\\n' >/etc/systemd/system/gearman-job-server.service.d/zz.conf
         systemctl daemon-reload; systemctl restart gearman-job-server",
        "files-limit",
        Hand(
            "rm /etc/systemd/system/gearman-job-server.service.d/zz.conf
             systemctl daemon-reload; systemctl restart gearman-job-server",
        ),
    ),
    fault(
        "the queue's folder is root's",
        "chown root:root /var/lib/gearman",
        "queue-store",
        Hand("chown gearman:gearman /var/lib/gearman; systemctl restart gearman-job-server"),
    ),
    fault(
        "the queue's file is damaged",
        "dd if=/dev/urandom of=/var/lib/gearman/queue.sqlite bs=100 count=1 conv=notrunc status=none",
        "queue-store",
        Hand(
            "systemctl stop gearman-job-server; rm /var/lib/gearman/queue.sqlite
             systemctl start gearman-job-server",
        ),
    ),
    fault(
        "the queue's file is gone",
        "rm /var/lib/gearman/queue.sqlite",
        "queue-store",
        Hand("systemctl restart gearman-job-server"),
    ),
    fault(
        "a job that nobody serves",
        "php -r '$c = new GearmanClient(); $c->addServer( \"127.0.0.1\" ); $c->doBackground( \"other\", \"x\" );'",
        "queue",
        Hand(
            "php -r '$w = new GearmanWorker(); $w->addServer( \"127.0.0.1\" );
                $w->addFunction( \"other\", function () {} ); $w->work();'",
        ),
    ),
    fault(
        "pages without the extension",
        "phpdismod -s fpm gearman",
        "php-extension",
        Hand("phpenmod -s fpm gearman"),
    ),
    fault(
        "php-fpm that started without the extension",
        "phpdismod -s fpm gearman; systemctl restart 'php*-fpm.service'; phpenmod -s fpm gearman",
        "php-extension",
        Hand("systemctl restart 'php*-fpm.service'"),
    ),
    fault("supervisord is stopped", "systemctl stop supervisor", "supervisor", Fix),
    fault("supervisord's socket is gone", "rm /run/supervisor.sock", "supervisor", Hand("systemctl restart supervisor; sleep 2")),
    fault(
        "workers without a supervisord",
        "kill -KILL $(systemctl show -p MainPID --value supervisor); sleep 0.5",
        "orphans",
        Hand("kill $(pgrep -P 1 -f 'wp-gears worker'); systemctl restart supervisor; sleep 2"),
    ),
    fault(
        "another's broken program file",
        "printf '[program:other]\\nuser=root\\n' >/etc/supervisor/conf.d/other.conf",
        "program-files",
        Hand("rm /etc/supervisor/conf.d/other.conf"),
    ),
    fault(
        "our program is gone",
        "rm /etc/supervisor/conf.d/wp-gears-site.conf; supervisorctl update",
        "program-files",
        Fix,
    ),
    fault(
        "our program's command is not there",
        "sed -i 's#^command=/usr/local/lib#command=/nowhere#' /etc/supervisor/conf.d/wp-gears-site.conf
         supervisorctl update; sleep 1",
        "programs",
        Fix,
    ),
    fault("our program is stopped", "supervisorctl stop 'wp-gears-site:*'", "programs", Fix),
    fault(
        "workers run a program that was replaced",
        "cp /bin/true /root/true; mv /root/true /usr/local/lib/wp-gears/wp-gears",
        "worker-code",
        Fix,
    ),
    fault("the opcode cache is root's", "chown root:root /var/lib/wp-gears/cache/site", "worker-folders", Fix),
    fault("the runner is missing", "rm /var/www/site/wp-gears-runner.php", "runner", Fix),
    fault(
        "the plugin was renamed away",
        "cd /var/www/site/wp-content/mu-plugins; mv wp-gears-bundled.php off",
        "plugin",
        FixThen("rm /var/www/site/wp-content/mu-plugins/off"),
    ),
    fault(
        "the switch is off",
        "sed -i \"s/'WP_GEARS', true/'WP_GEARS', false/\" /var/www/site/wp-config.php",
        "settings",
        Fix,
    ),
    fault(
        "the switch is set too late",
        "sed -i \"/'WP_GEARS', true/d\" /var/www/site/wp-config.php
         echo \"if ( ! defined( 'WP_GEARS' ) ) define( 'WP_GEARS', true );\" >>/var/www/site/wp-config.php",
        "settings",
        Hand(BACK),
    ),
    fault(
        "the database's password is wrong",
        "sed -i 's/pw-site/pw-other/' /var/www/site/wp-config.php",
        "database",
        Hand(BACK),
    ),
    fault(
        "no room for logs",
        "mount -t tmpfs -o size=64k tmpfs /var/log/wp-gears
         dd if=/dev/zero of=/var/log/wp-gears/full bs=64k count=1 status=none",
        "disk",
        Hand("umount /var/log/wp-gears"),
    ),
];

/// Fails at the second site.
const SHARED_SALT: &str = r#"salt=$(sed -n "s/.*WP_ASYNC_TASK_SALT', '\([^']*\)'.*/\1/p" /var/www/site/wp-config.php)
    test -n "$salt"
    sed -i "s/'WP_ASYNC_TASK_SALT', '[^']*'/'WP_ASYNC_TASK_SALT', '$salt'/" /var/www/second/wp-config.php"#;

#[test]
fn doctor_is_silent_on_a_healthy_host_and_names_each_fault() {
    let host = ready_host("doctor");
    on_site(&host, "setup", &[]).exits(0);
    a_healthy_host_has_no_problem(&host);
    host.shell(KEEP).ok();
    let mut wrong = Vec::new();
    for fault in &FAULTS {
        if let Err(why) = is_named_and_mended(&host, fault) {
            println!("WRONG {}: {why}", fault.name);
            wrong.push(format!("{}: {why}", fault.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        FAULTS.len(),
        wrong.join("\n")
    );
    two_sites_with_one_salt_are_named(&host);
}

fn a_healthy_host_has_no_problem(host: &Host) {
    let text = host.run(&["wp-gears", "doctor"]).exits(0);
    println!("{}", text.text());
    let fastest = (0..3).map(|_| host.run(&["wp-gears", "doctor", "--json"]).exits(0));
    let fastest = fastest.min_by_key(|out| out.took).unwrap();
    println!("doctor on a healthy host: {:.2?}", fastest.took);
    let document: Value = serde_json::from_str(&fastest.stdout).unwrap();
    crate::common::judge::is_valid("doctor", &document);
    assert_eq!(document["ok"], true, "{fastest}");
    for check in document["checks"].as_array().unwrap() {
        println!("  {} ms {}", check["ms"], check["name"]);
        assert_eq!(check["status"], "ok", "{check}");
    }
    assert!(fastest.took < Duration::from_secs(4), "{fastest}");
    let some = host.run(&["wp-gears", "doctor", "clock", "disk"]).exits(0);
    assert!(!some.stdout.contains("runner"), "{some}");
    // Who is not root is told what was not looked at, and is shown no fault that is none.
    let user = host.as_user("nobody", &["wp-gears", "doctor", "--json"]);
    let document: Value = serde_json::from_str(&user.stdout).unwrap_or_else(|_| panic!("{user}"));
    for check in document["checks"].as_array().unwrap() {
        assert!(
            check["status"] == "ok" || check["status"] == "skipped",
            "{check}"
        );
    }
}

fn doctor(host: &Host, more: &[&str]) -> Out {
    host.run(&[&["wp-gears", "doctor", "--site", site::FOLDER], more].concat())
}

/// The finding that failed under this name.
fn failed(out: &Out, name: &str) -> Result<Value, String> {
    let document: Value = serde_json::from_str(&out.stdout).map_err(|e| format!("{e}: {out}"))?;
    crate::common::judge::is_valid("doctor", &document);
    let checks = document["checks"].as_array().cloned().unwrap_or_default();
    let bad: Vec<String> = checks
        .iter()
        .filter(|check| check["status"] == "failed" || check["status"] == "warning")
        .map(|check| format!("{} {}: {}", check["status"], check["name"], check["seen"]))
        .collect();
    println!("    {}", bad.join("\n    "));
    let found = checks
        .iter()
        .find(|check| check["name"] == name && check["status"] == "failed");
    found
        .cloned()
        .ok_or_else(|| format!("'{name}' does not fail, but: {}", bad.join("; ")))
}

fn is_named_and_mended(host: &Host, fault: &Fault) -> Result<(), String> {
    println!("{}", fault.name);
    host.shell(fault.plant).check().map_err(|e| e.to_string())?;
    let named = doctor(host, &["--json"]);
    let found = failed(&named, fault.check).and_then(|finding| {
        if named.code != 1 {
            return Err(format!("exit code {}", named.code));
        }
        if finding["do"] == "" {
            return Err(format!("does not say what to do: {finding}"));
        }
        let fixable = !matches!(fault.mended, Hand(_));
        if finding["fixable"] != fixable {
            return Err(format!("fixable is not {fixable}: {finding}"));
        }
        Ok(())
    });
    let after = match fault.mended {
        Fix => doctor(host, &["--fix", "--yes"]),
        FixThen(more) => {
            let out = doctor(host, &["--fix", "--yes"]);
            host.shell(more).check().map_err(|e| e.to_string())?;
            out
        }
        Hand(undo) => {
            host.shell(undo).check().map_err(|e| e.to_string())?;
            // Workers that could not run jobs try again within 30 s.
            let began = Instant::now();
            loop {
                let out = doctor(host, &[]);
                if out.code == 0 || began.elapsed() > Duration::from_secs(40) {
                    break out;
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    };
    let site = Site::first(host);
    site.forget_done();
    let sent = site.send(1, 1, 0.0);
    let ran = site.wait_for(1, Duration::from_secs(20)) == [1];
    found?;
    if after.code != 0 {
        return Err(format!("not mended: {after}"));
    }
    match ran {
        true => Ok(()),
        false => Err(format!("no job ran then: {sent}")),
    }
}

fn two_sites_with_one_salt_are_named(host: &Host) {
    add_second(host);
    host.run(&on_both("setup")).exits(0);
    host.run(&["wp-gears", "doctor"]).exits(0);
    host.shell(SHARED_SALT).ok();
    let out = host.run(&["wp-gears", "doctor", "--json"]).exits(1);
    failed(&out, "salt").unwrap_or_else(|why| panic!("{why}"));
}
