//! The document that setup, plan and remove print with `--json`.

use serde_json::{Value, json};

use crate::host::platform::Platform;
use crate::plan::journal::Scope;
use crate::plan::outcome::Done;
use crate::plan::{Plan, Refused};
use crate::report::message;

/// What a run planned and did. Times are in milliseconds.
#[derive(Default)]
pub struct Report<'a> {
    pub platform: Option<&'a Platform>,
    pub plan: Option<&'a Plan>,
    pub done: &'a [Done],
    pub refused: Vec<&'a Refused>,
    pub proofs: Vec<Value>,
    pub left: &'a [String],
    pub error: Option<&'a anyhow::Error>,
}

impl Report<'_> {
    pub fn document(&self) -> Value {
        let plan: Vec<Value> = self.plan.map_or(Vec::new(), |plan| {
            plan.differing()
                .map(|(step, change, after)| {
                    json!({
                        "resource": step.item.resource.id().to_string(),
                        "site": site(&step.item.scope),
                        "verb": change.verb,
                        "after": after.map(ToString::to_string),
                        "details": change.details,
                        "diff": change.diff,
                    })
                })
                .collect()
        });
        let done: Vec<Value> = self
            .done
            .iter()
            .map(|done| {
                json!({
                    "resource": done.id.to_string(),
                    "site": site(&done.scope),
                    "verb": done.verb,
                    "ms": done.took.as_millis() as u64,
                })
            })
            .collect();
        let refused: Vec<Value> = self
            .refused
            .iter()
            .map(|refused| {
                json!({
                    "site": refused.site.as_ref().map(ToString::to_string),
                    "error": message(&refused.error, false),
                })
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "platform": self.platform.map(|platform| json!({
                "name": platform.name,
                "id": platform.id,
                "version": platform.version,
            })),
            "changed": !self.done.is_empty(),
            "plan": plan,
            "done": done,
            "refused": refused,
            "proof": self.proofs,
            "left": self.left,
            "error": self.error.map(|error| message(error, false)),
        })
    }
}

fn site(scope: &Scope) -> Value {
    match scope {
        Scope::Host | Scope::Owner(_) => Value::Null,
        Scope::Site(name) => Value::String(name.clone()),
    }
}
