//! Hosts that were set up by hand following the plugin's readme, in different ways:
//! setup adopts what exists, and remove restores it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::harness::{Host, Site};
use crate::phase::phase;
use crate::support::{daemons, everything, jobs_run, members, none, on_site, ready_host, refused};

const SERVICES: [&str; 2] = ["gearman-job-server", "supervisor"];
const SITE: &str = "/var/www/site";

/// The plugin's own runner, from the plugin's folder.
const RUNNER: &str = r#"<?php
define( 'DOING_ASYNC', true );
if ( ! defined( 'ABSPATH' ) ) {
	require_once dirname( $_SERVER['SCRIPT_FILENAME'] ) . '/wp-load.php';
}
$task   = $GLOBALS['wp_async_task'];
$worker = new GearmanWorker();
$worker->addServers( isset( $GLOBALS['gearman_servers'] ) ? implode( ',', (array) $GLOBALS['gearman_servers'] ) : '127.0.0.1:4730' );
$worker->addFunction( $task->gearman_function(), array( $task, 'do_job' ) );
exit( $worker->work() ? 0 : 1 );
"#;

/// A manual setup, on a host with the packages and the plugin.
struct Made {
    name: &'static str,
    /// PARAMS, written by hand; `None` for the package's own.
    options: Option<&'static str>,
    /// Lines in wp-config.php, before WordPress is loaded.
    constants: &'static str,
    /// A file of supervisor, and what is added to it.
    program: (&'static str, &'static str),
    /// The rest of the manual setup, as a script.
    script: &'static str,
    /// Whether jobs already ran before setup.
    worked: bool,
    workers: usize,
    group: &'static str,
}

const LINK: &str = "ln -s wp-content/plugins/wp-gears/wp-gears-runner.php wp-gears-runner.php
    chown -h www-data: wp-gears-runner.php";
const START: &str = "systemctl restart gearman-job-server; supervisorctl update";

const BY_README: Made = Made {
    name: "the readme's program under a name of its own",
    options: Some("PARAMS=\"--listen=localhost --daemon\"\n"),
    constants: "define( 'WP_GEARS', true );\ndefine( 'WP_ASYNC_TASK_SALT', 'by-hand' );\n\
                global $gearman_servers;\n$gearman_servers = array( '127.0.0.1:4730' );\n",
    program: (
        "conf.d/jobs.conf",
        "[program:jobs]\ncommand=/usr/bin/php /var/www/site/wp-gears-runner.php\n\
         autostart=true\nautorestart=true\nstartsecs=0\nuser=www-data\n",
    ),
    script: "",
    worked: true,
    workers: 1,
    group: "jobs",
};

fn hosts() -> Vec<Made> {
    vec![
        BY_README,
        Made {
            name: "in supervisor's main file, options in one line, an empty salt",
            constants: "define ( \"WP_GEARS\" , TRUE );\ndefine('WP_ASYNC_TASK_SALT','');\n\
                        $GLOBALS['gearman_servers'] = [ 'localhost:4730' ];\n",
            program: (
                "supervisord.conf",
                "\n; our jobs\n[program:wp_gears]\nautorestart = true ; always\nstartsecs = 0\n\
                 command = php /var/www/site/wp-gears-runner.php\nuser = www-data\n; the end\n",
            ),
            group: "wp_gears",
            ..BY_README
        },
        Made {
            name: "three processes along with another program, in a linked file",
            options: Some("PARAMS='--daemon --listen=127.0.0.1 --verbose=INFO'\n"),
            program: (
                "conf.d/all.conf",
                "[program:other]\ncommand=sleep 1000000\n\n[program:jobs]\n\
                 process_name=%(program_name)s-%(process_num)d\nnumprocs=3\n\
                 command=php /var/www/site/wp-gears-runner.php\nuser=www-data\nautorestart=true\nstartsecs=0\n\n\
                 # the last one\n[program:last]\ncommand=sleep 1000001\n",
            ),
            script: "mkdir /etc/deploy; mv /etc/supervisor/conf.d/all.conf /etc/deploy
                ln -s /etc/deploy/all.conf /etc/supervisor/conf.d/all.conf",
            workers: 3,
            ..BY_README
        },
        Made {
            name: "a runner relative to directory=",
            options: Some("PARAMS=--daemon\n"),
            program: (
                "conf.d/jobs.conf",
                "[program:jobs]\r\ndirectory=/var/www/site\r\ncommand=php wp-gears-runner.php\r\n\
                 user=www-data\r\nautorestart=true\r\nstartsecs=0\r\nnumprocs=2\r\nprocess_name=w%(process_num)s\r\n",
            ),
            workers: 2,
            ..BY_README
        },
        Made {
            name: "the runner copied, which never worked",
            script: "rm wp-gears-runner.php
                cp -p wp-content/plugins/wp-gears/wp-gears-runner.php .; chmod 755 wp-gears-runner.php",
            constants: "const WP_GEARS = true, WP_ASYNC_TASK_SALT = 'by-hand'; // ours\n",
            ..BY_README
        },
        Made {
            name: "PARAMS without --daemon, not restarted since",
            options: Some("PARAMS=\"--listen=localhost\"\n"),
            script: "sed -i s/startsecs=0/startsecs=1/ /etc/supervisor/conf.d/jobs.conf",
            worked: false,
            ..BY_README
        },
        Made {
            name: "PARAMS without --daemon, so the service hangs",
            options: Some("PARAMS=\"--listen=localhost\"\n"),
            script: "systemctl stop gearman-job-server
                systemctl start --no-block gearman-job-server; sleep 1",
            worked: false,
            ..BY_README
        },
        Made {
            name: "options doubled, so the job server is down",
            options: Some("PARAMS=\"--daemon -L localhost \\\n  --listen=127.0.0.1 --pid-file=/run/x.pid\"\n"),
            script: "systemctl restart gearman-job-server || :",
            worked: false,
            ..BY_README
        },
        Made {
            name: "a runner with no user of its own, services off at boot",
            program: (
                "conf.d/jobs.conf",
                "[program:jobs]\ncommand=php -q \"/var/www/site/wp-gears-runner.php\"\nautorestart=true\nstartsecs=0\n",
            ),
            script: "systemctl disable gearman-job-server supervisor",
            ..BY_README
        },
        Made {
            name: "everything stopped and disabled, only servers and salt set by hand",
            options: None,
            constants: "if ( ! defined( 'WP_ASYNC_TASK_SALT' ) ) {\n\tdefine( 'WP_ASYNC_TASK_SALT', 'guarded' );\n}\n\
                        $gearman_servers = array(\n\t'localhost:4730', // this host\n);\n",
            script: "systemctl disable --now gearman-job-server supervisor",
            worked: false,
            ..BY_README
        },
    ]
}

#[test]
fn hand_made_hosts_are_taken_over_and_given_back() {
    let host = ready_host("handmade");
    add_plugin(&host);
    let hosts = hosts();
    let count = hosts.len();
    let bad: Vec<&str> = hosts
        .into_iter()
        .filter(|made| {
            phase(made.name);
            let began = Instant::now();
            let good = catch_unwind(AssertUnwindSafe(|| taken_over_and_given_back(&host, made)));
            println!("   {:.1?}", began.elapsed());
            reset(&host);
            good.is_err()
        })
        .map(|made| made.name)
        .collect();
    assert!(bad.is_empty(), "{} of {count}: {bad:#?}", bad.len());
}

fn taken_over_and_given_back(host: &Host, made: &Made) {
    make(host, made);
    if made.worked {
        jobs_run(&Site::first(host), 3);
    }
    let before = (everything(host), services(host), programs(host));
    let others = host.processes_of("sleep 100000");

    let setup = on_site(host, "setup", &[]).exits(0);
    jobs_run(&Site::first(host), 20);
    nothing_is_doubled(host, made);
    assert_eq!(others, host.processes_of("sleep 100000"), "{setup}");

    let (after, running) = (everything(host), daemons(host));
    let second = on_site(host, "setup", &[]).exits(0);
    none(
        after.touches_to(&everything(host)),
        &format!("touched by a second setup, {second}"),
    );
    assert_eq!(running, daemons(host), "{second}");

    let removed = on_site(host, "remove", &[]).exits(0);
    none(
        before.0.changes_to(&everything(host)),
        &format!("left by remove, {setup}\n{removed}"),
    );
    assert_eq!(before.1, services(host), "{removed}");
    assert_eq!(before.2, programs(host), "{removed}");
    assert_eq!(others, host.processes_of("sleep 100000"), "{removed}");
    if made.worked {
        jobs_run(&Site::first(host), 3);
    }
}

/// Activates the plugin, and saves a copy of everything that cases change.
fn add_plugin(host: &Host) {
    let folder = format!("{SITE}/wp-content/plugins/wp-gears");
    let plugin = wp_gears::site::seal::bundled();
    host.put(&format!("{folder}/wp-gears.php"), plugin, 0o644)
        .unwrap();
    host.put(&format!("{folder}/wp-gears-runner.php"), RUNNER, 0o644)
        .unwrap();
    let activate =
        r#"require "wp-load.php"; update_option("active_plugins", ["wp-gears/wp-gears.php"]);"#;
    host.shell(&format!(
        "chmod 1777 /srv/jobs; chown -R www-data: {folder}
         cd {SITE}; runuser -u www-data -- php -r '{activate}'
         {LINK}
         tar -C / -cf /srv/before.tar etc/default etc/supervisor etc/systemd/system \
             var/www/site/wp-config.php var/www/site/wp-content/mu-plugins {}/wp-gears-runner.php",
        &SITE[1..]
    ))
    .ok();
}

fn reset(host: &Host) {
    host.shell(
        "systemctl unmask gearman-job-server supervisor
         systemctl stop supervisor gearman-job-server
         rm -rf /etc/supervisor /etc/systemd/system /etc/deploy /var/www/site/wp-config.php \
             /var/www/site/wp-*-runner.php /var/www/site/wp-content/mu-plugins \
             /var/lib/gearman/* /var/lib/wp-gears /var/log/wp-gears /usr/local/lib/wp-gears
         tar -C / -xpf /srv/before.tar
         systemctl daemon-reload
         systemctl reset-failed
         systemctl enable --now gearman-job-server supervisor
         until supervisorctl pid; do sleep 0.1; done",
    )
    .ok();
}

fn make(host: &Host, made: &Made) {
    if let Some(options) = made.options {
        host.put("/etc/default/gearman-job-server", options, 0o644)
            .unwrap();
    }
    let script = r#"
        file=/etc/supervisor/$1; printf %s "$2" >>"$file"
        sed -i '/^\/\* That.s all/,$d' wp-config.php
        printf '%s\n' "$3" "require_once __DIR__ . '/wp-settings.php';" >>wp-config.php"#;
    let (file, program) = made.program;
    let words = ["sh", "-ec", &format!("cd {SITE}; {script}"), "make", file];
    host.run(&[&words[..], &[program, made.constants]].concat())
        .ok();
    if made.worked {
        host.shell(START).ok();
    } else {
        host.shell("supervisorctl update").ok();
    }
    host.shell(&format!("cd {SITE}\n{}", made.script)).ok();
}

fn states(host: &Host) -> String {
    host.shell("supervisorctl status; ps fax -o user,args; tail -n 20 /var/log/wp-gears/*.log")
        .text()
}

#[track_caller]
fn nothing_is_doubled(host: &Host, made: &Made) {
    assert_eq!(members(host).len(), made.workers, "{}", states(host));
    let workers = host.processes_of("wp-gears worker");
    assert!(workers.iter().all(|worker| worker.uid == 33), "{workers:?}");
    assert_eq!(host.processes_of("wp-gears-runner.php"), [], "by hand");
    assert_eq!(host.processes_of("gearmand ").len(), 1);
    let status = host.run(&["supervisorctl", "status"]).stdout;
    let ours = |line: &&str| line.starts_with(&format!("{}:", made.group));
    assert_eq!(status.lines().filter(ours).count(), 1, "{status}");
    let loaded = host.as_user(
        "www-data",
        &[
            "php",
            "-d",
            "display_errors=1",
            "-r",
            &format!("require '{SITE}/wp-load.php';"),
        ],
    );
    assert_eq!(loaded.text(), "", "PHP complains");
    for name in ["WP_GEARS", "WP_ASYNC_TASK_SALT"] {
        let pattern = format!(r#"(define ?\(|const|,) *["']?{name}["']? ?[,=]"#);
        let lines = host.run(&["grep", "-cE", &pattern, &format!("{SITE}/wp-config.php")]);
        assert_eq!(lines.stdout.trim(), "1", "{name}: {lines}");
    }
}

fn services(host: &Host) -> Vec<(String, bool)> {
    let state = |unit| {
        let enabled = host.run(&["systemctl", "is-enabled", unit]).stdout;
        let active = host.run(&["systemctl", "is-active", unit]).stdout;
        (enabled, active.trim() == "active")
    };
    SERVICES.map(state).to_vec()
}

/// Supervisor's programs, by name; none if it is not running.
fn programs(host: &Host) -> Vec<String> {
    let status = host.run(&["supervisorctl", "status"]);
    let name = |line: &str| line.split_whitespace().next().unwrap_or("").to_owned();
    let names = status.stdout.lines().map(name);
    names.filter(|name| !name.starts_with("unix:")).collect()
}

#[test]
fn a_masked_service_is_left_alone() {
    let host = ready_host("masked");
    for unit in SERVICES {
        phase(format!("{unit} is masked"));
        host.run(&["systemctl", "mask", "--now", unit]).ok();
        let setup = ["wp-gears", "setup", "--site", SITE, "--yes"];
        refused(&host, &setup, 1, &[unit, "masked", "unmask"]);
        host.shell(&format!("systemctl unmask {unit}; systemctl start {unit}"))
            .ok();
    }
}
