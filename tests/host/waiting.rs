//! A site that runs without a salt and has jobs waiting: a new salt would
//! leave them behind.

use crate::harness::site;
use crate::support::{on_site, ready_host};

#[test]
fn jobs_that_a_new_salt_would_strand_stop_setup() {
    let host = ready_host("waiting");
    let config = format!("{}/wp-config.php", site::FOLDER);
    let text = host.read(&config).unwrap();
    let with_switch = text.replacen("<?php", "<?php\ndefine( 'WP_GEARS', true );", 1);
    host.put(&config, &with_switch, 0o640).unwrap();
    host.run(&["chown", "www-data:www-data", &config]).ok();
    let send =
        "$c = new GearmanClient(); $c->addServer(); $c->doBackground( ':WP_Async_Task', '{}' );";
    host.run(&["php", "-r", send]).ok();

    let refused = on_site(&host, "setup", &[]).exits(1);
    assert!(refused.text().contains("1 jobs wait"), "{refused}");
    assert_eq!(host.read(&config).unwrap(), with_switch);

    // A worker of the person's own takes it; then the way is free.
    let take = "$w = new GearmanWorker(); $w->addServer(); $w->addFunction( ':WP_Async_Task', function () {} ); $w->work();";
    host.run(&["php", "-r", take]).ok();
    on_site(&host, "setup", &[]).exits(0);
}
