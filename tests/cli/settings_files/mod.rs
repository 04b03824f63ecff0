//! Sites whose wp-config.php has the settings in another file: Bedrock's
//! config/application.php, and the file of a host that Debian's package chooses. PHP is
//! the judge of what WordPress sees.

pub mod bedrock;
mod debian;

use std::path::{Path, PathBuf};

use serde_json::Value;
use wp_gears::base::problem::Problem;
use wp_gears::host::Host;
use wp_gears::site::config::{self, Desired, Want};
use wp_gears::site::plugins::WP_GEARS;
use wp_gears::site::settings;

use crate::root::{Root, code, text};
use crate::wp_config::judge::judge;

use bedrock::{APPLICATION, SETTINGS, WP, bedrock};
use debian::{CONTENT, DEBIAN, OF_HOST, debian};

const MODES: [&str; 4] = ["top", "function", "web", "wp-cli"];

fn setup(root: &Root, site: &str, more: &[&str]) -> (i32, String) {
    let output = root.run(&[&["setup", "--site", site, "--yes"], more].concat());
    (code(&output), text(&output))
}

/// What PHP makes of a wp-config.php, as a worker, a page and WP-CLI.
fn judged(file: PathBuf) -> Vec<Value> {
    judge(&MODES.map(|mode| (mode, file.clone())))
}

fn desired() -> Desired {
    Desired {
        switch: WP_GEARS.switch,
        servers: Want::Default(vec!["127.0.0.1:4730".into()]),
        salt: Want::Default("salt-of-the-test".into()),
    }
}

/// The file that setup edits for a site, and what it makes of it.
fn edited(root: &Root, site: &str) -> (PathBuf, Result<Vec<u8>, String>) {
    let host = Host::new(Some(root.path())).unwrap();
    let dir = Path::new(site);
    let config = settings::locate(&host, dir, None).unwrap();
    let include = settings::includes(&host, dir, &config);
    let text = std::fs::read(root.at(&config)).unwrap();
    let edited = config::edit(&text, &desired(), &include).map(|it| {
        let again = config::edit(&it.text, &desired(), &include).unwrap();
        assert!(again.text == it.text, "a second edit changes it");
        assert_eq!(config::scan(&it.text, &include).unwrap(), it.found);
        it.text
    });
    let explain = |refusal| settings::explain(&config, refusal);
    let edited = edited.map_err(|refusal| format!("{:#}", render(&explain(refusal))));
    (config, edited)
}

fn render(problem: &Problem) -> String {
    format!("{problem:?}")
}

/// PHP sees the settings after the edit, and undoing it gives the file back. Returns the
/// edited file and PHP's answers.
#[track_caller]
fn is_edited(
    root: &Root,
    name: &str,
    site: &str,
    entry: &dyn Fn(&Root) -> PathBuf,
) -> (String, Vec<Value>) {
    let known = judged(entry(root));
    let (config, new) = edited(root, site);
    let new = new.unwrap_or_else(|why| panic!("{name}: {why}"));
    let old = std::fs::read(root.at(&config)).unwrap();
    std::fs::write(root.at(&config), &new).unwrap();
    let answers = judged(entry(root));
    let shown = String::from_utf8(new.clone()).unwrap();
    for (mode, (was, is)) in MODES.iter().zip(known.iter().zip(&answers)) {
        let sees = is["loaded"] == true
            && is["gears"] == true
            && is["salt"].is_string()
            && is["servers"].as_array().is_some_and(|it| !it.is_empty())
            && is["db"] == was["db"]
            && is["notices"] == was["notices"];
        assert!(
            sees || was["loaded"] != true,
            "{name} ({mode}): {was}\n{is}\n{shown}"
        );
    }
    assert_eq!(answers[0]["loaded"], true, "{name}: {}", answers[0]);
    assert!(config::undo(&new, &old, &new).text == old, "{name}");
    if String::from_utf8_lossy(&old).contains("'WP_GEARS'") {
        return (shown, answers);
    }
    let removed = String::from_utf8(config::remove(&new).text).unwrap();
    assert_eq!(removed, String::from_utf8(old).unwrap(), "{name}");
    (shown, answers)
}

#[test]
fn the_whole_way_with_bedrock_and_debians_package() {
    for (root, site, config) in [
        (bedrock(APPLICATION), WP, SETTINGS),
        (
            debian(&[("blog.example.com", OF_HOST)]),
            DEBIAN,
            "/etc/wordpress/config-blog.example.com.php",
        ),
    ] {
        let before = root.tree();
        let (exit, said) = setup(&root, site, &[]);
        assert_eq!(exit, 0, "{said}");
        assert!(!said.contains("cannot be read"), "{said}");
        assert!(root.get(config).contains("'WP_GEARS', true"), "{said}");
        let content = match site == WP {
            true => "/srv/shop/web/app",
            false => CONTENT,
        };
        let bundled = format!("{content}/mu-plugins/wp-gears-bundled.php");
        assert!(root.at(bundled).exists());
        let file = root.get("/etc/wp-gears.toml");
        let named = file.contains("host = \"blog.example.com\"");
        assert_eq!(named, site == DEBIAN, "{file}");
        let after = root.tree();
        let (_, said) = setup(&root, site, &[]);
        assert!(said.contains("Nothing to change"), "{said}");
        assert_eq!(root.tree(), after);
        let output = root.run(&["remove", "--site", site, "--yes", "--purge"]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert_eq!(root.tree(), before);
    }
}
