//! Other people's readers of what we print: Debian's python3-jsonschema and
//! python3-prometheus-client.
#![allow(dead_code)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Fails where the document is not as fixtures/schema/NAME.json says.
#[track_caller]
pub fn is_valid(name: &str, document: &serde_json::Value) {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/schema/{name}.json"));
    let script = "import json, sys, jsonschema\n\
        schema = json.load(open(sys.argv[1]))\n\
        jsonschema.Draft202012Validator.check_schema(schema)\n\
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors(json.load(sys.stdin)))\n\
        sys.exit('\\n'.join(f'{list(e.path)}: {e.message}' for e in errors) or None)";
    let said = python(script, &[schema.to_str().unwrap()], &document.to_string());
    assert!(said.is_ok(), "{name}: {}\n{document:#}", said.unwrap_err());
}

/// Every sample of a Prometheus text as `name{label=value} number`.
#[track_caller]
pub fn samples(text: &str) -> Vec<String> {
    let script = "import sys\n\
        from prometheus_client.parser import text_string_to_metric_families as read\n\
        for family in read(sys.stdin.read()):\n\
        \x20   assert family.documentation and family.type != 'unknown', family\n\
        \x20   for s in family.samples:\n\
        \x20       labels = ','.join(f'{k}={v}' for k, v in sorted(s.labels.items()))\n\
        \x20       print(f'{s.name}{{{labels}}} {s.value:g}')";
    let said = python(script, &[], text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let mut samples: Vec<String> = said.lines().map(str::to_owned).collect();
    samples.sort();
    let count = samples.len();
    samples.dedup_by_key(|sample| sample.rsplit_once(' ').unwrap().0.to_owned());
    assert_eq!(samples.len(), count, "a series twice: {text}");
    samples
}

fn python(script: &str, args: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .args(args)
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Debian's python3 with python3-jsonschema and python3-prometheus-client");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}
