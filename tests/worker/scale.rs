//! Priorities, and crews whose number of workers follows the load.

use super::lab::{Plan, Site};
use super::real_plugins::{activate, bare};
use super::software::{WP_GEARS_2_1, WP_MINIONS_3, WP_MINIONS_4};

/// One low, one normal and one high job, in this order, and the same once more.
const ALL: &str = "foreach ( array( 1, 2 ) as $n ) { foreach ( array( 'low', 'normal', 'high' ) as $priority ) {
    if ( ! is_string( wp_async_task_add( 't_line', array( \"$priority $n\" ), $priority ) ) ) { echo 'not added'; } } }";

const BY_PRIORITY: [&str; 6] = ["high 1", "high 2", "normal 1", "normal 2", "low 1", "low 2"];

#[test]
fn jobs_run_by_priority_and_in_order_within_one() {
    for (name, plain) in [("priority", false), ("priority-plain", true)] {
        let mut site = Site::with(
            name,
            Plan {
                plain,
                ..Plan::default()
            },
        );
        assert_eq!(site.php(ALL), "");
        // The job server remembers them, too.
        site.gearmand.kill();
        site.gearmand.start();
        let _worker = site.worker(&[]);
        assert_eq!(site.wait_for_out(30, 6), BY_PRIORITY);
    }
}

#[test]
fn published_plugins_submit_with_a_priority() {
    for (name, software) in [
        ("priority-gears", &WP_GEARS_2_1),
        ("priority-minions3", &WP_MINIONS_3),
        ("priority-minions4", &WP_MINIONS_4),
    ] {
        let site = bare(name, Plan::default());
        if !activate(&site, software) {
            continue;
        }
        assert_eq!(site.php(ALL), "", "{name}");
        let _worker = site.worker(&[]);
        assert_eq!(site.wait_for_out(30, 6), BY_PRIORITY, "{name}");
    }
}
