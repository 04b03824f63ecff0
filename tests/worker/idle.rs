//! What idle crews cost. It takes minutes and the machine, so it runs when asked:
//! `cargo test --release --test worker idle_crews -- --ignored --nocapture`

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wp_gears::worker::settings::CrewSettings;

use super::lab::{Site, Worker, lab, sleep, wait_for};

const CREWS: usize = 1000;

/// A crew of a site that its workers know already.
struct Idle(Child);

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The private and the proportional memory of a process, in kilobytes.
fn memory_kb(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let sum = |names: &[&str]| -> u64 {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines
            .filter(|(name, _)| names.contains(name))
            .filter_map(|(_, value)| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .sum()
    };
    (sum(&["Private_Clean", "Private_Dirty"]), sum(&["Pss"]))
}

/// The processor time that a process has used, in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = text.rsplit(')').next().unwrap();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    fields[11..13]
        .iter()
        .map(|it| it.parse::<u64>().unwrap())
        .sum()
}

#[test]
#[ignore = "takes minutes"]
fn idle_crews_cost_little() {
    let mut site = Site::new("idle");
    site.gearmand.kill();
    site.gearmand.files = Some(4000);
    site.gearmand.start();
    let learner = Worker::crew(&site, &CrewSettings::default());
    site.add("t_line", json!(["1"]));
    site.wait_for_out(20, 1);
    learner.stop();
    let known = fs::read_to_string(site.state("run").join("function")).unwrap();
    let known: Value = serde_json::from_str(&known).unwrap();
    let state = lab().dir.join("state");
    let start = Instant::now();
    let crews: Vec<Idle> = (0..CREWS)
        .map(|n| {
            let name = format!("idle-{n}");
            let run = state.join("run").join(&name);
            fs::create_dir_all(&run).unwrap();
            let mut known = known.clone();
            known["function"] = json!(format!("{name}:WP_Async_Task"));
            fs::write(run.join("function"), known.to_string()).unwrap();
            let settings = CrewSettings {
                servers: vec![site.gearmand.server.clone()],
                ..CrewSettings::default()
            };
            let path = state.join(format!("run/{name}.settings.toml"));
            fs::write(&path, settings.to_text().unwrap()).unwrap();
            lab().give_away(&run);
            let child = lab()
                .command(lab().dir.join("lib/wp-gears"))
                .arg("worker")
                .arg("--site")
                .arg(&site.dir)
                .args(["--name", &name])
                .arg("--settings")
                .arg(&path)
                .arg("--state")
                .arg(&state)
                .arg("--log")
                .arg(site.log_path())
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            Idle(child)
        })
        .collect();
    let registered = || {
        let status = site.gearmand.status().unwrap_or_default();
        let ours = status.iter().filter(|it| it.function.starts_with("idle-"));
        ours.filter(|it| it.workers == 1).count()
    };
    wait_for(300, "all crews", || registered() == CREWS);
    println!("{CREWS} crews in {:.1} s", start.elapsed().as_secs_f64());
    sleep(5000);
    let cost = || -> u64 { crews.iter().map(|it| ticks(it.0.id())).sum() };
    let (before, began) = (cost(), Instant::now());
    std::thread::sleep(Duration::from_secs(150));
    let used = (cost() - before) * 10;
    let share = used as f64 / began.elapsed().as_millis() as f64 * 100.0;
    let memory: Vec<_> = crews.iter().map(|it| memory_kb(it.0.id())).collect();
    let most = memory.iter().map(|it| it.0).max().unwrap();
    let mean = memory.iter().map(|it| it.0).sum::<u64>() / CREWS as u64;
    let all = memory.iter().map(|it| it.1).sum::<u64>() / 1024;
    println!(
        "private memory: {mean} kB on average, {most} kB at most; in all {all} MB; {share:.2}% of a core"
    );
    let php = Command::new("pgrep")
        .args(["-f", "idle-[0-9]+.*one"])
        .output();
    assert!(php.unwrap().stdout.is_empty(), "a crew has a member");
    assert!(most < 2048, "{most} kB");
    assert!(all < 2000, "{all} MB");
    assert!(share < 1.0, "{share}%");
}
