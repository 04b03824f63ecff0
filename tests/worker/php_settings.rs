//! Odd settings of PHP's command line, with which jobs run all the same. Those with
//! which they cannot are refused by setup (`tests/host`).

use std::fs;

use serde_json::json;

use super::lab::{Site, Worker, lab, wait_for};

/// Settings, and whether each job then has a process of its own (spawn).
const HARMLESS: [(&str, bool); 18] = [
    ("disable_functions = getmypid", true),
    ("disable_functions = readlink", true),
    ("disable_functions = scandir", true),
    ("disable_functions = pcntl_waitpid", true),
    (
        "disable_functions = pcntl_fork,pcntl_signal,pcntl_async_signals,pcntl_sigprocmask,posix_kill",
        true,
    ),
    ("disable_functions = ignore_user_abort", false),
    ("disable_functions = cli_set_process_title", false),
    ("disable_functions = gc_mem_caches,gc_collect_cycles", false),
    ("disable_functions = ini_set,set_time_limit,putenv", false),
    (
        "disable_functions = token_get_all,stream_wrapper_register",
        false,
    ),
    (
        "disable_functions = exec,passthru,shell_exec,system,proc_open,popen,stream_socket_client",
        false,
    ),
    ("disable_classes = GearmanJob,GearmanWorker", false),
    ("open_basedir = LAB:/usr/share/wordpress", true),
    ("auto_prepend_file = LAB/prints.php", false),
    ("memory_limit = 4M", false),
    (
        "opcache.preload = LAB/prints.php\nopcache.jit = tracing\nopcache.jit_buffer_size = 32M",
        false,
    ),
    (
        "opcache.enable = 0\nopcache.file_cache = /nonexistent",
        false,
    ),
    ("default_socket_timeout = 0\nmax_execution_time = 1", false),
];

/// They follow each other on one site, because what the opcode cache holds from before
/// must not matter either.
#[test]
fn odd_settings_of_php_do_not_keep_jobs_from_running() {
    let site = Site::new("odd-php");
    site.php("");
    let prints = "hello <?php fwrite( STDERR, \"hi\\n\" );";
    fs::write(lab().dir.join("prints.php"), prints).unwrap();
    let mut failures = String::new();
    for (ini, spawns) in HARMLESS {
        let _ = fs::remove_file(site.dir.join("wp-content/uploads/out"));
        let _ = fs::remove_file(site.log_path());
        let ini = ini.replace("LAB", &lab().dir.display().to_string());
        let worker = Worker::with_ini(&site, &[], &ini);
        site.add_many(&[("t_line", json!(["0"])), ("t_line", json!(["1"]))]);
        wait_for(30, &format!("jobs with {ini}"), || {
            site.out().len() == 2
                || site.log().contains("cannot run")
                || site.log().contains("died")
        });
        worker.stop();
        let mode = site.log().contains(", spawn)");
        if site.out().len() != 2 || mode != spawns {
            failures += &format!("{ini}:\n{}\n", site.log());
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
