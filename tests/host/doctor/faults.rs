//! The faults to plant on a healthy host, each with the check that must detect it and
//! its repair.

pub struct Fault {
    pub name: &'static str,
    /// A script, run by root.
    pub plant: &'static str,
    pub check: &'static str,
    /// What the check must report.
    pub status: &'static str,
    pub repair: Repair,
}

pub enum Repair {
    /// `doctor --fix`.
    Fix,
    /// This script. Doctor cannot repair it, and must not claim that it can.
    Hand(&'static str),
    /// `doctor --fix`, followed by this script, which cleans up after the fault.
    FixThen(&'static str),
}
use Repair::{Fix, FixThen, Hand};

const fn fault(
    name: &'static str,
    plant: &'static str,
    check: &'static str,
    repair: Repair,
) -> Fault {
    Fault {
        name,
        plant,
        check,
        status: "failed",
        repair,
    }
}

/// A fault that does not prevent jobs from running.
const fn warning(
    name: &'static str,
    plant: &'static str,
    check: &'static str,
    repair: Repair,
) -> Fault {
    Fault {
        status: "warning",
        ..fault(name, plant, check, repair)
    }
}

/// Run before the first fault, to save what `BACK` restores.
pub const KEEP: &str = "cp -p /var/www/site/wp-config.php /root/wp-config.php";
const BACK: &str = "cp -p /root/wp-config.php /var/www/site/wp-config.php";

/// On a Debian host.
pub const FAULTS: &[Fault] = &[
    warning(
        "the plugin that seals jobs is gone",
        "rm /var/www/site/wp-content/mu-plugins/wp-gears-seal.php",
        "seal",
        Fix,
    ),
    fault(
        "the intent file is no TOML",
        "cp -p /etc/wp-gears.toml /root; echo 'role = [\"server\"' >>/etc/wp-gears.toml",
        "intent",
        Hand("mv /root/wp-gears.toml /etc/wp-gears.toml"),
    ),
    warning(
        "workers of a site that the intent file does not name",
        "cp -p /etc/wp-gears.toml /root; sed -i '/^\\[\\[site/,$d' /etc/wp-gears.toml",
        "intent",
        Hand("mv /root/wp-gears.toml /etc/wp-gears.toml"),
    ),
    fault("gearmand is stopped", "systemctl stop gearman-job-server", "job-server", Fix),
    fault("gearmand is off at boot", "systemctl disable --quiet gearman-job-server", "job-server", Fix),
    fault(
        "gearmand is masked",
        "systemctl stop gearman-job-server; systemctl mask --quiet --runtime gearman-job-server",
        "job-server",
        Hand("systemctl unmask --quiet --runtime gearman-job-server; systemctl start gearman-job-server"),
    ),
    fault("gearmand hangs", "pkill -STOP gearmand", "job-server", Hand("pkill -CONT gearmand")),
    fault(
        "PARAMS without --daemon",
        "sed -i 's/--daemon//' /etc/default/gearman-job-server",
        "job-server-options",
        Fix,
    ),
    fault(
        "an option given twice",
        "sed -i 's/--listen=127.0.0.1/--listen=127.0.0.1 --listen=127.0.0.1/' /etc/default/gearman-job-server",
        "job-server-options",
        Fix,
    ),
    fault(
        "open to every network",
        "sed -i 's/--listen=127.0.0.1/--listen=0.0.0.0/' /etc/default/gearman-job-server
         systemctl restart gearman-job-server",
        "port",
        Hand("wp-gears setup --site /var/www/site --listen 127.0.0.1 --yes"),
    ),
    fault(
        "another program on the port",
        "systemctl stop gearman-job-server
         setsid python3 -c 'import socket, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((\"127.0.0.1\", 4730)); s.listen(); time.sleep(600)' >/dev/null 2>&1 </dev/null & echo $! >/root/pid; sleep 1",
        "port",
        Hand("kill $(cat /root/pid); sleep 0.5; systemctl start gearman-job-server"),
    ),
    fault(
        "few files",
        "printf '[Service]\\nLimitNOFILE=1024\\n' >/etc/systemd/system/gearman-job-server.service.d/zz.conf
         systemctl daemon-reload; systemctl restart gearman-job-server",
        "files-limit",
        Hand(
            "rm /etc/systemd/system/gearman-job-server.service.d/zz.conf
             systemctl daemon-reload; systemctl restart gearman-job-server",
        ),
    ),
    fault(
        "the queue's folder is root's",
        "chown root:root /var/lib/gearman",
        "queue-store",
        Fix,
    ),
    fault(
        "the queue's folder cannot be written",
        "chmod 0555 /var/lib/gearman",
        "queue-store",
        Fix,
    ),
    fault(
        "everybody can read the queue",
        "chmod 755 /var/lib/gearman; chmod 644 /var/lib/gearman/queue.sqlite",
        "private-files",
        Fix,
    ),
    fault(
        "a user holds the queue open",
        "install -m 644 /dev/null /root/pid; f=/var/lib/gearman/queue.sqlite
         chmod 755 /var/lib/gearman; chmod 644 $f
         setpriv --reuid 65534 --clear-groups sleep 600 <$f >/dev/null 2>&1 & echo $! >/root/pid
         until grep -q sleep /proc/$(cat /root/pid)/cmdline; do sleep 0.1; done
         chmod 640 $f; chmod 750 /var/lib/gearman",
        "private-files",
        Hand("kill $(cat /root/pid)"),
    ),
    fault(
        "everybody can read a log of workers",
        "chmod 644 /var/log/wp-gears/site.log",
        "worker-folders",
        Fix,
    ),
    warning(
        "gearmand runs without its sandbox",
        "cd /etc/systemd/system/gearman-job-server.service.d; mv 00-wp-gears-sandbox.conf /root
         systemctl daemon-reload; systemctl restart gearman-job-server
         mv /root/00-wp-gears-sandbox.conf .; systemctl daemon-reload",
        "job-server-options",
        Fix,
    ),
    fault(
        "the queue's file is damaged",
        "dd if=/dev/urandom of=/var/lib/gearman/queue.sqlite bs=100 count=1 conv=notrunc status=none",
        "queue-store",
        Hand(
            "systemctl stop gearman-job-server; rm /var/lib/gearman/queue.sqlite
             systemctl start gearman-job-server",
        ),
    ),
    fault(
        "the queue's file is gone",
        "rm /var/lib/gearman/queue.sqlite",
        "queue-store",
        Fix,
    ),
    fault(
        "a job without a worker",
        "php -r '$c = new GearmanClient(); $c->addServer( \"127.0.0.1\" ); $c->doBackground( \"other\", \"x\" );'",
        "queue",
        Hand(
            "php -r '$w = new GearmanWorker(); $w->addServer( \"127.0.0.1\" );
                $w->addFunction( \"other\", function () {} ); $w->work();'",
        ),
    ),
    fault(
        "pages without the extension",
        "phpdismod -s fpm gearman",
        "php-extension",
        Fix,
    ),
    fault(
        "the extension is switched off everywhere",
        "phpdismod gearman; systemctl restart 'php*-fpm.service'",
        "php-extension",
        Fix,
    ),
    fault(
        "php-fpm that started without the extension",
        "phpdismod -s fpm gearman; systemctl restart 'php*-fpm.service'; phpenmod -s fpm gearman",
        "php-extension",
        Fix,
    ),
    fault(
        "a function that WordPress needs is disabled on the command line",
        "echo 'disable_functions = exec, opendir' >/etc/php/8.2/cli/conf.d/99-hardening.ini",
        "php-settings",
        Hand("rm /etc/php/8.2/cli/conf.d/99-hardening.ini"),
    ),
    fault("supervisord is stopped", "systemctl stop supervisor", "supervisor", Fix),
    fault("supervisord's socket is gone", "rm /run/supervisor.sock", "supervisor", Hand("systemctl restart supervisor; sleep 2")),
    fault(
        "workers that supervisord did not start",
        // Process 1 is its parent before it begins.
        "((sleep 0.3; exec setsid setpriv --reuid=www-data --regid=www-data --init-groups \
            /usr/local/lib/wp-gears/wp-gears worker --site /var/www/site --name site \
            --settings /var/lib/wp-gears/run/site.settings.toml </dev/null >/dev/null 2>&1) &)
            until pgrep -P 1 -x wp-gears; do sleep 0.1; done; sleep 0.5",
        "orphans",
        Hand("while pkill -TERM -P 1 -x wp-gears; do sleep 0.2; done; sleep 1"),
    ),
    fault(
        "another's broken program file",
        "printf '[program:other]\\nuser=root\\n' >/etc/supervisor/conf.d/other.conf",
        "program-files",
        Hand("rm /etc/supervisor/conf.d/other.conf"),
    ),
    fault(
        "our program is gone",
        "rm /etc/supervisor/conf.d/wp-gears-site.conf; supervisorctl update",
        "program-files",
        Fix,
    ),
    fault(
        "our program's command is not there",
        "sed -i 's#^command=/usr/local/lib#command=/nowhere#' /etc/supervisor/conf.d/wp-gears-site.conf
         supervisorctl update; sleep 1",
        "programs",
        Fix,
    ),
    fault("our program is stopped", "supervisorctl stop 'wp-gears-site:*'", "programs", Fix),
    fault(
        "workers run a program that was replaced",
        "cp /bin/true /root/true; mv /root/true /usr/local/lib/wp-gears/wp-gears",
        "worker-code",
        Fix,
    ),
    fault("the opcode cache is root's", "chown root:root /var/lib/wp-gears/cache/site", "worker-folders", Fix),
    fault("the runner is missing", "rm /var/www/site/wp-gears-runner.php", "runner", Fix),
    fault(
        "the plugin was renamed away",
        "cd /var/www/site/wp-content/mu-plugins; mv wp-gears-bundled.php off",
        "plugin",
        FixThen("rm /var/www/site/wp-content/mu-plugins/off"),
    ),
    fault(
        "the switch is off",
        "sed -i \"s/'WP_GEARS', true/'WP_GEARS', false/\" /var/www/site/wp-config.php",
        "settings",
        Fix,
    ),
    fault(
        "the switch is set too late",
        "sed -i \"/'WP_GEARS', true/d\" /var/www/site/wp-config.php
         echo \"if ( ! defined( 'WP_GEARS' ) ) define( 'WP_GEARS', true );\" >>/var/www/site/wp-config.php",
        "settings",
        Hand(BACK),
    ),
    fault(
        "the database's password is wrong",
        "sed -i 's/pw-site/pw-other/' /var/www/site/wp-config.php",
        "database",
        Hand(BACK),
    ),
    fault(
        "no room for logs",
        "mount -t tmpfs -o size=64k tmpfs /var/log/wp-gears
         dd if=/dev/zero of=/var/log/wp-gears/full bs=64k count=1 status=none",
        "disk",
        Hand("umount /var/log/wp-gears"),
    ),
    warning(
        "a unit file of ours is gone",
        "rm /etc/systemd/system/gearman-job-server.service.d/wp-gears.conf; systemctl daemon-reload",
        "drift",
        Fix,
    ),
    warning(
        "a job that cannot be read was kept",
        "php -r '$c = new GearmanClient(); $c->addServer( \"127.0.0.1\" );
            $known = json_decode( file_get_contents( \"/var/lib/wp-gears/run/site/function\" ) );
            $c->doBackground( $known->function, \"garbage\" );'
         sleep 2; wp-gears failed",
        "failed-jobs",
        Hand("wp-gears failed forget --all"),
    ),
    fault(
        "a plugin holds up every job",
        "echo '<?php add_action( \"wp_gears_probe\", function () { sleep( 33 ); }, 1 );' \
            >/var/www/site/wp-content/mu-plugins/slow.php
         wp-gears reload --wait",
        "job",
        Hand("rm /var/www/site/wp-content/mu-plugins/slow.php; wp-gears reload --wait"),
    ),
    fault(
        "a network whose address a plugin takes away",
        NETWORK,
        "multisite",
        Hand(
            "cp -p /root/wp-config.php /var/www/site/wp-config.php
             rm /var/www/site/wp-content/mu-plugins/address.php",
        ),
    ),
    fault(
        "the job server was uninstalled",
        "apt-get remove -qq -y gearman-job-server >/dev/null",
        "packages",
        Fix,
    ),
    fault(
        "workers that die right after their start",
        "for time in 1 2 3 4 5 6 7 8; do until pkill -KILL -f '[w]p-gears worker.* --one'; do sleep 0.1; done; sleep 0.2; done",
        "respawn",
        Hand("supervisorctl restart 'wp-gears-site:*'; sleep 1"),
    ),
    fault(
        "wp-config.php is no PHP any more",
        "echo 'if ( (' >>/var/www/site/wp-config.php",
        "sites",
        Hand(BACK),
    ),
    fault(
        "a plugin that WordPress cannot load",
        "echo '<?php no_such_function();' >/var/www/site/wp-content/mu-plugins/broken.php",
        "wordpress",
        Hand("rm /var/www/site/wp-content/mu-plugins/broken.php"),
    ),
    fault(
        "workers that cannot boot WordPress",
        "rm -f /srv/jobs/done; wp-gears pause --wait
         runuser -u www-data -- php -r 'require \"/var/www/site/wp-load.php\";
            for ( $n = 0; $n < 4; $n++ ) wp_async_task_add( \"test_job\", [ \"n\" => 0 ] );'
         echo '<?php no_such_function();' >/var/www/site/wp-content/mu-plugins/broken.php
         wp-gears resume; sleep 3",
        "workers",
        Hand(
            "rm /var/www/site/wp-content/mu-plugins/broken.php
             until [ \"$(grep -c 0 /srv/jobs/done)\" = 4 ]; do sleep 0.5; done",
        ),
    ),
    fault(
        "a worker runs as root",
        "cd /root; echo 'sleep 600; true' >worker; cp /bin/sh wp-gears
         setsid bash -c 'exec -a wp-gears ./wp-gears worker --site /var/www/site' >/dev/null 2>&1 </dev/null & echo $! >/root/pid
         sleep 0.5",
        "worker-user",
        Hand("pkill -f '^[w]p-gears worker'; rm /root/worker /root/wp-gears"),
    ),
    fault(
        "the clock is behind the host's files",
        "touch -d '+3 days' /etc/passwd",
        "clock",
        Hand("touch /etc/passwd"),
    ),
];

/// The site becomes a network, and a plugin takes its address away on the command line.
const NETWORK: &str = r#"cd /var/www/site; runuser -u www-data -- php -r '
    define( "WP_INSTALLING", true ); require "wp-load.php"; require ABSPATH . "wp-admin/includes/upgrade.php";
    foreach ( $wpdb->tables( "ms_global" ) as $name => $table ) { $wpdb->$name = $table; }
    install_network(); populate_network( 1, "localhost", "a@localhost.test", "test", "/", false );'
    sed -i "1a define( 'MULTISITE', true ); define( 'SUBDOMAIN_INSTALL', false ); \
        define( 'DOMAIN_CURRENT_SITE', 'localhost' ); define( 'PATH_CURRENT_SITE', '/' ); \
        define( 'SITE_ID_CURRENT_SITE', 1 ); define( 'BLOG_ID_CURRENT_SITE', 1 );" wp-config.php
    echo '<?php add_filter( "option_home", function () { return "cli" === PHP_SAPI ? "http://" : "http://localhost"; } );' \
        >wp-content/mu-plugins/address.php"#;

/// On a host of the RHEL family, with a stand-in for SELinux.
pub const EL_FAULTS: &[Fault] = &[fault(
    "SELinux keeps the web server from the network",
    "setsebool -P httpd_can_network_connect off",
    "selinux",
    Fix,
)];

/// On a host with two sites: the second one gets the salt of the first.
pub const SHARED_SALT: Fault = fault(
    "two sites share a salt",
    r#"salt=$(sed -n "s/.*WP_ASYNC_TASK_SALT', '\([^']*\)'.*/\1/p" /var/www/site/wp-config.php)
    test -n "$salt"
    sed -i "s/'WP_ASYNC_TASK_SALT', '[^']*'/'WP_ASYNC_TASK_SALT', '$salt'/" /var/www/second/wp-config.php"#,
    "salt",
    Hand(""),
);

/// Checks without a planted fault, each with the reason.
pub const EXEMPT: &[(&str, &str)] = &[
    ("platform", "it reports what was found, and cannot fail"),
    (
        "isolation",
        "tests/host/isolation.rs plants its faults on a host of two owners",
    ),
    ("fleet", "tests/host/fleet.rs has hosts that disagree"),
];
