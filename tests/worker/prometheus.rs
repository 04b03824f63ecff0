//! Parses our metrics with Debian's python3-prometheus-client.

use crate::common::python;

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
    let said = python::run(script, &[], text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let mut samples: Vec<String> = said.lines().map(str::to_owned).collect();
    samples.sort();
    let count = samples.len();
    samples.dedup_by_key(|sample| sample.rsplit_once(' ').unwrap().0.to_owned());
    assert_eq!(samples.len(), count, "a series twice: {text}");
    samples
}
