//! Validates the documents that we print against their schemas, with Debian's
//! python3-jsonschema.

use std::path::Path;

use super::python;

/// Fails if the document does not match fixtures/schema/NAME.json.
#[track_caller]
pub fn is_valid(name: &str, document: &serde_json::Value) {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/schema/{name}.json"));
    let script = "import json, sys, jsonschema\n\
        schema = json.load(open(sys.argv[1]))\n\
        jsonschema.Draft202012Validator.check_schema(schema)\n\
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors(json.load(sys.stdin)))\n\
        sys.exit('\\n'.join(f'{list(e.path)}: {e.message}' for e in errors) or None)";
    let answer = python::run(script, &[schema.to_str().unwrap()], &document.to_string());
    answer.unwrap_or_else(|why| panic!("{name}: {why}\n{document:#}"));
}
