//! The plugins that submit jobs, as they were published.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::compatibility::seen;
use super::lab::{Plan, Site, Worker, lab, run, signal, wait_for};
use super::software::{
    Software, WP_GEARS_1_0, WP_GEARS_2_0, WP_GEARS_2_1, WP_MINIONS_3, WP_MINIONS_4,
};

const TABLE: &str = "Plugins that submit jobs";

/// What jobs tell of themselves and of the hooks around them.
const JOBS: &str = r#"
add_action( 't_where', function ( $args ) { out( get_current_blog_id() . ' ' . home_url() . ' ' . get_option( 'blogname' ) . ' ' . $args[0] ); } );
add_action( 'wp_async_task_before_job', function ( $hook ) { out( "before $hook", 'hooks' ); } );
add_action( 'wp_async_task_after_job_t_line', function () { out( 'after', 'hooks' ); } );
add_action( 'wp_async_task_after_work', function ( $ok ) { out( 'work ' . var_export( $ok, true ), 'hooks' ); } );
"#;

/// Puts a plugin's folder on a site, and makes it the only active one.
pub fn activate(site: &Site, software: &Software) -> bool {
    let Some(from) = software.folder() else {
        return false;
    };
    let (name, option) = match software.title.contains("Minions") {
        true => ("wp-minions", "wp-minions/wp-minions.php"),
        false => ("wp-gears", "wp-gears/wp-gears.php"),
    };
    let to = site.dir.join("wp-content/plugins").join(name);
    run(Command::new("cp").arg("-r").arg(from).arg(&to));
    lab().give_away(&to);
    site.php(&format!(
        "update_option( 'active_plugins', array( '{option}' ) );
         if ( is_multisite() ) {{ update_site_option( 'active_sitewide_plugins', array( '{option}' => time() ) ); }}"
    ));
    true
}

/// A site without a plugin that submits jobs.
pub fn bare(name: &str, plan: Plan) -> Site {
    let site = Site::with(
        name,
        Plan {
            plugin: Some("<?php".into()),
            ..plan
        },
    );
    // The first page of a site writes options.
    site.php("");
    site
}

fn forget(site: &Site) {
    for file in ["out", "hooks"] {
        let _ = fs::remove_file(site.dir.join("wp-content/uploads").join(file));
    }
}

/// Runs jobs of each kind in both modes, and returns what was seen.
fn single(name: &str, software: &Software) -> Option<Vec<String>> {
    let prefix = match software.title.contains("Minions") {
        true => "WP_MINIONS",
        false => "WP_GEARS",
    };
    let site = bare(
        name,
        Plan {
            jobs: JOBS.into(),
            // More than what a worker of ours, or the runner by hand, takes.
            config: format!("define( '{prefix}_JOBS_PER_WORKER', 5 );"),
            ..Plan::default()
        },
    );
    if !activate(&site, software) {
        return None;
    }
    let mut after_work = "not fired";
    for mode in ["fork", "spawn"] {
        forget(&site);
        site.php(
            "foreach ( array( 'low', 'normal', 'high' ) as $p ) { wp_async_task_add( 't_line', array( $p ), $p ); }",
        );
        let worker = site.worker(&["--worker-mode", mode]);
        assert_eq!(site.wait_for_out(30, 3), ["high", "normal", "low"]);
        site.add("t_chain", json!([3]));
        site.wait_for_out(30, 7);
        site.add("t_throw", json!([]));
        wait_for(20, "the failed job", || !site.kept().is_empty());
        assert!(site.failed()[0].to_string().contains("a bad job"));
        site.wp_gears(&["failed", "forget", "--all"]);
        assert!(site.log().contains(&format!(", {mode})")), "{}", site.log());
        worker.stop();
        let hooks = site.lines("hooks");
        assert_eq!(hooks[..2], ["before t_line", "after"], "{hooks:?}");
        if hooks[2] == "work true" {
            after_work = "fired";
        }
    }

    forget(&site);
    // Enough that a runner which takes five does not wait for more.
    let numbers: Vec<_> = (1..=6).map(|n: u32| n.to_string()).collect();
    for number in &numbers {
        site.add("t_line", json!([number]));
    }
    for count in 1..=6 {
        run(lab()
            .command("php")
            .arg("wp-gears-runner.php")
            .current_dir(&site.dir));
        assert_eq!(site.out().len(), count);
    }
    site.assert_once(numbers);
    Some(vec![after_work.into()])
}

/// Runs jobs of three blogs, each submitted by a page of that blog.
fn network(name: &str, software: &Software, by_domain: bool) -> Option<()> {
    let site = bare(
        name,
        Plan {
            network: true,
            jobs: JOBS.into(),
            ..Plan::default()
        },
    );
    if !by_domain {
        let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
        site.write(
            "wp-config.php",
            &config.replace("'SUBDOMAIN_INSTALL', true", "'SUBDOMAIN_INSTALL', false"),
        );
    }
    let blogs = match by_domain {
        true => [
            ("site.test", "/"),
            ("two.site.test", "/"),
            ("other.test", "/"),
        ],
        false => [
            ("site.test", "/"),
            ("site.test", "/two/"),
            ("site.test", "/three/"),
        ],
    };
    for (n, (domain, path)) in blogs.iter().enumerate().skip(1) {
        site.php(&format!(
            "wpmu_create_blog( '{domain}', '{path}', 'blog {}', 1 );",
            n + 1
        ));
    }
    if !activate(&site, software) {
        return None;
    }
    for mode in ["fork", "spawn"] {
        forget(&site);
        let worker = site.worker(&["--worker-mode", mode]);
        for n in [2, 1, 3, 2] {
            let (domain, path) = blogs[n - 1];
            site.php(&format!(
                "$_SERVER['HTTP_HOST'] = '{domain}'; $_SERVER['REQUEST_URI'] = '{path}'; load();
                 wp_async_task_add( 't_where', array( 'from {n}' ) );"
            ));
        }
        site.wait_for_out(30, 4);
        let expected = [2, 1, 3, 2].map(|n| {
            let (domain, path) = blogs[n - 1];
            let title = match n {
                1 => "test".to_owned(),
                n => format!("blog {n}"),
            };
            let home = format!("http://{domain}{}", path.trim_end_matches('/'));
            format!("{n} {home} {title} from {n}")
        });
        site.assert_once(expected.into());
        assert!(site.kept().is_empty(), "{:?}", site.kept());
        worker.stop();
    }
    Some(())
}

fn works(name: &str, software: &Software) {
    let Some(single) = single(name, software) else {
        return;
    };
    network(&format!("{name}-d"), software, true).unwrap();
    network(&format!("{name}-f"), software, false).unwrap();
    let both = "fork, spawn";
    seen(
        TABLE,
        &[software.title, both, both, both, "kept", &single[0], "1"],
    );
}

#[test]
fn wp_gears_1_0() {
    works("real10", &WP_GEARS_1_0);
}

#[test]
fn wp_gears_2_0() {
    works("real20", &WP_GEARS_2_0);
}

#[test]
fn wp_gears_2_1() {
    works("real21", &WP_GEARS_2_1);
}

#[test]
fn wp_minions_3() {
    works("real30", &WP_MINIONS_3);
}

#[test]
fn wp_minions_4() {
    works("real41", &WP_MINIONS_4);
}

#[test]
fn jobs_of_wp_gears_run_after_the_move_to_wp_minions() {
    let site = bare("moved", Plan::default());
    if !activate(&site, &WP_GEARS_2_1) {
        return;
    }
    let worker = site.worker(&[]);
    site.add("t_line", json!(["before"]));
    site.wait_for_out(20, 1);
    site.wp_gears(&["pause"]);
    signal(worker.pid(), "USR1");
    site.add_many(&[("t_line", json!(["1"])), ("t_line", json!(["2"]))]);
    // The old one stays, inactive; the worker runs on.
    activate(&site, &WP_MINIONS_4);
    site.add("t_line", json!(["3"]));
    assert_eq!(site.waits(), 3);
    site.wp_gears(&["resume"]);
    signal(worker.pid(), "USR1");
    site.wait_for_out(30, 4);
    site.assert_once(["before", "1", "2", "3"].map(String::from).into());
    assert!(site.log().contains("(WP Minions, PHP"), "{}", site.log());
    Worker::stop(worker);
}
