//! Jobs that are queued when setup runs: a restart would lose those in memory, and a
//! new salt would strand those of a site without one.

use crate::harness::site;
use crate::support::{on_site, ready_host};

/// Submits a job, or fails; the stock gearmand may listen on either address.
const SEND: &str = "foreach ( array( '127.0.0.1', '::1' ) as $host ) { try {
    $c = new GearmanClient(); $c->setTimeout( 2000 ); $c->addServer( $host );
    @$c->doBackground( 'other', 'x' );
    if ( GEARMAN_SUCCESS === $c->returnCode() ) exit( 0 );
} catch ( Exception $e ) {} } exit( 1 );";
const TAKE: &str = "foreach ( array( '127.0.0.1', '::1' ) as $host ) { try {
    $w = new GearmanWorker(); $w->setTimeout( 2000 ); $w->addServer( $host );
    $w->addFunction( 'other', function () {} );
    if ( @$w->work() ) exit( 0 );
} catch ( Exception $e ) {} } exit( 1 );";

#[test]
fn jobs_in_memory_stop_a_restart() {
    let host = ready_host("memory");
    host.run(&["php", "-r", SEND]).ok();
    let refused = on_site(&host, "setup", &[]).exits(1);
    assert!(refused.text().contains("1 job is queued"), "{refused}");
    assert!(!host.exists(&format!("{}/wp-gears-runner.php", site::FOLDER)));
    host.run(&["php", "-r", TAKE]).ok();
    on_site(&host, "setup", &[]).exits(0);
    // From now on the queue is a file, so that a restart loses nothing.
    host.run(&["php", "-r", SEND]).ok();
    // doctor rightly misses a worker for that job, so it is not asked here.
    let words = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
    host.run(&[&words[..], &["--port", "4731"]].concat())
        .exits(0);
}

#[test]
fn jobs_that_a_new_salt_would_strand_stop_setup() {
    let host = ready_host("waiting");
    // This queue survives a restart, so that only the salt can lose jobs.
    let params = "PARAMS=\"--listen=127.0.0.1 --daemon -q libsqlite3 --libsqlite3-db=/var/lib/gearman/queue.sqlite\"\n";
    host.put("/etc/default/gearman-job-server", params, 0o644)
        .unwrap();
    host.run(&["systemctl", "restart", "gearman-job-server"])
        .ok();
    let config = format!("{}/wp-config.php", site::FOLDER);
    let text = host.read(&config).unwrap();
    let with_switch = text.replacen("<?php", "<?php\ndefine( 'WP_GEARS', true );", 1);
    host.put(&config, &with_switch, 0o640).unwrap();
    host.run(&["chown", "www-data:www-data", &config]).ok();
    let send = "$c = new GearmanClient(); $c->addServer( '127.0.0.1' ); $c->doBackground( ':WP_Async_Task', '{}' );";
    host.run(&["php", "-r", send]).ok();

    let refused = on_site(&host, "setup", &[]).exits(1);
    assert!(refused.text().contains("1 job is queued on"), "{refused}");
    assert_eq!(host.read(&config).unwrap(), with_switch);

    // A worker of someone else runs it, and setup can go on.
    let take = "$w = new GearmanWorker(); $w->addServer( '127.0.0.1' ); $w->addFunction( ':WP_Async_Task', function () {} ); $w->work();";
    host.run(&["php", "-r", take]).ok();
    on_site(&host, "setup", &[]).exits(0);
}
