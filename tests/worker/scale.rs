//! Priorities, and crews whose number of workers follows the load.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::json;

use super::lab::{Gearmand, Plan, Site, Worker, children, lab, run, wait_for};
use super::real_plugins::{activate, bare};
use super::software::{WP_GEARS_2_1, WP_MINIONS_3, WP_MINIONS_4};

/// One low, one normal and one high job, in this order, and the same once more.
const ALL: &str = "foreach ( array( 1, 2 ) as $n ) { foreach ( array( 'low', 'normal', 'high' ) as $priority ) {
    if ( ! is_string( wp_async_task_add( 't_line', array( \"$priority $n\" ), $priority ) ) ) { echo 'not added'; } } }";

const BY_PRIORITY: [&str; 6] = ["high 1", "high 2", "normal 1", "normal 2", "low 1", "low 2"];

#[test]
fn jobs_run_by_priority_and_in_order_within_one() {
    for (name, plain) in [("priority", false), ("priority-plain", true)] {
        let mut site = Site::with(
            name,
            Plan {
                plain,
                ..Plan::default()
            },
        );
        assert_eq!(site.php(ALL), "");
        // The job server remembers them, too.
        site.gearmand.kill();
        site.gearmand.start();
        let _worker = site.worker(&[]);
        assert_eq!(site.wait_for_out(30, 6), BY_PRIORITY);
    }
}

#[test]
fn published_plugins_submit_with_a_priority() {
    for (name, software) in [
        ("priority-gears", &WP_GEARS_2_1),
        ("priority-minions3", &WP_MINIONS_3),
        ("priority-minions4", &WP_MINIONS_4),
    ] {
        let site = bare(name, Plan::default());
        if !activate(&site, software) {
            continue;
        }
        assert_eq!(site.php(ALL), "", "{name}");
        let _worker = site.worker(&[]);
        assert_eq!(site.wait_for_out(30, 6), BY_PRIORITY, "{name}");
    }
}

/// A folder that tells a crew about a host with nothing to do, instead of /proc.
fn calm(name: &str) -> PathBuf {
    let folder = lab().dir.join(format!("{name}.proc"));
    fs::create_dir_all(&folder).unwrap();
    load(&folder, 0.1);
    memory(&folder, 8 << 20);
    folder
}

fn load(folder: &Path, load: f32) {
    let text = format!("{load:.2} 0.00 0.00 1/200 4711\n");
    fs::write(folder.join("loadavg"), text).unwrap();
}

fn memory(folder: &Path, available: u64) {
    let text = format!("MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n");
    fs::write(folder.join("meminfo"), text).unwrap();
}

fn crew(site: &Site, proc: &Path, options: &str) -> Worker {
    let options = format!("--proc {} {options}", proc.display());
    site.worker(&options.split(' ').collect::<Vec<_>>())
}

/// The number of members that a crew wants, or 0 while it has none.
fn wanted(site: &Site) -> u64 {
    let crew = site.crew().unwrap_or_default();
    match crew["asleep"] == true {
        true => 0,
        false => crew["wanted"].as_u64().unwrap_or_default(),
    }
}

fn held_by(site: &Site) -> String {
    let crew = site.crew().unwrap_or_default();
    crew["held_by"].as_str().unwrap_or_default().into()
}

/// A job that writes how long ago it was submitted, in milliseconds.
const SINCE: &str = "add_action( 't_since', function ( $args ) { out( (int) ( 1000 * ( microtime( true ) - $args[0] ) ), 'since' ); } );";

/// The longest time between submission and start, in milliseconds, of so many single jobs.
fn slowest(site: &Site, jobs: usize) -> u64 {
    let before = site.lines("since").len();
    for n in before + 1..=before + jobs {
        site.php("wp_async_task_add( 't_since', array( microtime( true ) ) );");
        wait_for(20, "a single job", || site.lines("since").len() == n);
    }
    let times = site.lines("since").split_off(before);
    times.iter().map(|ms| ms.parse().unwrap()).max().unwrap()
}

/// A second, unless jobs of a site that has the host for itself take a quarter of that,
/// as other tests run.
fn at_most(alone: u64) -> u64 {
    (4 * alone).max(1000)
}

/// Seconds from the start of a burst until all members work, and from its end until
/// there is one.
fn burst(name: &str, jobs: usize, quiet: u64) -> (f32, f32) {
    let site = Site::new(name);
    let worker = crew(
        &site,
        &calm(name),
        &format!("--workers 1..8 --worker-budget 8 --scale-quiet {quiet}"),
    );
    // The site is known, and its crew idle.
    site.add("t_line", json!(["first"]));
    site.wait_for_out(30, 1);
    assert_eq!(wanted(&site), 1);
    let (mut start, mut up) = (Instant::now(), 0.0);
    std::thread::scope(|scope| {
        scope.spawn(|| site.add_sleeping(0..jobs, 200));
        wait_for(30, "the first job", || site.waits() > 0);
        start = Instant::now();
        wait_for(60, "eight workers", || {
            wanted(&site) == 8
                && children(worker.pid()).len() == 8
                && site
                    .gearmand
                    .queue(&site.function)
                    .is_some_and(|queue| queue.workers == 8)
        });
        up = start.elapsed().as_secs_f32();
    });
    site.wait_for_out(180, jobs + 1);
    let end = Instant::now();
    wait_for(quiet + 30, "one worker", || {
        wanted(&site) <= 1 && children(worker.pid()).len() <= 1
    });
    let down = end.elapsed().as_secs_f32();
    let whole = start.elapsed().as_secs_f32();
    println!(
        "{name}: 8 workers after {up:.1} s, 1 worker {down:.1} s after the last job, {whole:.0} s in all"
    );
    let log = site.log();
    let of_crew = log.lines().filter(|line| line.contains(" crew "));
    of_crew.for_each(|line| println!("{line}"));
    assert!(!log.contains("exited"), "{log}");
    for line in [
        "2 workers instead of 1: a job has waited",
        "4 workers instead of 2: a job has waited",
        "8 workers instead of 4: a job has waited",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
    assert!(log.contains(": fewer were enough for "), "{log}");
    let mut expected: Vec<String> = (0..jobs).map(|n| n.to_string()).collect();
    expected.push("first".into());
    site.assert_once(expected);
    (up, down)
}

#[test]
fn a_burst_brings_all_workers_and_quiet_takes_them() {
    let (up, down) = burst("burst-scaled", 700, 6);
    // Other tests run at the same time.
    assert!(up < 15.0 && down < 20.0, "{up} {down}");
}

/// Two minutes, with the real times.
#[test]
#[ignore]
fn soak_a_burst_of_two_thousand_jobs() {
    let (up, down) = burst("burst-soak", 2_000, 60);
    assert!(up < 10.0 && down < 90.0, "{up} {down}");
}

#[test]
fn a_crew_of_its_own_starts_jobs_while_another_uses_the_budget() {
    let server = Gearmand::new(None);
    let shared = |name| {
        Site::with(
            name,
            Plan {
                server: Some(server.server.clone()),
                jobs: SINCE.into(),
                ..Plan::default()
            },
        )
    };
    let (noisy, other) = (shared("scale-noisy"), shared("scale-other"));
    let proc = calm("scale-budget");
    let options = "--workers 1..8 --worker-budget 4 --scale-after 1";
    let _crews = [crew(&noisy, &proc, options), crew(&other, &proc, options)];
    for site in [&noisy, &other] {
        site.add("t_line", json!(["first"]));
        site.wait_for_out(30, 1);
    }
    let alone = slowest(&other, 5);
    noisy.add_sleeping(0..1_000, 200);
    wait_for(20, "the whole budget", || wanted(&noisy) == 4);
    wait_for(10, "the budget to be the limit", || {
        held_by(&noisy) == "budget"
    });
    // A job now and then starts at once.
    let slowest = slowest(&other, 5);
    println!("the other site's jobs start after {slowest} ms at most, and {alone} ms alone");
    assert!(slowest < at_most(alone), "{slowest} {alone}");
    // It may have given up one while a job of the other waited.
    wait_for(30, "the whole budget", || wanted(&noisy) == 4);
    // Many get half of the budget.
    other.add_sleeping(0..200, 200);
    wait_for(20, "equal parts", || {
        (wanted(&noisy), wanted(&other)) == (2, 2)
    });
    noisy.wait_for_log(1, ": jobs of other sites wait");
    // The noisy one gets it back.
    other.wait_for_out(60, 201);
    wait_for(20, "the whole budget again", || wanted(&noisy) >= 3);
    noisy.wait_for_out(120, 1_001);
}

#[test]
fn jobs_of_asleep_sites_start_while_one_is_noisy() {
    fleet("scale-few", 6, 2_000);
}

/// Some minutes, most of them to make the sites.
#[test]
#[ignore]
fn soak_fifty_sites_of_which_one_is_noisy() {
    fleet("scale-fleet", 50, 6_000);
}

/// So many sites, all of them asleep, until one has so many jobs.
fn fleet(name: &str, count: usize, jobs: usize) {
    let server = Gearmand::new(None);
    let made = (0..count).map(|n| {
        Site::with(
            &format!("{name}-{n}"),
            Plan {
                server: Some(server.server.clone()),
                jobs: SINCE.into(),
                // Without the time for jobs that are not sealed.
                plain: true,
                ..Plan::default()
            },
        )
    });
    let sites: Vec<Site> = made.collect();
    let proc = calm(name);
    let options = "--workers 1..8 --worker-budget 8 --idle-timeout 2";
    let crews = sites.iter().map(|site| crew(site, &proc, options));
    let _crews: Vec<Worker> = crews.collect();
    for site in &sites {
        site.add("t_line", json!(["first"]));
    }
    let (noisy, others) = sites.split_first().unwrap();
    let all_sleep = || {
        for site in &sites {
            site.wait_for_out(60, 1);
            wait_for(60, "sleep", || wanted(site) == 0);
        }
    };
    let measure = || -> Vec<u64> {
        let mut times: Vec<u64> = others.iter().map(|site| slowest(site, 1)).collect();
        times.sort_unstable();
        times
    };
    all_sleep();
    let alone = measure();
    all_sleep();
    noisy.add_sleeping(0..jobs, 200);
    wait_for(60, "all workers of the noisy site", || wanted(noisy) == 8);
    let times = measure();
    assert!(noisy.out().len() <= jobs, "it was over too early");
    let (middle, last) = (times.len() / 2, times.len() - 1);
    println!(
        "{} sites whose PHP has to start first: their jobs begin after {} ms (median), {} ms (slowest); without the noisy one {} ms, {} ms",
        times.len(),
        times[middle],
        times[last],
        alone[middle],
        alone[last]
    );
    assert!(times[last] < at_most(alone[last]), "{times:?} {alone:?}");
}

/// A database server of its own, which accepts few connections.
struct SmallDatabase {
    child: Child,
    socket: PathBuf,
}

impl Drop for SmallDatabase {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl SmallDatabase {
    /// With the site's tables, and the site with it.
    fn of(site: &Site, most: u32) -> SmallDatabase {
        let dir = lab().dir.join(format!("{}.db", site.name));
        fs::create_dir(&dir).unwrap();
        lab().give_away(&dir);
        let (data, socket) = (dir.join("data"), dir.join("socket"));
        run(lab().command("mariadb-install-db").args([
            "--no-defaults",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
            &format!("--datadir={}", data.display()),
        ]));
        let child = lab()
            .command("/usr/sbin/mariadbd")
            .args(["--no-defaults", "--skip-networking"])
            .arg(format!("--max-connections={most}"))
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", socket.display()))
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        lab().remember(child.id());
        let this = SmallDatabase { child, socket };
        wait_for(60, "the small database", || {
            this.client("root", "SELECT 1").status().unwrap().success()
        });
        run(&mut this.client(
            "root",
            "CREATE DATABASE wp; CREATE USER wp IDENTIFIED BY 'wp'; GRANT ALL ON *.* TO wp",
        ));
        let prefix = site.name.replace('-', "_");
        let tables = lab().sql(&format!("USE wp; SHOW TABLES LIKE '{prefix}\\_%'"));
        let dump = run(Command::new("mariadb-dump")
            .args(["--no-defaults", "-uroot", "wp"])
            .args(tables.lines())
            .arg(format!("--socket={}", lab().socket().display())));
        let sql = dir.join("dump.sql");
        fs::write(&sql, dump.stdout).unwrap();
        let tables = fs::File::open(&sql).unwrap();
        run(this.client("root", "").arg("--database=wp").stdin(tables));
        let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
        let (old, new) = (lab().socket(), &this.socket);
        let config = config.replace(&old.display().to_string(), &new.display().to_string());
        site.write("wp-config.php", &config);
        this
    }

    fn client(&self, user: &str, text: &str) -> Command {
        let mut command = Command::new("mariadb");
        command
            .args(["--no-defaults", "-N"])
            .arg(format!("-u{user}"))
            .arg(format!("--socket={}", self.socket.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if user != "root" {
            command.arg("-pwp");
        }
        if !text.is_empty() {
            command.args(["-e", text]);
        }
        command
    }

    /// Pages that are connected, until this is dropped.
    fn pages(&self, count: usize) -> Pages {
        let page = || self.client("wp", "SELECT SLEEP(600)").spawn().unwrap();
        let pages = Pages((0..count).map(|_| page()).collect());
        let seen = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'wp'";
        wait_for(20, "the pages", || {
            let mut client = self.client("root", seen);
            let said = client.stdout(Stdio::piped()).output().unwrap().stdout;
            String::from_utf8_lossy(&said).trim() == count.to_string()
        });
        pages
    }
}

/// Clients of a database.
struct Pages(Vec<Child>);

impl Drop for Pages {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn grows_when_the_database_has_connections(name: &str, limit_user: bool) {
    let site = Site::new(name);
    let database = SmallDatabase::of(&site, if limit_user { 100 } else { 14 });
    if limit_user {
        let limit = "GRANT USAGE ON *.* TO wp WITH MAX_USER_CONNECTIONS 14";
        run(&mut database.client("root", limit));
    }
    site.add_sleeping(0..400, 100);
    // With one job, 3 of 14 are left.
    let pages = database.pages(10);
    let _crew = crew(
        &site,
        &calm(name),
        "--workers 1..4 --worker-budget 8 --scale-after 1",
    );
    wait_for(30, "the connections to be the limit", || {
        held_by(&site) == "connections"
    });
    site.wait_for_log(5, "the database has too few free connections");
    assert_eq!(wanted(&site), 1);
    let shown = site.wp_gears(&["status", "--servers", &site.gearmand.server.to_string()]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("the database has too few free connections"),
        "{shown}"
    );
    drop(pages);
    wait_for(30, "more workers", || wanted(&site) == 4);
    site.wait_for_out(90, 400);
    assert!(site.kept().is_empty(), "{:?}", site.kept());
}

#[test]
fn a_crew_leaves_the_databases_connections_to_pages() {
    grows_when_the_database_has_connections("scale-db", false);
}

#[test]
fn a_crew_leaves_connections_of_the_databases_user_to_pages() {
    grows_when_the_database_has_connections("scale-db-user", true);
}

#[test]
fn a_host_without_room_does_not_grow_until_it_has_some() {
    let site = Site::new("scale-room");
    let proc = calm("scale-room");
    load(&proc, 1_000.0);
    let _crew = crew(
        &site,
        &proc,
        "--workers 1..2 --worker-budget 8 --scale-after 1",
    );
    site.add_sleeping(0..250, 100);
    wait_for(20, "the load to be the limit", || held_by(&site) == "load");
    site.wait_for_log(5, "no more than 1 workers: the host's processors are busy");
    memory(&proc, 80 << 10);
    load(&proc, 0.1);
    wait_for(5, "the memory to be the limit", || {
        held_by(&site) == "memory"
    });
    assert_eq!(wanted(&site), 1);
    let shown = site.wp_gears(&["status", "--servers", &site.gearmand.server.to_string()]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("1/1..2"), "{shown}");
    assert!(
        shown.contains("the host has too little free memory"),
        "{shown}"
    );
    memory(&proc, 8 << 20);
    wait_for(5, "the second worker", || wanted(&site) == 2);
    assert_eq!(held_by(&site), "");
    site.wait_for_out(60, 250);
}
