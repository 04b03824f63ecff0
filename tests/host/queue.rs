//! Queues that survive, passwords that stay secret, and jobs that are never silently
//! lost.

use std::time::{Duration, Instant};

use crate::harness::{Host, Out, Site, rhel, site};
use crate::phase::phase;
use crate::support::{
    daemons, everything, fresh_host, host_of, none, on_site, ready_host, refused,
};

const MYSQL: &[&str] = &["--queue", "mysql"];
const JOBS: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);

/// Waits for a state of a unit.
#[track_caller]
fn until(host: &Host, what: &str, limit: Duration, script: &str) {
    let begun = Instant::now();
    while host.shell(script).code != 0 {
        assert!(begun.elapsed() < limit, "{what}: {}", host.shell(script));
        std::thread::sleep(SECOND / 5);
    }
    println!("{what}: {:.1?}", begun.elapsed());
}

/// The number of waiting jobs at the job server, which must answer.
fn waiting(host: &Host) -> String {
    let ask = "exec 3<>/dev/tcp/127.0.0.1/4730 || exit 1; echo status >&3; while read -r l <&3; do [ \"$l\" = . ] && break; echo \"$l\"; done | awk '{n += $2} END {print n + 0}'";
    host.run(&["bash", "-c", ask]).stdout.trim().to_owned()
}

#[track_caller]
fn all_wait(host: &Host, when: &str) {
    let begun = Instant::now();
    while waiting(host) != JOBS.to_string() {
        assert!(
            begun.elapsed() < 20 * SECOND,
            "{when}: {} of {JOBS} wait",
            waiting(host)
        );
        std::thread::sleep(SECOND / 5);
    }
}

#[track_caller]
fn all_ran_once(host: &Host) {
    let site = Site::first(host);
    let mut done = site.wait_for(JOBS as usize, 90 * SECOND);
    std::thread::sleep(SECOND);
    done.append(&mut site.done().split_off(done.len()));
    done.sort();
    assert_eq!(done, (1..=JOBS).collect::<Vec<_>>());
}

/// 200 jobs survive everything that may happen to a server, and then run once each.
fn jobs_survive(host: &mut Host, needs_database: bool) {
    let unit = "gearman-job-server";
    phase("jobs are submitted");
    host.run(&["wp-gears", "pause", "--wait"]).exits(0);
    Site::first(host).forget_done();
    Site::first(host).send(1, JOBS, 0.0).ok();
    all_wait(host, "submitted");

    phase("gearmand is killed");
    let gearmand = host.processes_of("gearmand ")[0].pid;
    host.kill9(gearmand);
    all_wait(host, "after kill -9 of gearmand");
    phase("reboot");
    host.reboot().unwrap();
    all_wait(host, "after a reboot");
    phase("the database is restarted");
    host.run(&["systemctl", "restart", "mariadb"]).ok();
    all_wait(host, "after the database was restarted");

    phase("boot without the database");
    // Its socket would start it again.
    host.shell("systemctl mask mariadb.socket mariadb").ok();
    host.reboot().unwrap();
    std::thread::sleep(60 * SECOND);
    assert!(host.processes_of("mariadbd").is_empty());
    if needs_database {
        assert_eq!(waiting(host), "", "gearmand without its database");
    }
    phase("the database is back");
    host.shell("systemctl unmask mariadb.socket mariadb && systemctl start mariadb")
        .ok();
    let ready = format!("systemctl is-active {unit}");
    until(host, "gearmand after its database", 20 * SECOND, &ready);
    all_wait(host, "after a boot without the database");
    assert!(Site::first(host).done().is_empty());
    host.run(&["wp-gears", "resume"]).exits(0);
    all_ran_once(host);
}

fn is_same(host: &Host) {
    let (before, daemons_before) = (everything(host), daemons(host));
    let out = on_site(host, "setup", MYSQL).exits(0);
    println!("second setup: {:.0?}", out.took);
    none(before.touches_to(&everything(host)), "touched by a second");
    assert_eq!(daemons_before, daemons(host));
}

fn setup_logged(host: &Host, more: &[&str], input: &str) -> Out {
    let words = ["wp-gears", "setup", "--site", site::FOLDER, "--yes", "-v"];
    host.run_with(&[&words, more].concat(), input.as_bytes(), 120 * SECOND)
}

#[test]
fn a_mysql_queue_keeps_every_job() {
    let mut host = fresh_host("mysql");
    let databases = |host: &Host| {
        let sql = "SHOW DATABASES; SELECT user, host FROM mysql.user";
        host.run(&["mysql", "-N", "-e", sql]).ok()
    };
    phase("setup");
    let before = databases(&host);
    let out = setup_logged(&host, MYSQL, "").exits(0);
    let config = host.run(&["cat", "/etc/gearmand.conf"]).ok();
    let password = config.trim().strip_prefix("--mysql-password=").unwrap();
    assert_eq!(password.len(), 32);
    assert!(!out.text().contains(password), "{out}");
    let stat = ["stat", "-c", "%a %U:%G", "/etc/gearmand.conf"];
    assert_eq!(host.run(&stat).ok(), "640 root:gearman\n");
    let grep = "grep -rlFf - /etc /var/log /var/lib/wp-gears /run/systemd /proc/[0-9]*/cmdline";
    let found = host.run_with(&["sh", "-c", grep], password.as_bytes(), 20 * SECOND);
    assert_eq!(found.stdout, "/etc/gearmand.conf\n");
    let grants = ["mysql", "-N", "-e", "SHOW GRANTS FOR gearman@localhost"];
    let grants = host.run(&grants).ok();
    assert!(
        grants.contains("GRANT SELECT, INSERT, DELETE, CREATE ON `gearman`.`gearman_queue` TO"),
        "{grants}"
    );
    phase("a second setup touches nothing");
    is_same(&host);
    jobs_survive(&mut host, true);

    phase("remove");
    on_site(&host, "remove", &[]).exits(0);
    assert_eq!(databases(&host), before);
    assert!(!host.exists("/etc/gearmand.conf"));
}

#[test]
fn an_sqlite_queue_keeps_every_job() {
    let mut host = ready_host("sqlite");
    on_site(&host, "setup", &[]).exits(0);
    jobs_survive(&mut host, false);
}

#[test]
fn the_rhel_family_has_a_mysql_queue_too() {
    let host = host_of(&rhel::with_packages().unwrap(), "mysql-el");
    on_site(&host, "setup", MYSQL).exits(0);
    let stat = ["stat", "-c", "%a %U:%G", "/etc/gearmand.conf"];
    assert_eq!(host.run(&stat).ok(), "640 root:gearmand\n");
    Site::first(&host).send(1, JOBS, 0.0).ok();
    all_ran_once(&host);
    is_same(&host);
}

/// A database server that knows this host only by its address.
fn a_server_elsewhere(host: &Host) {
    host.shell("ip address add 10.97.3.1/32 dev lo").ok();
    let config = "[mariadbd]\nbind-address = 0.0.0.0\nmax_allowed_packet = 1M\n";
    host.put("/etc/mysql/mariadb.conf.d/99-far.cnf", config, 0o644)
        .unwrap();
    host.run(&["systemctl", "restart", "mariadb"]).ok();
}

const FAR: &[&str] = &["--queue", "mysql", "--mysql-host", "10.97.3.1"];
/// Characters that are special to a shell, SQL, option files or gearmand.
const ODD: &str = "a\\b'c\"d$e`f;g#h%i=j--k&l\u{e4}(m)";

#[test]
fn a_server_elsewhere_and_an_odd_password_will_do() {
    let host = ready_host("far");
    a_server_elsewhere(&host);
    phase("without rights on the server");
    // This host cannot create users there, so setup prints the statements to run.
    let words = [&["wp-gears", "setup", "--site", site::FOLDER, "--yes"], FAR].concat();
    refused(
        &host,
        &words,
        1,
        &["CREATE DATABASE", "--mysql-admin-defaults-file"],
    );

    phase("setup with an administrator file");
    let admin = "CREATE USER boss@'10.97.3.1' IDENTIFIED BY 'of boss';
                 GRANT ALL ON *.* TO boss@'10.97.3.1' WITH GRANT OPTION";
    host.run(&["mysql", "-e", admin]).ok();
    let file = "[client]\nuser=boss\npassword=\"of boss\"\n";
    host.put("/root/boss.cnf", file, 0o600).unwrap();
    let more = [
        FAR,
        &["--mysql-password-file", "-"],
        &["--mysql-admin-defaults-file", "/root/boss.cnf"],
    ]
    .concat();
    let out = setup_logged(&host, &more, ODD).exits(0);
    assert!(
        !out.text().contains(ODD) && !out.text().contains("of boss"),
        "{out}"
    );
    assert!(out.text().contains("database is 1 MB"), "{out}");
    assert!(host.run(&["cat", "/etc/gearmand.conf"]).ok().contains(ODD));
    Site::first(&host).send(1, JOBS, 0.0).ok();
    all_ran_once(&host);
    let options = host.run(&["cat", "/etc/default/gearman-job-server"]).ok();
    let table = format!("gearman_queue_{}", host.run(&["hostname"]).ok().trim());
    assert!(
        options.contains(&format!("--mysql-table={table}")),
        "{options}"
    );

    let doctor = host.run(&["wp-gears", "doctor", "queue-store"]);
    assert!(doctor.text().contains("database is 1 MB"), "{doctor}");

    phase("another password is refused");
    // With another password, the account is not ours to change.
    let admin = ["--mysql-admin-defaults-file", "/root/boss.cnf"];
    let given = [&["--mysql-password-file", "-"], &admin[..]].concat();
    let other = setup_logged(&host, &given, "other").exits(1);
    assert!(other.text().contains("another password"), "{other}");
    let blank = setup_logged(&host, &["--mysql-password-file", "-"], "two words").exits(2);
    assert!(blank.text().contains("white space"), "{blank}");
    phase("a changed password is taken");
    // A password changed by the administrator is adopted.
    let sql = "SET PASSWORD FOR gearman@'10.97.3.1' = PASSWORD('other')";
    host.run(&["mysql", "-e", sql]).ok();
    setup_logged(&host, &["--mysql-password-file", "-"], "other").exits(0);
    phase("another job server with the same table");
    let other = "ip link add out0 type veth peer name in0
        ip address add 10.97.4.1/24 dev out0; ip link set out0 up
        unshare --net sleep 100000 </dev/null >/dev/null 2>&1 &
        until test \"$(readlink /proc/$!/ns/net)\" != \"$(readlink /proc/self/ns/net)\"; do sleep 0.05; done
        ip link set in0 netns $!; echo $! >/run/other
        nsenter -t $! -n sh -ec 'ip link set in0 up; ip address add 10.97.4.2/24 dev in0
            ip route add 10.97.3.1/32 via 10.97.4.1'";
    host.shell(other).ok();
    let sql = format!(
        "CREATE USER gearman@'10.97.4.2' IDENTIFIED BY 'x';
         GRANT SELECT, INSERT, DELETE, CREATE ON gearman.{table} TO gearman@'10.97.4.2';
         GRANT SELECT, INSERT, DELETE, CREATE ON gearman.gearman_queue_other TO gearman@'10.97.4.2'"
    );
    host.run(&["mysql", "-e", &sql]).ok();
    // It is not there now, so nothing runs twice.
    host.run(&["wp-gears", "doctor", "queue-store"]).exits(0);
    let connection = "nsenter -t $(cat /run/other) -n mysql -h 10.97.3.1 -u gearman -px gearman -e 'SELECT SLEEP(1000)' \
        </dev/null >/dev/null 2>&1 & echo $!";
    let connection = host.shell(connection).ok();
    let doctor = || host.run(&["wp-gears", "doctor", "queue-store"]);
    until(
        &host,
        "it is found",
        20 * SECOND,
        "! wp-gears doctor queue-store",
    );
    let text = doctor().text();
    assert!(
        text.contains("10.97.4.2 has the table") && text.contains(&table),
        "{text}"
    );
    let words = [
        &["wp-gears", "setup", "--site", site::FOLDER, "--yes"],
        &admin[..],
    ]
    .concat();
    let taken = [&words[..], &["--mysql-table", "gearman_queue_other"]].concat();
    refused(&host, &taken, 1, &["the job server on 10.97.4.2 has it"]);
    let own = [
        &words[..],
        &["--mysql-table", "gearman_queue_2", "--drain", "20"],
    ]
    .concat();
    host.run(&own).exits(0);
    doctor().exits(0);
    Site::first(&host).forget_done();
    Site::first(&host).send(1, JOBS, 0.0).ok();
    all_ran_once(&host);
    host.shell(&format!("kill {}", connection.trim())).ok();

    phase("the server is down");
    host.run(&["systemctl", "stop", "mariadb.socket", "mariadb"])
        .ok();
    let away = setup_logged(&host, &["--port", "4731"], "").exits(1);
    assert!(away.text().contains("reach the database"), "{away}");
}

#[test]
fn a_queue_is_left_only_when_it_is_empty() {
    let host = ready_host("drain");
    on_site(&host, "setup", &["--queue", "memory"]).exits(0);
    let site = Site::first(&host);
    host.run(&["wp-gears", "pause", "--wait"]).exits(0);
    site.send(1, 3, 0.0).ok();
    phase("waiting jobs are not left behind");
    let words = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
    for more in [&["--queue", "sqlite"], MYSQL, &["--port", "4731"]] {
        let words = [&words, more].concat();
        refused(&host, &words, 1, &["3 jobs are queued", "--drain"]);
    }
    refused(
        &host,
        &["wp-gears", "remove", "--yes"],
        1,
        &["3 jobs are queued", "--drain"],
    );
    let soon = on_site(&host, "setup", &["--queue", "sqlite", "--drain", "1"]).exits(1);
    assert!(soon.text().contains("3 jobs are queued"), "{soon}");
    host.run(&["wp-gears", "resume"]).exits(0);
    phase("--drain waits for jobs");
    // The run waits for slow jobs, and loses none.
    site.send(4, 8, 0.4).ok();
    on_site(&host, "setup", &["--queue", "sqlite", "--drain", "30"]).exits(0);
    assert_eq!(site.wait_for(8, 5 * SECOND).len(), 8);

    phase("from a file to a table");
    // Moving from a file to a table changes the queue, a new port does not.
    host.run(&["wp-gears", "pause", "--wait"]).exits(0);
    site.send(9, 9, 0.0).ok();
    refused(&host, &[&words, MYSQL].concat(), 1, &["1 job is queued"]);
    on_site(&host, "setup", &["--port", "4731", "--no-prove"]).exits(0);
    let lost = [MYSQL, &["--lose-queued-jobs", "--no-prove"]].concat();
    on_site(&host, "setup", &lost).exits(0);
    host.run(&["wp-gears", "resume"]).exits(0);
    on_site(&host, "remove", &["--drain", "10"]).exits(0);
    assert_eq!(site.done().len(), 8);
}

#[test]
fn a_queue_file_that_keeps_no_job_is_named() {
    let host = ready_host("file");
    on_site(&host, "setup", &[]).exits(0);
    let words = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
    let file = "/var/lib/gearman/queue.sqlite";
    for (fault, says, mend) in [
        (
            format!("chown root {file}"),
            "belongs to root",
            format!("chown gearman {file}"),
        ),
        (
            format!(
                "systemctl stop gearman-job-server; cp -a {file} /root; head -c 5000 /dev/urandom >{file}"
            ),
            "is not an SQLite database",
            format!("cp -a /root/queue.sqlite {file}"),
        ),
        (
            "mount -t tmpfs -o size=64k,mode=755,uid=gearman none /var/lib/gearman".to_owned(),
            "is full",
            "umount /var/lib/gearman".to_owned(),
        ),
    ] {
        phase(&fault);
        host.shell(&fault).ok();
        refused(&host, &words, 1, &[says]);
        let doctor = host.run(&["wp-gears", "doctor", "queue-store"]).exits(1);
        assert!(doctor.text().contains(says), "{doctor}");
        host.shell(&mend).ok();
    }
    on_site(&host, "setup", &["--prove"]).exits(0);
}
