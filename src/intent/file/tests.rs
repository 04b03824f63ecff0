use super::*;
use crate::worker::workers::Workers;

fn read(text: &str) -> Result<FileOptions> {
    parse(text, Path::new("/etc/wp-gears.toml"), "worker1")
}

#[test]
fn a_sites_own_options_override_those_of_all_sites() {
    let file = read("queue = 'sqlite'\nworkers = 2\n[[site]]\ndir = '/a'\nworkers = 5\n[[site]]\ndir = '/b'\n[[site]]\ndir = '/d'\nworkers = '2..8'\n").unwrap();
    let range = Workers { min: 2, max: 8 };
    assert_eq!(file.of_site(Path::new("/d")).workers, Some(range));
    assert_eq!(
        file.of_site(Path::new("/a")).workers,
        Some(Workers::fixed(5))
    );
    assert_eq!(
        file.of_site(Path::new("/b")).workers,
        Some(Workers::fixed(2))
    );
    assert_eq!(
        file.of_site(Path::new("/c")).workers,
        Some(Workers::fixed(2))
    );
}

#[test]
fn errors_name_the_place_and_the_nearest_name() {
    let error = read("port = 4730\nworker = 2\n").unwrap_err().to_string();
    assert!(error.contains("line 2, column 1"), "{error}");
    assert!(error.contains("did you mean 'workers'"), "{error}");
    let error = read("port = 'x'\n").unwrap_err().to_string();
    assert!(
        error.contains("line 1, column 1: 'port': expected a whole number"),
        "{error}"
    );
    for (text, says) in [
        (
            "\nworkers = 0\n",
            "line 2, column 1: invalid value '0' for '--workers <N>': expected a whole number from 1 to 512, or a range of them such as 2..8",
        ),
        (
            "port = 99999\n",
            "line 1, column 1: invalid value '99999' for '--port <N>': expected a whole number from 1 to 65535",
        ),
        (
            "program = 'a]b'\n",
            "'--program <NAME>': expected at most 100 letters",
        ),
        ("servers = ['a b']\n", "expected HOST:PORT"),
        ("salt = 7\n", "'salt': expected a string, found integer"),
        ("servers = 'a'\n", "'servers': expected a list"),
        (
            "allow-upgrades = 1\n",
            "'allow-upgrades': expected true or false",
        ),
        ("queue = 1\n", "'queue': expected a string"),
        ("queue = 'disk'\n", "expected one of memory, sqlite, mysql"),
        ("[[site]]\ndir = '/a'\nworkers = 999\n", "line 3, column 1"),
        (
            "[[site]]\ndir = 'a'\n",
            "expected an absolute path, not 'a'",
        ),
        (
            "[[site]]\ndir = '/a'\n[[site]]\ndir = '/a/'\n",
            "two [[site]] tables have the same dir, /a",
        ),
        (
            "worker-dir = 'a'\n",
            "line 1, column 1: 'worker-dir': expected an absolute path",
        ),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    // The line of a secret is not quoted.
    for text in [
        "salt = 'geheim\n",
        "salt = geheim\n",
        "salt = ['geheim']\n",
        "salt 'geheim'\n",
    ] {
        let error = format!("{:?}", read(text).unwrap_err());
        assert!(!error.contains("geheim"), "{error}");
    }
}

/// What one file says for several hosts.
const SHARED: &str = "servers = ['jobs:4730']
workers = 2
job-timeout = 60

[[site]]
dir = '/srv/a'
workers = 3

[[site]]
dir = '/srv/b'

[[host]]
match = 'jobs'
role = ['server']
listen = '10.0.0.5'

[[host]]
match = 'worker*'
role = ['worker']
workers = 8
[[host.site]]
dir = '/srv/b'
workers = 1
[[host.site.hook]]
match = 'mail'
rate = 60

[[host]]
match = 'worker2'
job-timeout = 90
port = 4731
";

#[test]
fn a_host_gets_what_differs_on_it() {
    let of = |name: &str| parse(SHARED, Path::new("/f"), name).unwrap();
    let workers = |file: &FileOptions, dir: &str| file.of_site(Path::new(dir)).workers;
    let fixed = |n| Some(Workers::fixed(n));

    let web = of("web1");
    assert_eq!((web.host.role.clone(), web.sites.len()), (None, 2));
    assert_eq!(workers(&web, "/srv/a"), fixed(3));
    assert_eq!(workers(&web, "/srv/b"), fixed(2));
    assert!(web.hooks.is_empty());

    let first = of("worker1.example.com");
    assert_eq!(first.host.role, Some(vec![Role::Worker]));
    assert_eq!(first.host.servers, web.host.servers);
    // What a host says of all sites goes over what the file says of one.
    assert_eq!(workers(&first, "/srv/a"), fixed(8));
    assert_eq!(workers(&first, "/srv/b"), fixed(1));
    assert_eq!(workers(&first, "/srv/new"), fixed(8));
    assert_eq!(first.hooks_of(Path::new("/srv/b")).len(), 1);

    let second = of("worker2");
    assert_eq!(
        (second.host.port, workers(&second, "/srv/a")),
        (Some(4731), fixed(8))
    );
    let timeout = second.of_site(Path::new("/srv/b")).worker.job_timeout;
    assert_eq!(timeout.map(|it| it.0), Some(90));

    // A job server needs no site.
    let jobs = of("jobs");
    assert_eq!(jobs.host.listen.as_deref(), Some("10.0.0.5"));
    assert!(jobs.sites.is_empty());
    assert!(parse(SHARED, Path::new("/f"), "").is_err());
}

#[test]
fn errors_in_the_tables_of_hosts_name_their_place() {
    for (text, says) in [
        (
            "workers = 2\n[[host]]\nmatch = 'a'\nworker = 2\n",
            "line 4, column 1: there is no option 'worker'",
        ),
        (
            "workers = 2\n[[host]]\nmatch = 'a'\nworkers = 0\n",
            "line 4, column 1",
        ),
        (
            "[[host]]\nmatch = 'a'\n[[host.site]]\ndir = 'b'\n",
            "the dir of a [[host.site]]",
        ),
        (
            "[[host]]\nmatch = 'a'\n[[host.site]]\ndir = '/b'\nport = 1\n",
            "line 5, column 1: there is no option 'port'",
        ),
        (
            "[[host]]\nmatch = 'a'\n[[host]]\nrole = ['web']\n",
            "line 3, column 1: each [[host]] needs match",
        ),
        (
            "[[host]]\nmatch = 'w*'\nport = 1\n[[host]]\nmatch = '*1'\nport = 2\n",
            "line 4, column 1: this [[host]] table and another one are for this host, worker1, and set 'port' differently",
        ),
        ("host = [1]\n", "'host' is written as [[host]] tables"),
        (
            "[[host]]\nmatch = 'a'\n[[host.site]]\ndir = '/a'\n[[host.site.hook]]\nmatch = 'x'\nrat = 1\n",
            "line 7, column 1: a hook rule has no key 'rat'",
        ),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    // The option of sites has the same name.
    let file = read("host = 'shop.example'\n").unwrap();
    assert_eq!(file.common.worker.host.as_deref(), Some("shop.example"));
}

#[test]
fn ten_times_the_sites_take_about_ten_times_as_long() {
    use rustix::time::{ClockId, clock_gettime};
    let took = |sites: usize| {
        let tables = (0..sites).map(|n| format!("[[site]]\ndir = '/srv/{n}'\nworkers = 2\n"));
        let text: String = tables.collect();
        let time = || {
            let now = clock_gettime(ClockId::ThreadCPUTime);
            now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
        };
        let before = time();
        read(&text).unwrap();
        time() - before
    };
    let (few, many) = (took(100), took(1000));
    assert!(many < 30.0 * few, "{few} {many}");
}
