//! One hostile site among 20 good ones, all running: setup, plan and doctor do their work
//! on the 20, take hardly longer than without it, and say what is wrong with it.

use std::ops::Range;
use std::time::Duration;

use crate::harness::{Host, Out, Site};
use crate::phase::phase;
use crate::support::ready_host;

const GOOD: usize = 20;
const HOSTILE: &str = "/srv/hostile";
/// More than without the hostile site.
const LONGER: Duration = Duration::from_secs(10);

/// Copies of the first site that share its WordPress, each with tables of its own: the
/// user, the folder and the tables' prefix come as arguments.
const ADD: &str = r#"
    user=$1 folder=$2 name=$3
    id "$user" >/dev/null 2>&1 || useradd --system --create-home "$user"
    mkdir -p "$folder/wp-content/plugins"
    cp -r /var/www/site/wp-content/mu-plugins "$folder/wp-content/"
    cp /srv/wordpress/*.php "$folder"
    # Links in a folder of root's; who has a folder has no links to root's files in it.
    case $user in
        good) ln -s /srv/wordpress/wp-includes /srv/wordpress/wp-admin "$folder" ;;
        *) cp -r /srv/wordpress/wp-includes /srv/wordpress/wp-admin "$folder"; chown -R "$user:$user" "$folder" ;;
    esac
    sed "s/^\$table_prefix.*/\$table_prefix = '${name}_';/" /var/www/site/wp-config.php >"$folder/wp-config.php"
    cp -r /srv/wordpress/wp-content/themes "$folder/wp-content/"
    chown -R "$user:$user" "$folder/wp-content" "$folder/wp-config.php"
    chmod 640 "$folder/wp-config.php"
    test -e /srv/dump.sql || mysqldump --skip-lock-tables site >/srv/dump.sql
    sed "s/\`wp_/\`${name}_/g; s/wp_user_roles/${name}_user_roles/; s/wp_capabilities/${name}_capabilities/; s#http://localhost#http://$name.test#g" /srv/dump.sql | mysql site
    cat >>/etc/nginx/sites-enabled/all.conf <<END
server { listen 80; server_name $name.test; root $folder; index index.php;
  location / { try_files \$uri \$uri/ /index.php?\$args; }
  location ~ \.php\$ { include fastcgi.conf; fastcgi_pass unix:/run/php/$user.sock; } }
END
    pool=$(ls -d /etc/php/*/fpm/pool.d)/$user.conf
    test -e "$pool" || printf '[%s]\nuser = %s\ngroup = %s\nlisten = /run/php/%s.sock\nlisten.owner = www-data\nlisten.group = www-data\npm = ondemand\npm.max_children = 4\n' \
        "$user" "$user" "$user" "$user" >"$pool"
"#;

fn good(n: usize) -> String {
    format!("/srv/good{n}")
}

fn add(host: &Host, user: &str, folder: &str) {
    let name = folder.trim_start_matches("/srv/");
    host.run(&["sh", "-ec", ADD, "add", user, folder, name])
        .ok();
}

/// What listens in the host on 40 ports, and never answers.
const TARPITS: &str = "import socket, time
kept = []
for port in range(6001, 6041):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('127.0.0.1', port)); s.listen(128); kept.append(s)
open('/srv/tarpits', 'w').close()
time.sleep(100000)
";

fn code(php: &str) -> String {
    format!(
        "cp -p wp-config.php kept; printf '%s' '{}' >/tmp/planted; sed -i '1r /tmp/planted' wp-config.php",
        format!("\n{php}\n").replace('\'', "'\\''")
    )
}

struct Hostility {
    name: &'static str,
    /// What its owner does in the site's folder.
    plant: String,
    /// Whether jobs cannot run any more, which doctor has to say.
    breaks_it: bool,
    /// Whether doctor looks as well, which takes a job of each site.
    with_doctor: bool,
}

fn hostilities() -> Vec<Hostility> {
    const FORGE: &str = r#"foreach ( (array) ( $argv ?? [] ) as $a ) { if ( preg_match( '/"mark":"(\w+)"/', $a, $m ) ) {
        for ( $i = 0; $i < 3000; $i++ ) { echo "\n$m[1] {\"answer\":{\"plugin\":\"\u001b[2J" . str_repeat( "x", 9000 ) . "\",\"blogs\":-1,\"servers\":[1,{}]}}\n"; } } }"#;
    let servers: Vec<String> = (6001..6041)
        .map(|port| format!("\"127.0.0.1:{port}\""))
        .collect();
    let silent = format!(
        "cp -p wp-config.php kept; sed -i '1a $gearman_servers = array( {} );' wp-config.php",
        servers.join(", ")
    );
    let deep = "cp -p wp-config.php kept; cd wp-content/plugins
        php -r 'for ($n = 0; $n < 3000; $n++) { mkdir(\"d\"); chdir(\"d\"); }'; truncate -s 1T huge.php";
    let all = [
        (
            "waits forever",
            code("while ( true ) { sleep( 3600 ); }"),
            true,
            true,
        ),
        (
            "loops forever",
            code("set_time_limit( 0 ); ignore_user_abort( true ); while ( true ) { $x = 1; }"),
            true,
            false,
        ),
        (
            "stops itself",
            code("posix_kill( getmypid(), 19 );"),
            true,
            false,
        ),
        (
            "prints without end",
            code("while ( true ) { echo str_repeat( \"y\\n\", 1 << 20 ); }"),
            true,
            false,
        ),
        (
            "makes its output huge",
            code(
                "if ( defined( \"STDOUT\" ) ) { ftruncate( STDOUT, 1 << 40 ); ftruncate( STDERR, 1 << 40 ); }",
            ),
            false,
            false,
        ),
        ("forges answers", code(FORGE), false, true),
        (
            "leaves children",
            code(
                "exec( \"setsid sh -c 'while :; do sleep 5; done' >/dev/null & setsid sleep 3600 & true\" );",
            ),
            false,
            false,
        ),
        (
            "eats memory",
            code("$x = []; while ( true ) { $x[] = str_repeat( \"x\", 1 << 20 ); }"),
            true,
            false,
        ),
        ("kills its group", code("posix_kill( 0, 9 );"), true, false),
        ("40 silent job servers", silent, true, true),
        (
            "a pipe for wp-config.php",
            "mv wp-config.php kept; mkfifo wp-config.php".into(),
            true,
            false,
        ),
        (
            "an endless wp-config.php",
            "mv wp-config.php kept; truncate -s 1T wp-config.php".into(),
            true,
            false,
        ),
        (
            "folders 3,000 deep, and an endless file",
            deep.into(),
            false,
            false,
        ),
    ];
    let hostility = |(name, plant, breaks_it, with_doctor)| Hostility {
        name,
        plant,
        breaks_it,
        with_doctor,
    };
    all.into_iter().map(hostility).collect()
}

/// It is as good as the others again.
const HEAL: &str = "mv -f kept wp-config.php; rm -f wp-content/plugins/huge.php";

fn as_owner(host: &Host, script: &str) {
    let script = format!("cd {HOSTILE}\n{script}");
    host.as_user("hostile", &["sh", "-ec", &script]).ok();
}

fn on(host: &Host, verb: &[&str], sites: Range<usize>, with_hostile: bool) -> Out {
    let mut sites: Vec<String> = sites.map(good).collect();
    if with_hostile {
        sites.push(HOSTILE.into());
    }
    let sites: Vec<&str> = sites.iter().flat_map(|it| ["--site", it]).collect();
    host.run(&[&["wp-gears"], verb, &sites].concat())
}

/// All good sites run a job of each.
#[track_caller]
fn all_run_jobs(host: &Host, sites: Range<usize>) {
    host.run(&["rm", "-f", "/srv/jobs/done"]).ok();
    let send = r#"define("WP_GEARS_TIMEOUT", 5000); require "$argv[1]/wp-load.php"; exit(wp_async_task_add("test_job", ["n" => $argv[2]]) ? 0 : 9);"#;
    for n in sites.clone() {
        host.as_user("good", &["php", "-r", send, "--", &good(n), &n.to_string()])
            .ok();
    }
    let mut done = Site::first(host).wait_for(sites.len(), Duration::from_secs(60));
    done.sort_unstable();
    assert_eq!(done, sites.map(|n| n as u32).collect::<Vec<_>>());
}

const SETUP: &[&str] = &["setup", "--yes"];
const REMOVE: &[&str] = &["remove", "--yes"];
const VERBS: [(&str, &[&str]); 3] = [
    ("plan", &["plan"]),
    ("setup", SETUP),
    ("doctor", &["doctor"]),
];

/// Compares runs with the hostile site with those without it.
#[derive(Default)]
struct Judge {
    wrong: Vec<String>,
}

impl Judge {
    fn see(
        &mut self,
        (kind, verb): (&str, &str),
        out: &Out,
        usual: &Out,
        longer: Duration,
        is_wrong: bool,
    ) {
        println!(
            "{kind:40} {verb} {:.1?}, exit {}; without it {:.1?}",
            out.took, out.code, usual.took
        );
        let text = out.text();
        if out.took > usual.took + longer {
            self.wrong
                .push(format!("{kind}: {verb} takes {:.1?}", out.took));
        }
        if (is_wrong || out.code != 0) && !text.contains("hostile") {
            self.wrong
                .push(format!("{kind}: {verb} does not name it: {out}"));
        }
        let blames = |line: &&str| line.starts_with("error") && line.contains("/srv/good");
        if let Some(line) = text.lines().find(blames) {
            self.wrong
                .push(format!("{kind}: {verb} of a good site: {line}"));
        }
    }
}

/// A host with good sites and the one that will be hostile.
fn host_with(good_sites: usize) -> Host {
    let host = ready_host("one-hostile");
    host.run(&["chmod", "1777", "/srv/jobs"]).ok();
    host.shell("rm /etc/nginx/sites-enabled/site.conf").ok();
    for n in 0..good_sites {
        add(&host, "good", &good(n));
    }
    add(&host, "hostile", HOSTILE);
    host.shell("service php8.2-fpm restart; service nginx restart")
        .ok();
    host
}

/// The short form, with the site that costs the most time.
#[test]
fn a_site_that_waits_forever_holds_up_no_other() {
    let host = host_with(5);
    let kinds = hostilities();
    let waits = &kinds[0];
    let mut judge = Judge::default();

    phase("packages and what sites share");
    on(&host, SETUP, 4..5, false).exits(0);

    phase("the first setup, of two sites without it and of two with it");
    let usual = on(&host, SETUP, 0..2, false).exits(0);
    as_owner(&host, &waits.plant);
    let out = on(&host, SETUP, 2..4, true).exits(1);
    judge.see((waits.name, "first setup"), &out, &usual, LONGER, true);
    println!("{out}");
    as_owner(&host, HEAL);
    on(&host, SETUP, 0..0, true).exits(0);

    phase("afterwards");
    let usual = VERBS.map(|(_, verb)| on(&host, verb, 0..4, false).exits(0));
    as_owner(&host, &waits.plant);
    for ((verb, words), usual) in VERBS.iter().zip(&usual) {
        let out = on(&host, words, 0..4, true);
        judge.see((waits.name, verb), &out, usual, LONGER, *verb == "doctor");
    }

    phase("the removal, of one site without it and of one with it");
    let usual = on(&host, REMOVE, 0..1, false).exits(0);
    let out = on(&host, REMOVE, 1..2, true).exits(0);
    judge.see((waits.name, "remove"), &out, &usual, LONGER, false);
    println!("{out}");
    for folder in [&good(0), &good(1), HOSTILE] {
        let config = host.read(&format!("{folder}/wp-config.php")).unwrap();
        assert!(!config.contains("WP_GEARS"), "{folder}: {config}");
    }
    all_run_jobs(&host, 2..4);
    assert!(judge.wrong.is_empty(), "{}", judge.wrong.join("\n\n"));
}

#[test]
#[ignore = "takes ten minutes on a busy machine"]
fn one_site_does_not_hold_up_twenty() {
    let host = host_with(GOOD + 1);
    host.put("/srv/tarpits.py", TARPITS, 0o644).unwrap();
    let listen = "setsid python3 /srv/tarpits.py </dev/null >/dev/null 2>&1 &
        while ! test -e /srv/tarpits; do sleep 0.1; done";
    host.shell(listen).ok();
    let kinds = hostilities();
    let waits = &kinds[0];
    let mut judge = Judge::default();
    let half = GOOD / 2;

    phase("packages and what sites share");
    on(&host, SETUP, GOOD..GOOD + 1, false).exits(0);

    phase("the first setup, of ten sites without it and of ten with it");
    let usual = on(&host, SETUP, 0..half, false).exits(0);
    as_owner(&host, &waits.plant);
    let out = on(&host, SETUP, half..GOOD, true).exits(1);
    judge.see((waits.name, "first setup"), &out, &usual, LONGER, true);
    as_owner(&host, HEAL);
    all_run_jobs(&host, 0..GOOD);
    on(&host, SETUP, 0..0, true).exits(0);

    phase("without it");
    let usual = VERBS.map(|(_, verb)| on(&host, verb, 0..GOOD, false).exits(0));
    for kind in &kinds {
        phase(kind.name);
        as_owner(&host, &kind.plant);
        for ((verb, words), usual) in VERBS.iter().zip(&usual) {
            if *verb != "doctor" || kind.with_doctor {
                let out = on(&host, words, 0..GOOD, true);
                let is_wrong = kind.breaks_it && *verb == "doctor";
                judge.see((kind.name, verb), &out, usual, LONGER, is_wrong);
            }
        }
        as_owner(&host, HEAL);
        host.shell("pkill -KILL -u hostile sleep || true").ok();
    }
    all_run_jobs(&host, 0..GOOD);

    phase("the removal, of ten sites without it and of ten with it");
    let usual = on(&host, REMOVE, 0..half, false).exits(0);
    as_owner(&host, &waits.plant);
    let out = on(&host, REMOVE, half..GOOD, true).exits(0);
    judge.see((waits.name, "remove"), &out, &usual, LONGER, false);
    assert!(judge.wrong.is_empty(), "{}", judge.wrong.join("\n\n"));
}
