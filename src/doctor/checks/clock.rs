//! The clock, as far as it can be told wrong without asking the network.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::base::clock::{millis, utc};
use crate::base::paths::binary;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::files::Node;

pub const CHECK: Check = Check {
    name: "clock",
    describes: "whether the clock stands before what was written here, and whether it is kept right",
    vital: false,
    run,
};

const DAY: Duration = Duration::from_secs(86_400);

fn run(context: &Context) -> Vec<Finding> {
    let now = SystemTime::now();
    let todo = format!(
        "set the clock and keep it right: {}",
        context.services().clock_hint()
    );
    let files = [binary(), Path::new("/etc/passwd").to_owned()];
    for path in &files {
        let Ok(Node::File(meta)) = context.host.look(path) else {
            continue;
        };
        if meta.mtime() > now + DAY {
            let seen = format!(
                "it is {}, and {} was written at {}: jobs that are tried again wait until then",
                utc(millis(now)),
                path.display(),
                utc(millis(meta.mtime()))
            );
            return vec![Finding::failed(seen, todo)];
        }
    }
    // Where hosts share a queue their clocks must agree.
    let alone = context
        .servers()
        .all(|server| server.starts_with("127.") || server.starts_with("[::1]"));
    let kept = context
        .host
        .exists(Path::new("/run/systemd/timesync/synchronized"))
        || ["chronyd", "ntpd", "ntpsec", "openntpd"]
            .iter()
            .any(|name| {
                let is = |word: &String| Path::new(word).file_name().is_some_and(|it| it == *name);
                context
                    .processes()
                    .iter()
                    .any(|process| process.args.first().is_some_and(is))
            });
    let at = utc(millis(now));
    vec![match (kept, alone) {
        (true, _) => Finding::ok(format!("{at}, kept right")),
        (false, true) => Finding::ok(format!("{at}, by this host's own clock")),
        (false, false) => Finding::warning(
            format!("{at}, and nothing seems to keep it right, while hosts share a queue"),
            todo,
        ),
    }]
}
