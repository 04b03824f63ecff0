//! Checks the clock, as far as that is possible without the network.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::base::clock::{millis, utc};
use crate::base::paths::binary;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::files::Node;

pub const CHECK: Check = Check {
    name: "clock",
    describes: "whether the clock is plausible and synchronized",
    vital: false,
    run,
};

const DAY: Duration = Duration::from_secs(86_400);

fn run(context: &Context) -> Vec<Finding> {
    let now = SystemTime::now();
    let help = format!(
        "set the clock and keep it synchronized: {}",
        context.services().clock_hint()
    );
    let files = [binary(), Path::new("/etc/passwd").to_owned()];
    for path in &files {
        let Ok(Node::File(meta)) = context.host.look(path) else {
            continue;
        };
        if meta.mtime() > now + DAY {
            let message = format!(
                "the clock is at {}, but {} was written at {}: retries of jobs wait until then",
                utc(millis(now)),
                path.display(),
                utc(millis(meta.mtime()))
            );
            return vec![Finding::failed(message, help)];
        }
    }
    // The clocks of hosts that share a queue must agree.
    let alone = context
        .servers()
        .all(|server| server.starts_with("127.") || server.starts_with("[::1]"));
    let synchronized = context
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
    vec![match (synchronized, alone) {
        (true, _) => Finding::ok(format!("{at}, synchronized")),
        (false, true) => Finding::ok(format!("{at}, not synchronized")),
        (false, false) => Finding::warning(
            format!("{at}, but apparently not synchronized, although hosts share a queue"),
            help,
        ),
    }]
}
