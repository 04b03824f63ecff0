//! What a wp-config.php states of the folders of WordPress's content, as far as that
//! is certain without running the file.

use crate::site::config::events::{Kind, Opaque};
use crate::site::config::folders::{CONTENT, Folders, MUST_USE, PLUGINS, Stated};
use crate::site::config::includes::From;

/// What is certain about each folder when WordPress loads.
pub fn read(before: &[From]) -> Folders {
    Folders {
        content: stated(CONTENT, before),
        plugins: stated(PLUGINS, before),
        must_use: stated(MUST_USE, before),
    }
}

fn stated(constant: &str, before: &[From]) -> Stated {
    let mut unseen = false;
    let mut last = None;
    for from in before {
        let Kind::Folder {
            name,
            folder,
            collected,
        } = &from.event.kind
        else {
            unseen |= may_define(&from.event.kind);
            continue;
        };
        if name != constant {
            continue;
        }
        let place = &from.event.place;
        let guarded = place.unless == [name.clone()] && !unseen;
        let sure = !place.branch
            && !place.function
            && place.if_file.is_none()
            && (place.unless.is_empty() || guarded);
        let found = match folder {
            Some(folder) if sure => Stated::Plainly(folder.clone()),
            _ => Stated::Unclear,
        };
        match collected {
            true => last = Some(found),
            // What was collected before is defined by now.
            false if last.is_none() => return found,
            false => {}
        }
    }
    match (last, unseen) {
        (Some(found), _) => found,
        (None, true) => Stated::Perhaps,
        (None, false) => Stated::Nothing,
    }
}

/// Whether code may define a constant that it does not name.
fn may_define(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Opaque(
            Opaque::ComputedConstant
                | Opaque::ComputedDefinition
                | Opaque::Eval
                | Opaque::IndirectDefine
                | Opaque::UnreadableFile(_)
        )
    )
}
