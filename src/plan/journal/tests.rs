use super::*;

/// As written by the first release. A crash cut off the last line.
const FIRST: &str = r#"{"record":"opened","version":1,"site":"/srv/a","at":1}
{"record":"begin","number":0,"at":1,"undo":{"kind":"link","path":"/srv/a/wp-gears-runner.php","was":null,"will":"/x"}}
{"record":"done","number":0}
{"record":"begin","number":1,"at":1,"undo":{"kind":"file","path":"/srv/a/wp-config.php","edit":"wp-config","was":{"sha":"aa","uid":0,"gid":0,"mode":416},"will":"bb"}}
{"record":"done","number":1}
{"record":"begin","number":2,"at":2,"undo":{"kind":"file","path":"/srv/a/wp-config.php","edit":"wp-config","was":{"sha":"bb","uid":0,"gid":0,"mode":416},"will":"cc"}}
{"record":"do"#;

fn history(text: &str) -> Result<Option<History>> {
    let dir = tempfile::tempdir()?;
    let state = dir.path().join(STATE.trim_start_matches('/'));
    std::fs::create_dir_all(&state)?;
    std::fs::write(state.join("site-a.jsonl"), text)?;
    read(&Host::new(Some(dir.path()))?, &Scope::Site("a".into()))
}

#[test]
fn the_first_releases_journal_is_read_and_folded() {
    let history = history(FIRST).unwrap().unwrap();
    assert_eq!(history.site.as_deref(), Some(Path::new("/srv/a")));
    assert_eq!(history.entries.len(), 2);
    assert!(!history.entries[0].unfinished && history.entries[1].unfinished);
    let Inverse::File(file) = &history.entries[1].inverse else {
        panic!("{:?}", history.entries[1]);
    };
    assert_eq!(
        file.act.before.as_ref().map(|it| it.sha.as_str()),
        Some("aa")
    );
    assert_eq!(file.act.after.as_deref(), Some("cc"));
}

#[test]
fn a_journal_that_a_crash_cut_off_anywhere_is_continued() {
    let scope = Scope::Site("a".into());
    let site = PathBuf::from("/srv/a");
    for cut in 0..FIRST.len() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join(STATE.trim_start_matches('/'));
        std::fs::create_dir_all(&state).unwrap();
        std::fs::write(state.join("site-a.jsonl"), &FIRST[..cut]).unwrap();
        let host = Host::new(Some(dir.path())).unwrap();
        let mut journal = Journal::open(&host, scope.clone(), Some(site.clone())).unwrap();
        let inverse = serde_json::from_str(KINDS[0]).unwrap();
        let number = journal.begin(vec![inverse]).unwrap();
        journal.done(number).unwrap();
        let history = read(&host, &scope).unwrap().unwrap();
        assert_eq!(history.site.as_ref(), Some(&site), "{cut}");
        let last = history.entries.last().unwrap();
        assert!(matches!(last.inverse, Inverse::Boolean(_)) && !last.unfinished);
    }
}

/// Each kind as written by the first release that had it.
const KINDS: [&str; 18] = [
    r#"{"kind":"boolean","name":"httpd_can_network_connect","was":false}"#,
    r#"{"kind":"database","server":{"host":"h","port":3306,"admin":null},"database":"d","table":"t","had_database":false,"account":["u","c"]}"#,
    r#"{"kind":"directory","path":"/a","was":null}"#,
    r#"{"kind":"directory","path":"/b","was":[1,2,493]}"#,
    r#"{"kind":"file","path":"/c","edit":"options","was":{"sha":"aa","uid":1,"gid":2,"mode":420},"will":"bb"}"#,
    r#"{"kind":"file","path":"/d","edit":"log","was":null,"will":null}"#,
    r#"{"kind":"intent","path":"/etc/wp-gears.toml","created":true,"set":{"port":{"before":"1","after":"2"}}}"#,
    r#"{"kind":"link","path":"/e","was":null,"will":"/x"}"#,
    r#"{"kind":"link","path":"/f","was":"/y","owner":[1,2],"file":{"sha":"aa","uid":1,"gid":2,"mode":420},"will":"/x"}"#,
    r#"{"kind":"packages","brought":["a","b"]}"#,
    r#"{"kind":"private","modes":[{"path":"/q","uid":1,"was":420,"will":416}]}"#,
    r#"{"kind":"program","group":"wp-gears-a"}"#,
    r#"{"kind":"repository","id":"crb"}"#,
    r#"{"kind":"admission","firewall":"ufw"}"#,
    r#"{"kind":"rules","table":"wp_gears_alice"}"#,
    r#"{"kind":"service","unit":"gearmand","enabled":true,"active":false}"#,
    r#"{"kind":"user","name":"wp-gears"}"#,
    r#"{"kind":"all","parts":[{"kind":"file","path":"/g","edit":"whole","was":null,"will":"bb"},{"kind":"link","path":"/h","was":null,"will":"/g"}]}"#,
];

#[test]
fn every_kind_is_read_and_written_as_by_the_first_release() {
    for kind in KINDS {
        let line = format!(r#"{{"record":"begin","number":0,"at":1,"undo":{kind}}}"#);
        let record: Record = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
        let Record::Begin { act, .. } = record else {
            panic!("{line}");
        };
        assert_eq!(
            serde_json::to_string(&Act::of(act.inverses())).unwrap(),
            kind
        );
    }
    for edit in [
        "whole",
        "options",
        "wp-config",
        "program",
        "block",
        "section",
        "log",
    ] {
        let kind = KINDS[5].replace(r#":"log""#, &format!(r#":"{edit}""#));
        let inverse: Inverse = serde_json::from_str(&kind).unwrap();
        assert_eq!(serde_json::to_string(&inverse).unwrap(), kind);
    }
}

#[test]
fn every_kind_has_its_own_identity() {
    let lines = KINDS.iter().enumerate().map(|(number, kind)| {
        format!("{{\"record\":\"begin\",\"number\":{number},\"at\":1,\"undo\":{kind}}}\n")
    });
    let text: String = lines.collect();
    let ids = |text: &str| -> Vec<String> {
        let entries = history(text).unwrap().unwrap().entries;
        let ids = entries.iter().map(|it| it.inverse.kind().id().to_string());
        ids.collect()
    };
    let first = ids(&text);
    assert_eq!(first.len(), KINDS.len() + 1); // "all" has two parts
    assert_eq!(ids(&text.repeat(2)), first);
}

#[test]
fn a_later_entry_adds_only_what_is_new_for_its_kind() {
    let folded = |first: &str, later: &str| {
        let [first, later] = [first, later]
            .map(|kind| serde_json::from_str::<Inverse>(&format!("{{{kind}}}")).unwrap());
        serde_json::to_string(&first.fold(later)).unwrap()
    };
    let is = |kind: &str| format!("{{{kind}}}");
    assert_eq!(
        folded(
            r#""kind":"packages","brought":["b","a"]"#,
            r#""kind":"packages","brought":["c","a"]"#
        ),
        is(r#""kind":"packages","brought":["a","b","c"]"#)
    );
    assert_eq!(
        folded(
            r#""kind":"link","path":"/e","was":null,"will":"/x""#,
            r#""kind":"link","path":"/e","was":"/x","owner":[0,0],"will":"/z""#
        ),
        is(r#""kind":"link","path":"/e","was":null,"will":"/z""#)
    );
    for (first, later) in [
        (
            r#""kind":"service","unit":"u","enabled":false,"active":false"#,
            r#""kind":"service","unit":"u","enabled":true,"active":true"#,
        ),
        (
            r#""kind":"directory","path":"/a","was":null"#,
            r#""kind":"directory","path":"/a","was":[0,0,493]"#,
        ),
        (
            r#""kind":"boolean","name":"b","was":false"#,
            r#""kind":"boolean","name":"b","was":true"#,
        ),
    ] {
        assert_eq!(folded(first, later), is(first));
    }
}

#[test]
fn a_folded_database_keeps_the_first_answer_and_any_created_user() {
    let line = |number: u8, had: bool, account: &str| {
        format!(
            "{{\"record\":\"begin\",\"number\":{number},\"at\":1,\"undo\":{{\"kind\":\"database\",\"server\":{{\"host\":\"h\",\"port\":3306,\"admin\":null}},\"database\":\"d\",\"table\":\"t\",\"had_database\":{had},\"account\":{account}}}}}\n"
        )
    };
    let text = line(0, false, "null") + &line(1, true, "[\"u\",\"c\"]");
    let history = history(&text).unwrap().unwrap();
    let [entry] = &history.entries[..] else {
        panic!("{history:?}");
    };
    assert_eq!(
        serde_json::to_string(&entry.inverse).unwrap(),
        r#"{"kind":"database","server":{"host":"h","port":3306,"admin":null},"database":"d","table":"t","had_database":false,"account":["u","c"]}"#
    );
}

#[test]
fn a_newer_and_a_damaged_journal_are_refused() {
    let newer = FIRST.replace("\"version\":1", "\"version\":2");
    assert!(history(&newer).unwrap_err().to_string().contains("newer"));
    let damaged = FIRST.replacen("{\"record\":\"done\"", "{", 1);
    assert!(format!("{:#}", history(&damaged).unwrap_err()).contains("line 3"));
    let unknown = FIRST.replacen("\"link\"", "\"lnk\"", 1);
    let said = format!("{:#}", history(&unknown).unwrap_err());
    assert!(said.contains("line 2") && said.contains("lnk"), "{said}");
}

/// A switch is on trial from the act that throws it until a run has proved it.
#[test]
fn what_was_done_since_the_last_proof_is_on_trial() {
    let act = |number: usize, trial: &str, from: &str, to: &str| {
        format!(
            r#"{{"record":"begin","number":{number},"at":1,{trial}"undo":{{"kind":"file","path":"/srv/a/wp-config.php","edit":"wp-config","was":{{"sha":"{from}","uid":0,"gid":0,"mode":416}},"will":"{to}"}}}}
{{"record":"done","number":{number}}}
"#
        )
    };
    const TRIAL: &str = "\"trial\":true,";
    const PROVED: &str = "{\"record\":\"proved\",\"at\":1}\n";
    let on_trial = |text: &str| -> Vec<(String, String)> {
        let history = history(text).unwrap().unwrap();
        let files = history.trial.iter().map(|inverse| match inverse {
            Inverse::File(file) => {
                let before = file.act.before.as_ref().map(|it| it.sha.clone());
                (before.unwrap(), file.act.after.clone().unwrap())
            }
            other => panic!("{other:?}"),
        });
        files.collect()
    };
    let pair = |from: &str, to: &str| vec![(from.to_owned(), to.to_owned())];
    // An earlier release knew no trial.
    let old = act(0, "", "aa", "bb");
    assert_eq!(on_trial(&old), []);
    let tried = format!("{old}{}", act(1, TRIAL, "bb", "cc"));
    assert_eq!(on_trial(&tried), pair("bb", "cc"));
    let proved = format!("{tried}{PROVED}");
    assert_eq!(on_trial(&proved), []);
    let again = format!(
        "{proved}{}{}",
        act(2, TRIAL, "cc", "dd"),
        act(3, TRIAL, "dd", "ee")
    );
    assert_eq!(on_trial(&again), pair("cc", "ee"));
    // remove, which did not finish: what it left is no trial.
    let removed = format!("{again}{}", act(4, "", "ee", "aa"));
    assert_eq!(on_trial(&removed), []);
}
