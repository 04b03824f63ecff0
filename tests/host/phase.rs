//! Names the phases of a long test in its failures.

use std::cell::RefCell;
use std::sync::Once;
use std::time::Instant;

thread_local! {
    static PHASE: RefCell<Option<(String, Instant)>> = const { RefCell::new(None) };
}

/// From now on, a failure of this test names this phase.
pub fn phase(name: impl Into<String>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PHASE.with_borrow(|phase| {
                if let Some((name, began)) = phase {
                    eprintln!(
                        "failed after {:.1?} of the phase '{name}':",
                        began.elapsed()
                    );
                }
            });
            print(panic);
        }));
    });
    let name = name.into();
    println!("== {name}");
    PHASE.set(Some((name, Instant::now())));
}
