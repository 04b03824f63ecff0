//! What a screen reader gets of the dashboard and of wp-admin: Chromium's accessibility
//! tree, at the widths of a desk and of a phone.

use serde_json::{Value, json};

use super::admin;
use super::browser::Browser;
use super::dashboard::of_a_failed_job;
use super::lab::wait_for;
use super::site_server::Web;

struct Node {
    /// Assistive technology does not see it.
    ignored: bool,
    id: String,
    parent: String,
    role: String,
    name: String,
}

fn nodes(browser: &mut Browser) -> Vec<Node> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let node = |it: &Value| Node {
        ignored: it["ignored"] == true,
        id: text(&it["nodeId"]),
        parent: text(&it["parentId"]),
        role: text(&it["role"]["value"]),
        name: text(&it["name"]["value"]).trim().to_owned(),
    };
    let tree = browser.accessibility_tree();
    tree.as_array().unwrap().iter().map(node).collect()
}

const NAMED: [&str; 14] = [
    "table",
    "columnheader",
    "rowheader",
    "image",
    "button",
    "link",
    "searchbox",
    "textbox",
    "checkbox",
    "combobox",
    "heading",
    "region",
    "group",
    "DisclosureTriangle",
];

/// The part of a page below the node that this finds.
fn below(nodes: Vec<Node>, is_top: impl Fn(&Node) -> bool) -> Vec<Node> {
    let mut inside: Vec<String> = Vec::new();
    let mut found = Vec::new();
    for node in nodes {
        if is_top(&node) || inside.contains(&node.parent) {
            inside.push(node.id.clone());
            found.push(node);
        }
    }
    found
}

#[track_caller]
fn all_have_names(nodes: &[Node], at: &str) {
    let nameless = nodes
        .iter()
        .filter(|it| NAMED.contains(&it.role.as_str()) && it.name.is_empty() && !it.ignored);
    let nameless: Vec<&str> = nameless.map(|it| it.role.as_str()).collect();
    assert!(nameless.is_empty(), "{at}: {nameless:?}");
}

fn names<'a>(nodes: &'a [Node], role: &str) -> Vec<&'a str> {
    let of_role = nodes.iter().filter(|it| it.role == role && !it.ignored);
    of_role.map(|it| it.name.as_str()).collect()
}

/// A picture for people, as base64 of a PNG, if `WP_GEARS_PICTURES` names a folder.
fn picture(browser: &mut Browser, name: &str) {
    if let Ok(folder) = std::env::var("WP_GEARS_PICTURES") {
        let height = browser.eval("document.documentElement.scrollHeight");
        let height = height.as_u64().unwrap().min(2500) as u32;
        std::fs::write(format!("{folder}/{name}.base64"), browser.picture(height)).unwrap();
    }
}

/// Nothing of the page is wider than the screen.
#[track_caller]
fn fits(browser: &mut Browser, width: u32, at: &str) {
    let needed = browser.eval("document.documentElement.scrollWidth");
    assert_eq!(needed, width, "{at}");
}

#[test]
fn a_screen_reader_gets_all_of_the_dashboard() {
    let Some(mut browser) = Browser::start(&[]) else {
        return;
    };
    let (_site, _worker, it) = of_a_failed_job("spoken");
    for (width, scheme) in [
        (1280, "light"),
        (390, "light"),
        (390, "dark"),
        (1280, "dark"),
    ] {
        let at = format!("dashboard-{width}-{scheme}");
        browser.look_like(width, scheme);
        browser.open(&format!("http://{}/", it.at), ".card");
        browser.until("document.querySelector('#live-text').textContent === 'Live'");
        let seen = nodes(&mut browser);
        all_have_names(&seen, &at);
        assert_eq!(names(&seen, "table").len(), 5, "{at}");
        // Of three numbers at the top, and of the site.
        assert_eq!(names(&seen, "image").len(), 4, "{at}");
        let heads = names(&seen, "columnheader");
        for head in ["Wait p50", "Wait p95", "Wait p99"] {
            assert!(heads.contains(&head), "{at}: {heads:?}");
        }
        for landmark in ["banner", "main", "contentinfo", "status"] {
            assert_eq!(names(&seen, landmark).len(), 1, "{at}: {landmark}");
        }
        fits(&mut browser, width, &at);
        picture(&mut browser, &at);
    }
    assert_eq!(browser.complaints, [] as [String; 0]);
}

#[test]
fn wp_admin_is_readable_at_the_width_of_a_phone() {
    let site = admin::site("narrow", false);
    let _worker = site.worker(&["--workers", "2"]);
    for n in 0..3 {
        site.add("t_import", json!([n.to_string()]));
    }
    site.add("t_throw", json!([]));
    wait_for(30, "the failed jobs", || site.kept().len() == 4);
    let web = Web::start(&site);
    let resolve = format!("--host-resolver-rules=MAP site.test 127.0.0.1:{}", web.port);
    let Some(mut browser) = Browser::start(&[&resolve]) else {
        return;
    };
    browser.open("http://site.test/wp-login.php", "#loginform");
    browser.eval("user_login.value = 'admin'; user_pass.value = 'pw'; loginform.submit();");
    browser.wait_for_page("#wpadminbar");
    for (page, top) in [
        ("tools.php?page=wp-gears-jobs", ".wp-gears-numbers"),
        (
            "tools.php?page=wp-gears-jobs&view=groups",
            ".wp-gears-numbers",
        ),
        ("site-health.php", "#health-check-issues-recommended"),
        (
            "site-health.php?tab=debug",
            "#health-check-accordion-block-wp-gears",
        ),
    ] {
        for width in [1280, 390] {
            let short: String = page.chars().filter(char::is_ascii_alphanumeric).collect();
            let at = format!("{short}-{width}");
            browser.look_like(width, "light");
            browser.open(&format!("http://site.test/wp-admin/{page}"), top);
            if page.starts_with("tools") {
                let seen = below(nodes(&mut browser), |it| it.role == "main");
                // WordPress names its tables with a heading, and later ones with a caption.
                assert!(names(&seen, "heading").contains(&"Jobs list"), "{at}");
                let ours: Vec<Node> = seen.into_iter().filter(|it| it.role != "table").collect();
                all_have_names(&ours, &at);
            }
            picture(&mut browser, &at);
            fits(&mut browser, width, &at);
        }
    }
}
