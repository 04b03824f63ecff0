//! What job servers and files say, and whose queue is whose.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use super::*;

/// A server that answers these commands, and closes the connection on any other.
fn server(answers: &'static [(&str, &str)]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let reader = BufReader::new(stream.try_clone().unwrap());
            for line in reader.lines().map_while(Result::ok) {
                match answers.iter().find(|(command, _)| *command == line) {
                    Some((_, answer)) => stream.write_all(answer.as_bytes()).unwrap(),
                    None => break,
                }
            }
        }
    });
    format!("127.0.0.1:{port}").parse().unwrap()
}

fn snapshot(server: Server) -> Snapshot {
    let probe = QueueProbe {
        servers: vec![server],
        sites: Vec::new(),
        only: false,
        state: "/nowhere".into(),
        isolated: Vec::new(),
        reader: Reader::default(),
    };
    probe.snapshot()
}

#[test]
fn a_queue_belongs_to_the_site_that_its_workers_name() {
    let snapshot = snapshot(server(&[
        ("version", "OK 1.1.20\n"),
        ("status", "s:WP_Async_Task\t5\t2\t3\nresize\t1\t0\t0\n.\n"),
        (
            "workers",
            "30 127.0.0.1 web1/shop/77 : s:WP_Async_Task\n31 10.0.0.1 - : resize\n32 10.0.0.1 - :\n.\n",
        ),
    ]));
    assert!(snapshot.all_up());
    assert_eq!(snapshot.servers[0].answer, Ok("1.1.20".into()));
    let [jobs, other] = &snapshot.queues[..] else {
        panic!("{:?}", snapshot.queues)
    };
    assert_eq!(
        (
            jobs.site.as_deref(),
            jobs.waiting,
            jobs.running,
            jobs.workers
        ),
        (Some("shop"), 3, 2, 3)
    );
    assert_eq!((other.site.as_deref(), other.waiting), (None, 1));
}

#[test]
fn names_of_sites_come_from_our_workers_only() {
    for (id, name) in [
        ("web1/shop/77", Some("shop")),
        ("web1/shop/77/0123456789ab.89.1", Some("shop")),
        ("a/b/shop/77", Some("shop")),
        ("shop/77", None),
        ("web1/shop/x", None),
        ("web1/../77", None),
        ("-", None),
        ("", None),
    ] {
        assert_eq!(name_in(id).as_deref(), name, "{id}");
    }
}

#[test]
fn unexpected_answers_are_failures_with_a_reason() {
    for (answers, says) in [
        (&[("version", "HTTP/1.1 400\n")][..], "HTTP/1.1 400"),
        (&[][..], "closed the connection"),
        (
            &[("version", "OK 1\n"), ("status", "what\n.\n")][..],
            "what",
        ),
        (
            &[("version", "OK 1\n"), ("status", "f\t1\tx\t1\n.\n")][..],
            "unexpected answer to \"status\"",
        ),
        (
            &[
                ("version", "OK 1\n"),
                ("status", ".\n"),
                ("workers", "ERR no\n.\n"),
            ][..],
            "ERR no",
        ),
        (
            &[("version", "OK 1\n"), ("status", "half")][..],
            "no answer within",
        ),
    ] {
        let snapshot = snapshot(server(answers));
        assert!(!snapshot.all_up() && snapshot.queues.is_empty());
        let why = snapshot.servers[0].answer.clone().unwrap_err();
        assert!(why.contains(says), "{why}");
    }
    // More jobs running than there are, as gearmand counts them at different moments.
    let snapshot = snapshot(server(&[
        ("version", "OK 1\n"),
        ("status", "a\tb\t1\t2\t1\n.\n"),
        ("workers", ".\n"),
    ]));
    assert_eq!(snapshot.queues[0].waiting, 0);
    assert_eq!(snapshot.queues[0].function, "a\tb");
}
