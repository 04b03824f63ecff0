//! The dashboard in a real browser: what it shows against `status --json`, live, with
//! names that try to be markup, with 1,000 functions, and through an outage.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::browser::Browser;
use super::dashboard::Dashboard;
use super::lab::{Plan, Site, sleep, wait_for};

const MARKUP: &str = "<img src=x onerror=\"document.title='pwned'\">";

/// Registers functions at a job server, as a worker with these names does.
fn register(server: &str, names: impl Iterator<Item = String>) -> TcpStream {
    let mut stream = TcpStream::connect(server).unwrap();
    for name in names {
        let mut packet = b"\0REQ\0\0\0\x01".to_vec();
        packet.extend((name.len() as u32).to_be_bytes());
        packet.extend(name.as_bytes());
        stream.write_all(&packet).unwrap();
    }
    stream
}

/// The text of a cell in the row that begins with `name`.
fn cell(table: &str, name: &str, label: &str) -> String {
    let name = json!(name);
    format!(
        "[...document.querySelectorAll('#{table} tbody tr')].find((row) => row.cells[0].textContent === {name})?.querySelector('[data-label=\"{label}\"]')?.textContent"
    )
}

#[test]
fn a_browser_shows_what_is_so_and_takes_nothing_for_markup() {
    let Some(mut browser) = Browser::start(&[]) else {
        return;
    };
    let mut site = Site::new("page");
    let name = site.name.clone();
    let _worker = site.worker(&["--workers", "2"]);
    site.add("t_throw", json!([]));
    site.add("<script>alert(1)</script>", json!([]));
    site.add("t_line", json!(["1"]));
    site.wait_for_out(60, 1);
    wait_for(20, "the failed job", || site.kept().len() == 1);
    let server = site.gearmand.server.to_string();
    let names = (1..1000).map(|n| format!("function-{n}"));
    let _functions = register(&server, names.chain([MARKUP.to_owned()]));
    // Of all sites, as other tests run at the same time.
    let it = Dashboard::start(&server, &[]);
    let of_site = || {
        let sites = it.status()["sites"].as_array().unwrap().clone();
        let own = |of_site: &Value| of_site["site"] == name;
        sites.into_iter().find(own).unwrap()
    };
    wait_for(20, "the failed job's error", || {
        of_site()["latest_failed"][0]["error"].is_string()
    });

    browser.look_like(1280, "light");
    browser.open(&format!("http://{}/", it.at), ".card");
    browser.until("document.querySelector('#live-text').textContent === 'Live'");
    let of_site = of_site();
    let shown =
        |browser: &mut Browser, label: &str| browser.eval(&cell("sites", &site.name, label));
    assert_eq!(
        shown(&mut browser, "Done"),
        of_site["done_ever"].to_string()
    );
    assert_eq!(shown(&mut browser, "Failed"), "1");
    assert_eq!(shown(&mut browser, "Workers"), "2");
    assert_eq!(
        browser.eval("document.querySelector('#oldest').textContent"),
        "None"
    );
    let order = "document.querySelector('dl .number').id";
    assert_eq!(browser.eval(order), "oldest");
    let p95 = &of_site["figures"]["minute"]["wait_ms"]["p95"];
    if let Some(ms) = p95.as_u64().filter(|ms| *ms < 1000) {
        assert_eq!(shown(&mut browser, "Wait p95"), format!("{ms} ms"));
    }
    let errors = browser.eval("document.querySelector('#failed tbody').textContent");
    assert!(errors.as_str().unwrap().contains("t_throw"), "{errors}");

    // Names are text.
    let text =
        "document.querySelector('#hooks tbody').textContent.includes('<script>alert(1)</script>')";
    browser.until(text);
    let count = |browser: &mut Browser| {
        browser.eval("document.querySelectorAll('#functions tbody tr').length")
    };
    assert_eq!(count(&mut browser), 100);
    browser.eval("document.querySelector('#functions .rest button').click()");
    assert_eq!(count(&mut browser), 1001);
    browser.eval("{ const it = document.querySelector('#functions-filter'); it.value = 'onerror'; it.dispatchEvent(new Event('input')); }");
    assert_eq!(count(&mut browser), 1);
    let name = browser.eval("document.querySelector('#functions tbody th').textContent");
    assert_eq!(name, MARKUP);
    assert_eq!(
        browser.eval("document.querySelectorAll('main img').length"),
        0
    );
    assert_ne!(browser.eval("document.title"), "pwned");
    let slow = browser.eval(
        "(() => { const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd - t.startTime; })()",
    );
    println!("with 1,001 functions the page is there after {slow} ms");

    // Live, without a reload.
    browser.eval("window.stayed = true");
    let done = of_site["done_ever"].as_u64().unwrap();
    site.add("t_line", json!(["2"]));
    let now = cell("sites", &site.name, "Done");
    browser.until(&format!("{now} === '{}'", done + 1));
    site.gearmand.kill();
    let state = format!(
        "[...document.querySelectorAll('#servers tbody tr')].find((row) => row.cells[0].textContent === '{server}')?.cells[1].textContent"
    );
    browser.until(&format!("{state} === '▲Away'"));
    // Other tests' sites have problems of their own.
    let named =
        format!("document.querySelector('#problem-list').textContent.includes('{server}:')");
    let fits = "document.querySelector('#problem-list').children.length";
    let fits = format!(
        "document.querySelector('#problems').hidden === !{fits} && document.title.startsWith('(') === !!{fits}"
    );
    browser.until(&format!("{named} && {fits}"));
    site.gearmand.start();
    browser.until(&format!("{state} === '●Answers'"));
    browser.until(&format!("!{named} && {fits}"));
    assert_eq!(browser.eval("window.stayed"), true);

    // Nothing is wider than a phone, and every control has a name.
    for (width, scheme) in [(390, "light"), (390, "dark"), (1280, "dark")] {
        browser.look_like(width, scheme);
        assert_eq!(
            browser.eval("document.documentElement.scrollWidth"),
            width,
            "{scheme}"
        );
    }
    let nameless = "[...document.querySelectorAll('button, input')].filter((it) => !it.textContent && !it.labels?.length).length";
    assert_eq!(browser.eval(nameless), 0);
    assert_eq!(browser.complaints, [] as [String; 0]);
}

/// The jobs of the sites in the pictures.
const JOBS: &str = r#"
add_action( 'send_mail', function () { usleep( rand( 30, 90 ) * 1000 ); } );
add_action( 'resize_image', function () { usleep( rand( 100, 400 ) * 1000 ); } );
add_action( 'import_products', function ( $args ) {
	usleep( rand( 200, 900 ) * 1000 );
	if ( 0 === $args[0] % 61 ) throw new RuntimeException( 'the warehouse answered 503 Service Unavailable' );
} );
"#;

/// Pictures of a run, for people to look at: PNGs as base64, in the folder that
/// `WP_GEARS_PICTURES` names.
#[test]
#[ignore = "takes pictures for people, for two minutes"]
fn pictures_of_a_run() {
    let folder = std::env::var("WP_GEARS_PICTURES").expect("WP_GEARS_PICTURES names a folder");
    let mut browser = Browser::start(&[]).expect("Chromium");
    let plan = || Plan {
        jobs: JOBS.into(),
        ..Plan::default()
    };
    let shop = Site::with("shop", plan());
    let server = shop.gearmand.server.clone();
    let other = |name| {
        let server = Some(server.clone());
        Site::with(name, Plan { server, ..plan() })
    };
    let (blog, intranet) = (other("blog"), other("intranet"));
    let workers = [(&shop, "4"), (&blog, "2"), (&intranet, "1")];
    let _workers = workers.map(|(site, workers)| site.worker(&["--workers", workers]));
    let send = |site: &Site, hook: &str, numbers: std::ops::Range<u32>| {
        let (from, to) = (numbers.start, numbers.end);
        site.php(&format!(
            "load(); for ( $n = {from}; $n < {to}; $n++ ) wp_async_task_add( '{hook}', [ $n ] );"
        ));
    };
    for site in [&shop, &blog, &intranet] {
        send(site, "send_mail", 0..1);
    }
    let it = Dashboard::start(&server.to_string(), &[]);
    browser.look_like(1280, "light");
    browser.open(&format!("http://{}/", it.at), ".card");
    let begun = Instant::now();
    let mut n = 1;
    while begun.elapsed() < Duration::from_secs(130) {
        send(&shop, "import_products", n..n + n % 13);
        send(&shop, "send_mail", n..n + 9);
        if n % 3 == 0 {
            send(&blog, "resize_image", n..n + 5);
        }
        if n % 7 == 0 {
            send(&intranet, "send_mail", n..n + 3);
        }
        n += 1;
        sleep(700);
    }
    send(&shop, "import_products", 1..60);
    sleep(2500);
    for (width, height) in [(1280, 1000), (390, 2000)] {
        for scheme in ["light", "dark"] {
            browser.look_like(width, scheme);
            let path = format!("{folder}/{width}-{scheme}.base64");
            std::fs::write(path, browser.picture(height)).unwrap();
        }
    }
}
