use super::waiting::{Turn, Waiting};
use super::*;

/// No rule lets a job wait.
const FREE: Turn = &|_| 0;

fn record(id: &str, size: usize) -> JobRecord {
    JobRecord {
        id: id.into(),
        name: "site".into(),
        site: "/srv/site".into(),
        server: "127.0.0.1:4730".into(),
        function: "f".into(),
        unique: String::new(),
        handle: "H:1".into(),
        hook: None,
        blog: None,
        size,
        whole: true,
        taken: 1,
        submitted: None,
        arguments: None,
        refused: false,
        tries: Vec::new(),
    }
}

#[test]
fn a_failed_job_is_kept_shown_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = JobStore::open(dir.path()).unwrap();
    let payload = b"\0\xff\nbinary";
    store.keep(&record("1-a", payload.len()), payload).unwrap();
    assert_eq!(listed(&store), (vec!["1-a".into()], 0));
    let (read, bytes) = store.read("1-a").unwrap();
    assert_eq!(
        (read.id.as_str(), bytes.as_slice()),
        ("1-a", payload.as_slice())
    );
    assert!(store.read("../1-a").is_err());
    store.forget("1-a").unwrap();
    assert!(listed(&store).0.is_empty());
}

fn listed(store: &JobStore) -> (Vec<String>, usize) {
    let mut ids = Vec::new();
    let unread = store.list(&mut |record, _| ids.push(record.id)).unwrap();
    (ids, unread)
}

#[test]
fn a_job_has_the_id_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = JobStore::open(dir.path()).unwrap();
    store.keep(&record("1-a", 0), b"").unwrap();
    store.postpone(&record("2-b", 0), b"", 7, None).unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::copy(at("1-a.job"), at("3-c.job")).unwrap();
    std::fs::copy(at("1-a.job"), at("\u{1b}[2J.job")).unwrap();
    assert_eq!(listed(&store).0, ["1-a", "3-c", "2-b"]);
    let found = |id| store.find(id).unwrap().map(|(job, due)| (job.id, due));
    assert_eq!(found("3-c"), Some(("3-c".into(), None)));
    assert_eq!(found("2-b"), Some(("2-b".into(), Some(7))));
    assert_eq!(found("4-d"), None);
}

#[test]
fn what_others_put_there_is_read_up_to_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let store = JobStore::open(dir.path()).unwrap();
    let planted = "x".repeat(MAX_HEADER as usize);
    for n in 0..40 {
        std::fs::write(dir.path().join(format!("0-{n}.job")), &planted).unwrap();
    }
    store.keep(&record("1-a", 0), b"").unwrap();
    assert_eq!(listed(&store), (Vec::new(), 41));
    assert!(store.find("1-a").unwrap().is_some());
    for n in 0..=MAX_FILES {
        std::fs::write(dir.path().join(format!("planted-{n}")), "").unwrap();
    }
    assert!(store.list(&mut |_, _| {}).is_err());
    assert_eq!(count(dir.path()).unwrap_err().kind(), io::ErrorKind::Other);
}

#[test]
fn the_oldest_jobs_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = JobStore::open(dir.path()).unwrap();
    for n in 0..MAX_KEPT {
        let name = dir.path().join(format!("{n:013}-x.job"));
        std::fs::write(name, "{}").unwrap();
    }
    let dropped = store.keep(&record("9999999999999-x", 0), b"").unwrap();
    assert_eq!(dropped, ["0000000000000-x"]);
    assert_eq!(store.dropped(), 1);
}

#[test]
fn a_waiting_job_is_forgotten_unless_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let store = JobStore::open(dir.path()).unwrap();
    store.postpone(&record("a", 1), b"x", 1, None).unwrap();
    let (claim, ..) = store.claim(2, FREE).unwrap().unwrap();
    assert!(!store.forget_waiting("a").unwrap());
    drop(claim);
    assert!(store.forget_waiting("a").unwrap());
    assert_eq!(store.waiting(2).unwrap(), Waiting::default());
    assert!(store.forget_waiting("a").is_err());
}

#[test]
fn of_all_who_retry_or_delete_a_failed_job_one_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = JobStore::open(dir.path()).unwrap();
    let not_found = |done: io::Result<()>| done.unwrap_err().kind() == io::ErrorKind::NotFound;
    store.keep(&record("a", 1), b"x").unwrap();
    store.retry("a", 5).unwrap();
    assert!(not_found(store.retry("a", 6)) && not_found(store.forget("a")));
    let (claim, job, payload) = store.claim(5, FREE).unwrap().unwrap();
    assert_eq!((job, payload), (record("a", 1), b"x".to_vec()));
    assert_eq!(claim.due(), 5);
    store.keep(&record("b", 1), b"x").unwrap();
    let held = store.hold("b").unwrap();
    assert!(held.is_some() && store.hold("b").unwrap().is_none());
    store.forget("b").unwrap();
    drop(held);
    assert!(not_found(store.hold("b").map(drop)) && not_found(store.retry("b", 5)));
}

#[test]
fn one_worker_takes_a_due_job() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (
        JobStore::open(dir.path()).unwrap(),
        JobStore::open(dir.path()).unwrap(),
    );
    one.postpone(&record("b", 1), b"x", 2000, None).unwrap();
    one.postpone(&record("a", 1), b"y", 9000, None).unwrap();
    assert_eq!(one.next_turn(FREE).unwrap(), Some(2000));
    assert!(one.claim(1999, FREE).unwrap().is_none());
    let (claim, job, payload) = one.claim(2000, FREE).unwrap().unwrap();
    assert_eq!(
        (job.id.as_str(), payload.as_slice()),
        ("b", b"x".as_slice())
    );
    assert!(two.claim(2000, FREE).unwrap().is_none());
    // A worker that dies releases its lock.
    drop(claim);
    let (claim, ..) = two.claim(2000, FREE).unwrap().unwrap();
    two.settle(&claim).unwrap();
    assert!(one.claim(2000, FREE).unwrap().is_none());
    assert_eq!(one.waiting(1).unwrap().retries, 1);
}

#[test]
fn what_another_host_had_is_not_taken_before_it_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let store = JobStore::open(dir.path()).unwrap();
    let mut text = serde_json::to_vec(&record("1-a", 0)).unwrap();
    text.push(b'\n');
    let held = store.postpone_text(&text, 7, "1-a").unwrap();
    assert!(store.claim(8, FREE).unwrap().is_none());
    drop(held);
    assert!(store.claim(8, FREE).unwrap().is_some());
}

#[test]
fn a_job_waits_on_disk_until_its_rule_lets_it_run() {
    let dir = tempfile::tempdir().unwrap();
    let store = JobStore::open(dir.path()).unwrap();
    let named = |id: &str| JobRecord {
        hook: Some(format!("hook_{id}")),
        ..record(id, 1)
    };
    store.postpone(&named("b"), b"b", 20, Some("k")).unwrap();
    store.postpone(&named("a"), b"a", 10, Some("k")).unwrap();
    store.postpone(&named("c"), b"c", 30, Some("l")).unwrap();
    store.postpone(&named("d"), b"d", 90, None).unwrap();
    let turn = |busy: &'static str| move |key: &str| if key == busy { 500 } else { 0 };
    let claimed = |busy| {
        store
            .claim(50, &turn(busy))
            .unwrap()
            .map(|(claim, job, _)| (claim, job.id))
    };
    assert_eq!(store.next_turn(&turn("k")).unwrap(), Some(30));
    assert_eq!(store.next_turn(&|_| 500).unwrap(), Some(90));
    assert!(store.claim(50, &|_| 500).unwrap().is_none());
    let (c, id) = claimed("k").unwrap();
    assert_eq!(id, "c");
    let (a, id) = claimed("l").unwrap();
    assert_eq!(id, "a", "the oldest");
    assert_eq!(claimed("").unwrap().1, "b");
    // Its rule is another one now: it gets another name, and stays locked.
    store.put_back(&c, &named("c"), "k").unwrap();
    assert!(claimed("k").is_none());
    drop(c);
    store.put_back(&a, &named("a"), "k").unwrap();
    drop(a);
    assert!(claimed("k").is_none());
    assert_eq!(store.behind("k", 50).unwrap(), (3, true));
    assert_eq!(store.behind("l", 50).unwrap(), (3, false));
    assert_eq!(
        store.waiting(50).unwrap(),
        Waiting {
            retries: 1,
            limited: 3
        }
    );
    let hooks = limited(dir.path(), count(dir.path()).unwrap()).unwrap();
    assert_eq!(hooks.len(), 3);
    // What has not run has not failed.
    assert_eq!(listed(&store).0, ["d"]);
    assert!(store.find("a").unwrap().is_some());
}
