//! Compares workers on one machine in one run: the processor time of a job, by process,
//! jobs a second, the time until a job starts, and that of a start. Only ratios mean
//! anything, as the speed of a machine changes from minute to minute.
//!
//! ```text
//! cargo bench --bench jobs -- [--rounds N] [--jobs N] [--recipe N] [NAME=PROGRAM:RUNNER[:OPTION...]]...
//! ```
//!
//! The first is what the others are compared with. Without any, it is this version's own.
//! With `--recipe`, the recipe of the plugins' readmes runs N jobs in each round.

#![allow(dead_code, unused_imports, reason = "it shares the tests' environment")]

#[path = "../../tests/common/mod.rs"]
mod common;
mod cost;
#[path = "../../tests/worker/lab/mod.rs"]
mod lab;
mod recipe;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lab::{Plan, Site, lab, processor_ms, signal, wait_for};

use crate::cost::{Cost, PARTS};

/// Each says how long after its submission it started.
const LATENCY: &str =
    "add_action( 't_late', function ( $args ) { out( microtime( true ) - $args[0], 'late' ); } );";

struct Variant {
    name: String,
    program: PathBuf,
    runner: PathBuf,
    options: Vec<String>,
    rounds: Vec<Round>,
}

struct Round {
    cost: Cost,
    rate: f64,
    /// From submission to start, at the median, in milliseconds.
    late: f64,
    /// Of a PHP that loads the site and runs one job, in milliseconds.
    boot: u64,
    /// The private memory of a PHP that waits, in kilobytes.
    memory: u64,
}

fn main() {
    let (mut rounds, mut jobs, mut variants) = (5, 2000, Vec::new());
    let (mut of_recipe, mut recipes) = (0, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse().ok()).expect("a number");
        match word.as_str() {
            "--rounds" => rounds = number(),
            "--jobs" => jobs = number(),
            "--recipe" => of_recipe = number(),
            "--bench" => {}
            _ => variants.push(Variant::parse(&word).expect("NAME=PROGRAM:RUNNER")),
        }
    }
    if variants.is_empty() {
        let lib = lab().dir.join("lib");
        variants.push(Variant::new(
            "this",
            lib.join("wp-gears"),
            lib.join("runner.php"),
            vec![],
        ));
    }
    let site = Site::with(
        "bench",
        Plan {
            jobs: LATENCY.into(),
            // An older worker may not know of a newer plugin.
            plugin: Some(
                fs::read_to_string(variants[0].runner.with_file_name("bundled.php"))
                    .expect("the plugin"),
            ),
            // What a queue's file costs is the same for each.
            forgetful: true,
            ..Plan::default()
        },
    );
    site.php("");
    for round in 0..rounds {
        for variant in &mut variants {
            let measured = variant.round(&site, jobs);
            println!("round {} {}: {}", round + 1, variant.name, measured.line());
            variant.rounds.push(measured);
        }
        if of_recipe > 0 {
            let (rate, processor) = recipe::measure(&site, of_recipe, 2);
            println!(
                "round {} recipe: {rate:.1} jobs/s, {processor:.0} ms",
                round + 1
            );
            recipes.push(rate);
        }
    }
    report(&variants);
    for variant in variants.iter().filter(|_| !recipes.is_empty()) {
        let ratios = variant.rounds.iter().zip(&recipes);
        let times = median(ratios.map(|(round, recipe)| round.rate / recipe));
        println!(
            "{} does {times:.0} times the jobs of the recipe",
            variant.name
        );
    }
}

impl Variant {
    fn new(name: &str, program: PathBuf, runner: PathBuf, options: Vec<String>) -> Variant {
        Variant {
            name: name.into(),
            program,
            runner,
            options,
            rounds: Vec::new(),
        }
    }

    fn parse(word: &str) -> Option<Variant> {
        let (name, rest) = word.split_once('=')?;
        let mut words = rest.split(':');
        let (program, runner) = (words.next()?, words.next()?);
        let options = words.map(String::from).collect();
        Some(Variant::new(name, program.into(), runner.into(), options))
    }

    fn start(&self, site: &Site, workers: &str) -> Child {
        let lab = lab();
        let child = lab
            .command(&self.program)
            .arg("worker")
            .arg("--site")
            .arg(&site.dir)
            .args(["--name", &site.name, "--servers"])
            .arg(site.gearmand.server.to_string())
            .arg("--runner")
            .arg(&self.runner)
            .arg("--state")
            .arg(lab.dir.join("state"))
            .arg("--log")
            .arg(site.log_path())
            .args(["--workers", workers])
            .args(&self.options)
            .stdin(Stdio::null())
            .spawn()
            .expect("a worker");
        lab.remember(child.id());
        child
    }

    fn round(&self, site: &Site, jobs: usize) -> Round {
        // Its opcodes are on disk after this.
        self.stop(self.first(site, "1").0);
        let (worker, boot) = self.first(site, "1");
        let late = self.late(site);
        let memory = cost::descendants(worker.id())
            .into_iter()
            .filter(|p| p.is_php)
            .map(|p| cost::private_kb(p.pid))
            .sum();
        self.stop(worker);

        let worker = self.first(site, "2").0;
        // The other one too.
        wait_for(30, "both PHPs", || {
            site.add_many(&[
                ("t_sleep", serde_json::json!(["a", 100])),
                ("t_sleep", serde_json::json!(["b", 100])),
            ]);
            let php = cost::descendants(worker.id())
                .iter()
                .filter(|p| p.is_php)
                .count();
            wait_for(30, "the jobs", || site.waits() == 0);
            php >= 2
        });
        let pids: Vec<_> = cost::descendants(worker.id())
            .iter()
            .map(|p| p.pid)
            .collect();
        let all = |name| pids.iter().for_each(|pid| signal(*pid, name));
        all("STOP");
        let lines: Vec<_> = (0..jobs)
            .map(|n| ("t_line", serde_json::json!([n.to_string()])))
            .collect();
        site.add_many(&lines);
        let _ = fs::remove_file(site.dir.join("wp-content/uploads/out"));
        let before = Cost::now(worker.id());
        let began = Instant::now();
        all("CONT");
        let out = site.dir.join("wp-content/uploads/out");
        let size: usize = (0..jobs).map(|n| n.to_string().len() + 1).sum();
        wait_for(300, "the jobs", || {
            fs::metadata(&out).is_ok_and(|meta| meta.len() as usize >= size)
        });
        let took = began.elapsed();
        wait_for(30, "the last answer", || site.waits() == 0);
        let cost = Cost::now(worker.id()).since(&before, jobs);
        self.stop(worker);
        assert_eq!(site.out().len(), jobs);
        Round {
            cost,
            rate: jobs as f64 / took.as_secs_f64(),
            late,
            boot,
            memory,
        }
    }

    /// Starts workers and has them run a job. With the processor time of PHP until then.
    fn first(&self, site: &Site, workers: &str) -> (Child, u64) {
        let worker = self.start(site, workers);
        let _ = fs::remove_file(site.dir.join("wp-content/uploads/out"));
        site.add("t_line", serde_json::json!(["first"]));
        site.wait_for_out(60, 1);
        let php = cost::descendants(worker.id())
            .into_iter()
            .find(|p| p.is_php);
        (worker, php.map_or(0, |p| processor_ms(p.pid)))
    }

    fn late(&self, site: &Site) -> f64 {
        let _ = fs::remove_file(site.dir.join("wp-content/uploads/late"));
        site.php("for ( $i = 0; $i < 60; $i++ ) { wp_async_task_add( 't_late', array( microtime( true ) ) ); usleep( 30000 ); }");
        wait_for(30, "the jobs", || site.lines("late").len() == 60);
        let times = site
            .lines("late")
            .into_iter()
            .map(|line| line.parse::<f64>().unwrap_or(f64::NAN) * 1000.0);
        median(times)
    }

    fn stop(&self, mut worker: Child) {
        signal(worker.id() as i32, "TERM");
        let _ = worker.wait();
    }
}

impl Round {
    fn line(&self) -> String {
        let parts: Vec<_> = PARTS
            .iter()
            .zip(self.cost.parts)
            .map(|(name, ms)| format!("{name} {ms:.2}"))
            .collect();
        format!(
            "{:.0} jobs/s, {} = {:.2} ms; starts after {:.2} ms; boot {} ms, holds {} KB",
            self.rate,
            parts.join(" + "),
            self.cost.total(),
            self.late,
            self.boot,
            self.memory
        )
    }
}

fn report(variants: &[Variant]) {
    let of =
        |variant: &Variant, value: &dyn Fn(&Round) -> f64| median(variant.rounds.iter().map(value));
    println!(
        "\n| medians | {} | ms a job | ratio | jobs/s | ratio | start after, ms | boot, ms | memory, MB |",
        PARTS.join(" | ")
    );
    println!("| --- |{}", " --- |".repeat(PARTS.len() + 7));
    let mut rows = Vec::new();
    for variant in variants {
        let parts: Vec<_> = (0..PARTS.len())
            .map(|n| format!("{:.2}", of(variant, &|round| round.cost.parts[n])))
            .collect();
        // Of the same round, as the machine's speed changes.
        let ratio = |value: &dyn Fn(&Round) -> f64| {
            median(
                variant
                    .rounds
                    .iter()
                    .zip(&variants[0].rounds)
                    .map(|(round, first)| value(round) / value(first)),
            )
        };
        rows.push(format!(
            "| {} | {} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.0} | {:.1} |",
            variant.name,
            parts.join(" | "),
            of(variant, &|round| round.cost.total()),
            ratio(&|round| round.cost.total()),
            of(variant, &|round| round.rate),
            ratio(&|round| round.rate),
            of(variant, &|round| round.late),
            of(variant, &|round| round.boot as f64),
            of(variant, &|round| round.memory as f64 / 1024.0),
        ));
    }
    println!("{}", rows.join("\n"));
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
