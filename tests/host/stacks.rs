//! The web's side: whatever serves the pages, a page's job reaches Gearman
//! after setup, and setup, doctor and reality agree.

use std::time::Duration;

use crate::compatibility::seen;
use crate::harness::debian::install;
use crate::harness::{Host, Site, site};
use crate::phase::phase;
use crate::support::{fresh_host, on_site, ready_host};

/// Submits a job as a plugin in a page does.
const SEND: &str = r#"<?php
require '/var/www/site/wp-load.php';
wp_async_task_add('test_job', ['n' => (int) $_GET['n']]);
echo PHP_SAPI, ' ', extension_loaded('gearman') ? 'gearman' : 'nothing';
"#;

/// A page that takes as long as a slow one, with a second at times.
const SLOW: &str = r#"<?php
require '/var/www/site/wp-load.php';
usleep(0 === random_int(0, 19) ? 1000000 : 50000);
echo 'done';
"#;

/// Asks for pages without a pause, in two processes, and writes down every
/// status. 000 means that there was no answer.
const VISITORS: &str = r#"cat >/root/visit <<'END'
until [ -e /root/leave ]; do
    curl -s -o /dev/null -m 30 -w '%{http_code}\n' http://localhost/slow.php
done >>/root/statuses.$1
END
rm -f /root/leave /root/statuses.*
for n in 1 2; do setsid bash /root/visit $n >/dev/null 2>&1 </dev/null & done
until [ -s /root/statuses.1 ] && [ -s /root/statuses.2 ]; do sleep 0.1; done"#;

/// Does something while visitors ask for pages, and returns how many of them
/// got no page.
fn under_visitors(host: &Host, what: &str, act: impl FnOnce()) -> usize {
    host.shell(VISITORS).ok();
    act();
    let all = host.shell(
        "touch /root/leave; while pgrep -f '[/]root/visit' >/dev/null; do sleep 0.1; done
         cat /root/statuses.*",
    );
    let all = all.ok();
    let failed = all
        .lines()
        .filter(|status| !status.starts_with('2'))
        .count();
    println!("  {what}: {} pages, {failed} failed", all.lines().count());
    for (at, status) in all.lines().enumerate().filter(|(_, it)| *it != "200") {
        println!("    {at}: {status}");
    }
    failed
}

/// A host whose site is served by something other than nginx and php-fpm.
fn host_with(name: &str, packages: &[&str], script: &str) -> Host {
    let host = fresh_host(name);
    host.shell("systemctl disable --now nginx php8.2-fpm").ok();
    install(&host, packages).unwrap();
    host.shell(script).ok();
    host
}

/// What a plan says if pages may fail while it is applied.
const MAY_FAIL: &str = "pages may fail";

/// Setup proves the web's side, and what it says is so. The stack is a row in
/// docs/compatibility.md.
fn is_proved(host: &Host, stack: &str, sapi: &str) {
    host.put("/var/www/site/send.php", SEND, 0o644).unwrap();
    host.put("/var/www/site/slow.php", SLOW, 0o644).unwrap();
    phase("setup under visitors");
    host.shell("curl -s http://localhost/slow.php").ok(); // what a web server starts when asked
    let plan = on_site(host, "plan", &[]).exits(0);
    let mut setup = None;
    let failed_setup = under_visitors(host, &format!("setup, {sapi}"), || {
        setup = Some(on_site(host, "setup", &[]).exits(0));
    });
    assert!(
        failed_setup == 0 || plan.stdout.contains(MAY_FAIL),
        "{plan}"
    );
    let setup = setup.unwrap();
    assert!(setup.stdout.contains("a page submitted a job"), "{setup}");
    assert!(setup.stdout.contains(&format!("as {sapi}")), "{setup}");

    phase("a page submits a job");
    let site = Site::first(host);
    site.forget_done();
    let (code, body) = site.get("http://localhost/send.php?n=7");
    assert_eq!((code, body.as_str()), (200, &*format!("{sapi} gearman")));
    assert_eq!(site.wait_for(1, Duration::from_secs(20)), [7]);

    phase("doctor and a second setup");
    host.run(&["wp-gears", "doctor"]).exits(0);
    let again = on_site(host, "setup", &[]).exits(0);
    assert!(again.stdout.contains("Nothing to change."), "{again}");

    phase("remove under visitors");
    let mut removed = None;
    let failed_remove = under_visitors(host, &format!("remove, {sapi}"), || {
        removed = Some(on_site(host, "remove", &["--purge"]).exits(0));
    });
    let removed = removed.unwrap();
    assert!(
        failed_remove == 0 || removed.stdout.contains(MAY_FAIL),
        "{removed}"
    );
    let (code, body) = site.get("http://localhost/send.php?n=8");
    assert!(body.ends_with("nothing") || code == 500, "{code} {body}");
    let holding = host.shell("grep -l gearman.so /proc/[0-9]*/maps 2>/dev/null || true");
    assert_eq!(holding.stdout.trim(), "", "{holding}");
    let job = format!("reached Gearman and ran ({sapi})");
    let failed = match plan.stdout.contains(MAY_FAIL) {
        true => "may fail, as the plan says".to_owned(),
        false => format!("{failed_setup}, {failed_remove}"),
    };
    let cells = [stack, &job, "healthy", "changed nothing", &failed, "gone"];
    seen("Web servers", &cells);
}

#[test]
fn nginx_with_php_fpm() {
    let host = fresh_host("nginx");
    is_proved(&host, "nginx, php-fpm", "fpm-fcgi");
}

const APACHE: &str = "cat >/etc/apache2/sites-available/000-default.conf <<'END'
<VirtualHost *:80>
    DocumentRoot /var/www/site
    <Directory /var/www/site>
        Require all granted
        AllowOverride All
    </Directory>
</VirtualHost>
END
";

#[test]
fn apache_with_mod_php() {
    let script = format!("{APACHE}systemctl restart apache2");
    let host = host_with("modphp", &["apache2", "libapache2-mod-php"], &script);
    is_proved(&host, "Apache, mod_php", "apache2handler");
}

#[test]
fn apache_with_php_fpm() {
    let script = format!(
        "{APACHE}a2enmod proxy_fcgi && a2enconf php8.2-fpm
         systemctl enable --now php8.2-fpm && systemctl restart apache2"
    );
    let host = host_with("apachefpm", &["apache2"], &script);
    is_proved(&host, "Apache, php-fpm", "fpm-fcgi");
}

#[test]
fn apache_with_mod_fcgid() {
    let script = format!(
        "{APACHE}cat >/etc/apache2/conf-available/fcgid-php.conf <<'END'
<FilesMatch \\.php$>
    SetHandler fcgid-script
    FcgidWrapper /usr/bin/php-cgi .php
    Options +ExecCGI
</FilesMatch>
END
         # Each process has a cache of its own, and none looks at a file again.
         echo opcache.validate_timestamps=0 >/etc/php/8.2/cgi/conf.d/99-blind.ini
         a2enconf fcgid-php && a2enmod fcgid && systemctl restart apache2"
    );
    let packages = ["apache2", "libapache2-mod-fcgid", "php-cgi"];
    let host = host_with("fcgid", &packages, &script);
    is_proved(&host, "Apache, mod_fcgid with php-cgi", "cgi-fcgi");
    phase("its processes are reloaded together");
    let log = host.shell("grep -c 'Doing graceful restart' /var/log/apache2/error.log");
    let reloads: u32 = log.ok().trim().parse().unwrap();
    println!("  {reloads} reloads");
    assert!(reloads <= 4, "{reloads} reloads");
}

#[test]
fn lighttpd_with_php_cgi() {
    let script = "sed -i 's#^server.document-root.*#server.document-root = \"/var/www/site\"#' /etc/lighttpd/lighttpd.conf
         lighty-enable-mod fastcgi fastcgi-php; systemctl restart lighttpd";
    let host = host_with("lighttpd", &["lighttpd", "php-cgi"], script);
    is_proved(&host, "lighttpd, php-cgi", "cgi-fcgi");
}

#[test]
fn caddy_with_php_fpm() {
    let script = "cat >/etc/caddy/Caddyfile <<'END'
:80 {
    root * /var/www/site
    php_fastcgi unix//run/php/php8.2-fpm.sock
    file_server
}
END
         systemctl enable --now php8.2-fpm; systemctl restart caddy";
    let host = host_with("caddy", &["caddy"], script);
    is_proved(&host, "Caddy, php-fpm", "fpm-fcgi");
}

#[test]
fn a_site_of_another_virtual_host_does_not_lend_its_user() {
    let host = fresh_host("vhosts");
    phase("two customers in one file");
    site::add(&host, "/var/www/second", "bob", "bob.test").unwrap();
    let plan = host.run(&["wp-gears", "setup", "--site", "/var/www/second", "--yes"]);
    plan.exits(0);
    let program = host
        .read("/etc/supervisor/conf.d/wp-gears-second.conf")
        .unwrap();
    assert!(program.contains("\nuser=bob\n"), "{program}");
}

#[test]
fn a_page_corrects_the_user_that_its_server_does_not_tell() {
    let host = ready_host("unknown-user");
    // Whoever reads this has to know what a map is.
    host.shell(
        "useradd -m deploy; chown -R deploy: /var/www/site
         echo 'map $host $pool { default unix:/run/php/php8.2-fpm.sock; }' >/etc/nginx/conf.d/map.conf
         sed -i 's#fastcgi_pass .*;#fastcgi_pass $pool;#' /etc/nginx/sites-enabled/*
         chmod o+r /var/www/site/wp-config.php
         systemctl reload nginx",
    )
    .ok();
    let config = host.read("/var/www/site/wp-config.php").unwrap();
    let setup = |more: &[&str]| {
        let setup = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
        host.run(&[&setup[..], more].concat())
    };
    phase("setup finds out that pages run as another user");
    let refused = setup(&[]).exits(1);
    assert!(
        refused
            .stderr
            .contains("serves them as www-data, but the jobs run as deploy"),
        "{refused}"
    );
    assert_eq!(host.read("/var/www/site/wp-config.php").unwrap(), config);

    phase("its advice works");
    setup(&["--worker-user", "www-data"]).exits(0);
    host.run(&["wp-gears", "doctor"]).exits(0);

    phase("and the other one as well");
    host.run(&["wp-gears", "remove", "--yes"]).exits(0);
    setup(&["--worker-user", "deploy"]).exits(0);
}
