//! Hosts without a package of PHP's extension: it is built.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::harness::command::{command, run};
use crate::harness::{Host, Image, Release, Shape, Site, cache, debian, machine, rhel, site};
use crate::phase::phase;
use crate::support::{
    a_page_hands_in_a_job, daemons, everything, jobs_run, none, on_site, refused, web_has_it,
    wp_gears,
};

const ARCHIVE: &str = "/srv/pecl/gearman.tgz";
const SETUP: [&str; 5] = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];

/// What pecl would download, from Debian's source package of php-gearman.
fn archive() -> Result<PathBuf> {
    cache::entry("pecl", include_str!("pecl-source.sh"), |folder| {
        let script = include_str!("pecl-source.sh");
        let mirror = machine::mirror()?;
        let folder = folder.display().to_string();
        let words = ["sh", "-ec", script, "pecl", &folder, &mirror];
        run(command(&words), b"", Duration::from_secs(300))
            .check()
            .map(drop)
    })
}

/// A host with a site, the archive, and all packages except the extension's, which are
/// unavailable.
fn without_extension(name: &str) -> Host {
    let image = Image::site(Release::Bookworm).unwrap();
    let bind = format!("{}:/srv/pecl:ro", archive().unwrap().display());
    let host = Host::start(&image, name, Shape::Booted, &[bind]).unwrap();
    host.install(wp_gears()).unwrap();
    withhold(&host, "php*-gearman");
    debian::install(&host, &["gearman-job-server", "supervisor"]).unwrap();
    host
}

fn withhold(host: &Host, packages: &str) {
    let pin = format!("Package: {packages}\nPin: release *\nPin-Priority: -1\n");
    let name = packages.replace('*', "");
    host.put(&format!("/etc/apt/preferences.d/{name}"), pin, 0o644)
        .unwrap();
}

#[test]
fn without_a_package_the_extension_is_built_from_the_archive_and_goes_again() {
    let mut host = without_extension("pecl");
    phase("plan");
    let before = everything(&host);
    let php = host.tree(&["/etc/php", "/usr/lib/php"]);
    let packages = host.shell("dpkg-query -W").ok();
    let from_archive = ["--extension-archive", ARCHIVE];
    let plan = on_site(&host, "plan", &from_archive).exits(0);
    assert!(plan.stdout.contains("gcc make"), "{plan}");
    assert!(plan.stdout.contains("20-gearman.ini"), "{plan}");
    none(before.touches_to(&everything(&host)), "touched by plan");

    phase("setup builds the extension");
    let setup = on_site(&host, "setup", &from_archive).exits(0);
    println!("setup: {:.1?}\n{}", setup.took, setup.text());
    jobs_run(&Site::first(&host), 20);
    assert!(web_has_it(&host));

    phase("a second setup touches nothing");
    let (made, daemons_before) = (everything(&host), daemons(&host));
    let second = on_site(&host, "setup", &["-v"]).exits(0);
    println!("second setup: {:.0?}", second.took);
    none(made.touches_to(&everything(&host)), "touched by the second");
    assert_eq!(daemons_before, daemons(&host));
    for word in ["$ apt", "$ php", "/php", "pecl"] {
        assert!(!second.stderr.contains(word), "runs {word}: {second}");
    }
    host.reboot().unwrap();
    jobs_run(&Site::first(&host), 20);

    phase("php-fpm alone lost the extension");
    // Only one SAPI lost it, so only that one gets it back.
    host.shell("rm /etc/php/8.2/fpm/conf.d/20-gearman.ini; systemctl restart php8.2-fpm")
        .ok();
    assert!(!web_has_it(&host));
    let again = on_site(&host, "plan", &from_archive).exits(0);
    assert!(!again.stdout.contains("/cli/"), "{again}");
    on_site(&host, "setup", &from_archive).exits(0);
    assert!(web_has_it(&host));

    phase("remove");
    println!("{}", on_site(&host, "remove", &["--purge"]).exits(0).text());
    let built = host.shell("find / -xdev -name '*gearman*.ini' -o -xdev -name gearman.so");
    assert_eq!(built.ok(), "");
    none(
        php.changes_to(&host.tree(&["/etc/php", "/usr/lib/php"])),
        "left of PHP's",
    );
    let left = host.shell("dpkg-query -W").ok();
    assert_eq!(packages, left);
}

/// EPEL's package is for the initial PHP of its release; this host has another.
const FOR_ANOTHER_PHP: &str = r#"
rpm -e php-pecl-gearman
echo 'exclude=php-pecl-gearman' >>/etc/yum.repos.d/epel.repo
cat >/root/other.spec <<END
Name: php-pecl-gearman
Version: 3
Release: 1
Summary: Made for a test
License: as its files say
Requires: php(zend-abi) = 20200930-64
%description
Made for a test.
%files
END
rpmbuild --quiet --define '_rpmdir /srv/other' -bb /root/other.spec
createrepo_c --quiet /srv/other
printf '[other]\nname=other\nbaseurl=file:///srv/other\ngpgcheck=0\n' >/etc/yum.repos.d/other.repo
"#;

#[test]
fn a_package_for_another_php_is_no_package() {
    let image = rhel::with_packages().unwrap();
    let bind = format!("{}:/srv/pecl:ro", archive().unwrap().display());
    let host = Host::start(&image, "pecl-el", Shape::Booted, &[bind]).unwrap();
    host.install(wp_gears()).unwrap();
    host.run(&["bash", "-ec", FOR_ANOTHER_PHP]).ok();
    let packages = || {
        let mut all: Vec<String> = host
            .run(&["rpm", "-qa"])
            .ok()
            .lines()
            .map(str::to_owned)
            .collect();
        all.sort();
        all
    };
    let (before, packages_before) = (everything(&host), packages());
    // The test host's php-devel does not own this folder.
    let of_php = || {
        host.tree(&["/etc/php.d", "/usr/lib/php"])
            .without("/usr/lib/php/20220829/build")
    };
    phase("plan");
    let php = of_php();
    let plan = on_site(&host, "plan", &[]).exits(0);
    for part in [
        "pecl.php.net",
        "php-devel",
        "libgearman-devel",
        "/etc/php.d/40-gearman.ini",
    ] {
        assert!(plan.stdout.contains(part), "{part}: {plan}");
    }
    phase("setup");
    on_site(&host, "setup", &["--extension-archive", ARCHIVE]).exits(0);
    a_page_hands_in_a_job(&host);
    let second = on_site(&host, "setup", &["-v"]).exits(0);
    assert!(!second.stderr.contains("$ dnf"), "{second}");

    phase("remove");
    on_site(&host, "remove", &["--purge"]).exits(0);
    assert_eq!(packages_before, packages());
    assert!(!web_has_it(&host));
    none(before.changes_to(&everything(&host)), "left by remove");
    none(php.changes_to(&of_php()), "left of PHP's");
}

/// pecl.php.net on this host, with a certificate that it trusts and another archive.
const IMPOSTOR: &str = r#"
cd /srv
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=pecl.php.net \
    -addext subjectAltName=DNS:pecl.php.net -keyout made.key -out made.crt
cp made.crt /usr/local/share/ca-certificates/made.crt
update-ca-certificates
echo '127.0.0.1 pecl.php.net' >>/etc/hosts
mkdir -p impostor/get
cp /srv/pecl/gearman.tgz impostor/get/gearman-2.2.1.tgz
cat >/etc/nginx/conf.d/impostor.conf <<END
server {
    listen 443 ssl;
    server_name pecl.php.net;
    ssl_certificate /srv/made.crt;
    ssl_certificate_key /srv/made.key;
    root /srv/impostor;
}
END
systemctl reload nginx
"#;

#[test]
fn what_cannot_be_built_is_told_before_anything_changes() {
    let host = without_extension("pecl-bad");
    let setup = |archive| [&SETUP[..], &["--extension-archive", archive]].concat();

    phase("bad archives are refused");
    refused(&host, &setup("/srv/none.tgz"), 1, &["no such file"]);
    host.put("/srv/text.tgz", "no archive\n", 0o644).unwrap();
    refused(
        &host,
        &setup("/srv/text.tgz"),
        1,
        &["/srv/text.tgz", "gzip"],
    );
    host.shell(
        "cd /srv && mkdir made && cd made && tar xzf /srv/pecl/gearman.tgz
         tar czf ../without.tgz gearman-*
         sed 's/<name>gearman</<name>redis</' package.xml >x && mv package.xml y && mv x package.xml
         tar czf ../other.tgz package.xml
         sed 's/<max>8.4.99</<max>8.1.99</' y >package.xml && tar czf ../old.tgz package.xml",
    )
    .ok();
    refused(&host, &setup("/srv/without.tgz"), 1, &["package.xml"]);
    refused(&host, &setup("/srv/other.tgz"), 1, &["another package"]);
    refused(&host, &setup("/srv/old.tgz"), 1, &["8.1.99", "2.1.4"]);

    phase("no compiler");
    // A compiler is unavailable.
    withhold(&host, "gcc*");
    refused(&host, &setup(ARCHIVE), 1, &["gcc", "no enabled repository"]);
    host.run(&["rm", "/etc/apt/preferences.d/gcc"]).ok();

    phase("the compiler fails");
    // The compiler error is shown, and no files are left behind.
    host.shell(
        "cd /srv/made && rm -f package.xml && mv y package.xml
         echo '#error the moon is full' >>gearman-2.1.4/php_gearman.c
         tar czf ../broken.tgz package.xml gearman-2.1.4",
    )
    .ok();
    let php = host.tree(&["/etc/php/8.2/cli", "/var/www"]);
    let out = host.run(&setup("/srv/broken.tgz")).exits(1);
    assert!(out.stderr.contains("the moon is full"), "{out}");
    none(
        php.touches_to(&host.tree(&["/etc/php/8.2/cli", "/var/www"])),
        "touched by a build that failed",
    );
    assert!(!host.exists("/usr/lib/php/20220829/gearman.so"));

    phase("a build that attacks the host");
    // It runs as nobody: it can neither leave files and processes behind, nor make
    // root install what only root can read.
    host.shell(
        "cd /srv/made && mkdir evil && cp -r package.xml gearman-2.1.4 evil && cd evil
         sed -i '/moon is full/d' gearman-2.1.4/php_gearman.c
         cat >gearman-2.1.4/config.m4 <<'END'
PHP_ARG_WITH(gearman,,[  --with-gearman])
[id -u >/tmp/built-as
touch /etc/from-the-build /var/lib/wp-gears/from-the-build /usr/lib/php/20220829/gearman.so
(setsid sleep 987 &)
mkdir -p modules
ln -s /etc/shadow modules/gearman.so
printf 'all:\\n\\ttrue\\n' >Makefile.evil]
PHP_NEW_EXTENSION(gearman, php_gearman.c, $ext_shared)
END
         tar czf /srv/evil.tgz package.xml gearman-2.1.4",
    )
    .ok();
    let out = host.run(&setup("/srv/evil.tgz")).exits(1);
    println!("{}", out.text());
    let built_as: u32 = host.read("/tmp/built-as").unwrap().trim().parse().unwrap();
    assert!(built_as > 61_000, "{built_as}");
    for path in ["/etc", "/var/lib/wp-gears"] {
        assert!(!host.exists(&format!("{path}/from-the-build")), "{path}");
    }
    assert!(!host.exists("/usr/lib/php/20220829/gearman.so"));
    assert!(!host.exists("/var/lib/wp-gears/build"));
    host.shell("! pgrep -f 'sleep [9]87'").ok();
    host.run(&["rm", "-f", "/tmp/built-as"]).ok();

    phase("another server answers for pecl.php.net");
    host.run(&["rm", "/etc/wp-gears.toml"]).ok();
    host.shell(IMPOSTOR).ok();
    let out = host.run(&SETUP).exits(1);
    assert!(out.stderr.contains("SHA-256"), "{out}");
    assert!(!host.exists("/usr/lib/php/20220829/gearman.so"));
    host.shell("rm /usr/local/share/ca-certificates/made.crt && update-ca-certificates --fresh")
        .ok();
    let out = host.run(&SETUP).exits(1);
    assert!(out.stderr.contains("certificate"), "{out}");
    host.shell("sed -i /pecl.php.net/d /etc/hosts").ok();

    phase("no network, no archive");
    let out = host.run(&SETUP).exits(1);
    assert!(out.stderr.contains("--extension-archive"), "{out}");

    phase("setup after all");
    host.run(&setup(ARCHIVE)).exits(0);
    jobs_run(&Site::first(&host), 1);
}
