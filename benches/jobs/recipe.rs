//! The recipe of the plugins' readmes: supervisor starts PHP, which loads WordPress, runs a
//! job and exits.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::cost::used;
use crate::lab::{Site, lab, signal, wait_for};

/// Jobs a second, and milliseconds of processor a job of PHP and supervisor.
pub fn measure(site: &Site, jobs: usize, workers: u32) -> (f64, f64) {
    let out = site.dir.join("wp-content/uploads/out");
    let _ = fs::remove_file(&out);
    let lines: Vec<_> = (0..jobs)
        .map(|n| ("t_line", serde_json::json!([n.to_string()])))
        .collect();
    site.add_many(&lines);
    let dir = lab().dir.join("recipe");
    fs::create_dir_all(&dir).expect("a folder");
    // With startsecs=0, without which supervisor gives up.
    let text = format!(
        "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={0}/pid\nchildlogdir={0}\n\
         [program:recipe]\ncommand=php {1}/wp-gears-runner.php\nprocess_name=%(program_name)s_%(process_num)02d\n\
         numprocs={workers}\ndirectory=/tmp\nautostart=true\nautorestart=true\nstartsecs=0\nkillasgroup=true\n\
         stopasgroup=true\n",
        dir.display(),
        site.dir.display(),
    );
    let conf = dir.join("supervisord.conf");
    fs::write(&conf, text).expect("its configuration");
    lab().give_away(&dir);
    let mut supervisor = lab()
        .command("supervisord")
        .arg("-n")
        .arg("-c")
        .arg(&conf)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("supervisord");
    lab().remember(supervisor.id());
    let done = || fs::read_to_string(&out).map_or(0, |text| text.lines().count());
    let pid = supervisor.id() as i32;
    let spent = || {
        let (own, of_children) = used(pid);
        own + of_children
    };
    wait_for(60, "the first job", || done() > 0);
    let (began, first, before) = (Instant::now(), done(), spent());
    wait_for(300, "the jobs", || done() == jobs);
    let count = (jobs - first) as f64;
    let took = began.elapsed().max(Duration::from_millis(1));
    // The last ones exit.
    std::thread::sleep(Duration::from_millis(200));
    let processor = (spent() - before) / count;
    signal(pid, "TERM");
    let _ = supervisor.wait();
    (count / took.as_secs_f64(), processor)
}
