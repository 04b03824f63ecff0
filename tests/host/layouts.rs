//! Sites that are not one folder that one pool serves: content elsewhere, WordPress
//! below the web root, several users, and pools that see less of the host.

use std::time::Duration;

use crate::harness::debian::install;
use crate::harness::{Host, Site, site};
use crate::phase::phase;
use crate::support::{everything, none, ready_host, refused};

/// A page that submits a job as a plugin would, and says how.
const SEND: &str = r#"<?php
require __DIR__ . '/wp-load.php';
$sent = wp_async_task_add('test_job', ['n' => (int) $_GET['n']]);
echo is_string($sent) ? 'gearman' : 'elsewhere';
"#;

/// A layout, as its administrator knows it.
struct Layout<'a> {
    /// The WordPress folder.
    folder: &'a str,
    /// The user of the pool that serves it.
    user: &'a str,
    /// The address of the WordPress folder.
    url: &'a str,
    /// What setup cannot find out.
    options: &'a [&'a str],
}

impl Layout<'_> {
    fn command(&self, host: &Host, verb: &str, more: &[&str]) -> crate::harness::Out {
        let site = ["wp-gears", verb, "--site", self.folder, "--yes"];
        host.run(&[&site[..], more].concat())
    }

    /// Everything that setup promises, and remove takes away again.
    #[track_caller]
    fn holds(&self, host: &Host) {
        let page = format!("{}/send.php", self.folder);
        host.put(&page, SEND, 0o644).unwrap();
        host.run(&["chmod", "1777", "/srv/jobs"]).ok();
        // The first page makes WordPress create folders for uploads.
        host.run(&["curl", "-s", self.url]).ok();
        let before = everything(host);
        phase(format!("setup of {}", self.folder));
        let setup = self.command(host, "setup", self.options).exits(0);
        assert!(setup.stdout.contains("a page submitted a job"), "{setup}");

        phase("a page submits a job");
        let site = Site {
            host,
            folder: self.folder,
            user: self.user,
        };
        site.forget_done();
        let answer = site.get(&format!("{}/send.php?n=7", self.url));
        assert_eq!(answer, (200, "gearman".into()));
        assert_eq!(site.wait_for(1, Duration::from_secs(20)), [7]);
        let owner = host.run(&["stat", "-c", "%U", "/srv/jobs/done"]).ok();
        assert_eq!(owner.trim(), self.user, "ran the job");
        site.forget_done();

        phase("doctor and a second setup");
        let doctor = host.run(&["wp-gears", "doctor"]).exits(0);
        println!("{}", doctor.stdout);
        let made = everything(host);
        let again = self.command(host, "setup", &["-v"]).exits(0);
        assert!(again.stdout.contains("Nothing to change."), "{again}");
        assert!(!again.stderr.contains("/php"), "starts PHP: {again}");
        none(made.touches_to(&everything(host)), "touched by a second");

        phase("remove");
        self.command(host, "remove", &["--purge"]).exits(0);
        none(before.changes_to(&everything(host)), "left by remove");
        host.run(&["rm", &page]).ok();
    }
}

const SITE: Layout = Layout {
    folder: site::FOLDER,
    user: site::USER,
    url: "http://localhost",
    options: &[],
};

/// Puts lines at the top of the site's wp-config.php.
fn define(host: &Host, folder: &str, lines: &str) {
    let config = format!("{folder}/wp-config.php");
    let text = host.read(&config).unwrap();
    let text = text.replacen("<?php", &format!("<?php\n{lines}"), 1);
    host.run_with(
        &["sh", "-c", "cat >\"$1\"", "define", &config],
        text.as_bytes(),
        Duration::from_secs(20),
    )
    .ok();
}

#[test]
fn content_may_be_elsewhere() {
    let host = ready_host("moved");
    phase("a plain definition, and no wp-content");
    host.shell("cd /var/www/site; cp -p wp-config.php /root/kept; mv wp-content content")
        .ok();
    let plain = "define( 'WP_CONTENT_DIR', __DIR__ . '/content' );\n\
                 define( 'WP_CONTENT_URL', 'http://localhost/content' );\n";
    define(&host, site::FOLDER, plain);
    SITE.holds(&host);
    let kept = host.shell("ls /var/www/site/content/mu-plugins").ok();
    assert_eq!(kept, "count.php\n");

    phase("computed, outside of the root, with an empty wp-content beside it");
    host.shell(
        "cd /var/www/site; cp -p /root/kept wp-config.php
         mkdir /srv/shared; mv content /srv/shared/app; chown www-data: /srv/shared
         mv /srv/shared/app/mu-plugins /srv/shared/must
         mkdir -p wp-content/mu-plugins wp-content/plugins; chown -R www-data: wp-content",
    )
    .ok();
    let computed = "foreach ( array( 'WP_CONTENT_DIR' => 'app', 'WPMU_PLUGIN_DIR' => 'must' ) as $name => $below ) {\n\
                    \tdefine( $name, '/srv/shared/' . $below );\n}\n";
    define(&host, site::FOLDER, computed);
    let shared = host.tree(&["/srv/shared"]);
    SITE.holds(&host);
    none(
        shared.changes_to(&host.tree(&["/srv/shared"])),
        "left by remove",
    );

    phase("folders that are not the site's own");
    host.shell("useradd --system --create-home victim; mkdir -p /home/victim/c; chown victim: /home/victim/c")
        .ok();
    host.as_user(site::USER, &["ln", "-s", "/etc", "/var/www/site/link"])
        .ok();
    let computed = |dir: &str| {
        format!("foreach ( array( 'WP_CONTENT_DIR' ) as $name ) {{ define( $name, {dir} ); }}\n")
    };
    for (lines, says) in [
        (
            "define( 'WP_CONTENT_DIR', '/etc/cron.d' );\n".to_owned(),
            "belongs to root",
        ),
        (computed("'/etc/cron' . '.d'"), "belongs to root"),
        (
            "define( 'WP_CONTENT_DIR', '/home/victim/c' );\n".to_owned(),
            "belongs to victim",
        ),
        (
            "define( 'WPMU_PLUGIN_DIR', __DIR__ . '/link/cron.d' );\n".to_owned(),
            "follow the link",
        ),
        // The command line has no such variable.
        (
            computed("$_SERVER['DOCUMENT_ROOT'] . '/content'"),
            "no such folder",
        ),
    ] {
        host.shell("cp -p /root/kept /var/www/site/wp-config.php")
            .ok();
        define(&host, site::FOLDER, &lines);
        let setup = ["wp-gears", "setup", "--site", site::FOLDER, "--yes"];
        refused(&host, &setup, 1, &[says, "help: "]);
    }
}

#[test]
fn wordpress_below_the_root_runs_as_the_pool_that_serves_it() {
    let host = ready_host("below");
    host.shell(
        "cd /var/www/site; useradd --system alice; useradd --system deploy
         mkdir wp; find . -mindepth 1 -maxdepth 1 ! -name wp -exec mv {} wp/ ';'
         cp wp/index.php index.php; sed -i \"s#/wp-blog-header.php#/wp/wp-blog-header.php#\" index.php
         chown -R deploy:alice .; chmod -R g+rX .
         sed -i 's/= www-data$/= alice/' /etc/php/8.2/fpm/pool.d/site.conf
         sed -i 's/^listen\\.\\(owner\\|group\\) = alice/listen.\\1 = www-data/' /etc/php/8.2/fpm/pool.d/site.conf
         systemctl restart php8.2-fpm nginx
         cd wp; runuser -u alice -- php -r 'require \"wp-load.php\"; update_option(\"siteurl\", \"http://localhost/wp\");'",
    )
    .ok();
    let layout = Layout {
        folder: "/var/www/site/wp",
        user: "alice",
        url: "http://localhost/wp",
        options: &[],
    };
    phase("nginx");
    layout.holds(&host);

    phase("nginx, with a root beside it");
    host.shell(
        "cd /var/www/site; mkdir public; sed 's#/wp/#/../wp/#' index.php >public/index.php; rm index.php
         sed 's#root /var/www/site;#root /var/www/site/public; location = /wp/send.php { include fastcgi_params; fastcgi_param SCRIPT_FILENAME /var/www/site/wp/send.php; fastcgi_pass unix:/run/php/site.sock; }#' \
             -i.kept /etc/nginx/sites-enabled/site.conf; mv /etc/nginx/sites-enabled/site.conf.kept /root/site.conf
         systemctl restart nginx",
    )
    .ok();
    layout.holds(&host);

    phase("nginx, with a pool that only the request tells");
    host.shell(
        "cd /var/www/site; sed 's#/../wp/#/wp/#' public/index.php >index.php; rm -r public
         (echo 'map $uri $pool { default unix:/run/php/site.sock; }'
          sed 's#fastcgi_pass unix:.*;#fastcgi_pass $pool;#' /root/site.conf) >/etc/nginx/sites-enabled/site.conf
         systemctl restart nginx",
    )
    .ok();
    let guessed = layout.command(&host, "setup", &[]).exits(1);
    assert!(guessed.stderr.contains("serves them as alice"), "{guessed}");
    let told = Layout {
        options: &["--worker-user", "alice"],
        ..layout
    };
    told.command(&host, "remove", &["--purge"]).exits(0);
    told.holds(&host);

    phase("Apache");
    install(&host, &["apache2"]).unwrap();
    host.shell(
        "cat >/etc/apache2/sites-available/000-default.conf <<'END'
<VirtualHost *:80>
    DocumentRoot /var/www/site
    <Directory /var/www/site>
        Require all granted
    </Directory>
    <FilesMatch \\.php$>
        SetHandler \"proxy:unix:/run/php/site.sock|fcgi://localhost\"
    </FilesMatch>
</VirtualHost>
END
         a2enmod proxy_fcgi; systemctl disable --now nginx; systemctl restart apache2",
    )
    .ok();
    layout.holds(&host);

    phase("Caddy");
    install(&host, &["caddy"]).unwrap();
    host.shell(
        "cat >/etc/caddy/Caddyfile <<'END'
:80 {
    root * /var/www/site
    php_fastcgi unix//run/php/site.sock
    file_server
}
END
         usermod -aG www-data caddy
         systemctl disable --now apache2; systemctl restart caddy",
    )
    .ok();
    layout.holds(&host);
}

#[test]
fn each_pool_serves_with_its_own_user() {
    let host = ready_host("pools");
    site::add(&host, "/var/www/second", "bob", "bob.test").unwrap();
    let second = Layout {
        folder: "/var/www/second",
        user: "bob",
        url: "http://bob.test",
        options: &[],
    };
    host.shell("echo 127.0.0.1 bob.test >>/etc/hosts").ok();
    SITE.holds(&host);
    second.holds(&host);
}

#[test]
fn a_pool_may_see_less_of_the_host() {
    let host = ready_host("chroot");
    let pool = "/etc/php/8.2/fpm/pool.d/site.conf";
    phase("open_basedir");
    host.shell(&format!(
        "cp {pool} /root/pool
         echo 'php_admin_value[open_basedir] = /var/www/site:/tmp' >>{pool}
         systemctl restart php8.2-fpm"
    ))
    .ok();
    SITE.holds(&host);

    phase("chroot");
    // PHP needs the time zones, and reaches the database by its address.
    host.shell(&format!(
        "cp /root/pool {pool}; echo 'chroot = /var/www' >>{pool}
         mkdir -p /var/www/usr/share /var/www/tmp; chmod 1777 /var/www/tmp
         cp -r /usr/share/zoneinfo /var/www/usr/share
         sed -i 's#include fastcgi.conf;#include fastcgi.conf; fastcgi_param SCRIPT_FILENAME /site$fastcgi_script_name; fastcgi_param DOCUMENT_ROOT /site;#' /etc/nginx/sites-enabled/site.conf
         sed -i \"s/'localhost'/'127.0.0.1'/\" /var/www/site/wp-config.php
         systemctl restart php8.2-fpm nginx
         curl -sSf http://localhost/ >/dev/null"
    ))
    .ok();
    SITE.holds(&host);
}

#[test]
fn a_site_may_be_a_link_to_a_release() {
    let host = ready_host("link");
    host.shell(
        "mkdir -p /srv/releases; mv /var/www/site /srv/releases/1; ln -s /srv/releases/1 /var/www/site
         chown -h www-data: /var/www/site",
    )
    .ok();
    phase("wp-content in the release");
    let release = host.tree(&["/srv/releases"]);
    SITE.holds(&host);
    let left = release.changes_to(&host.tree(&["/srv/releases"]));
    let ours = left.iter().filter(|line| line.contains("wp-gears"));
    none(ours.cloned().collect(), "left by remove");

    phase("content beside the releases, and a new release");
    host.shell("cd /srv/releases/1; mv wp-content /srv/content")
        .ok();
    define(
        &host,
        site::FOLDER,
        "define( 'WP_CONTENT_DIR', dirname( __DIR__, 2 ) . '/content' );\n",
    );
    SITE.holds(&host);
    SITE.command(&host, "setup", &[]).exits(0);
    host.shell(
        "cp -a /srv/releases/1 /srv/releases/2; ln -sfn /srv/releases/2 /var/www/site
         chown -h www-data: /var/www/site",
    )
    .ok();
    let again = SITE.command(&host, "setup", &[]).exits(0);
    assert!(again.stdout.contains("Nothing to change."), "{again}");
    host.run(&["wp-gears", "doctor"]).exits(0);
}

/// What Composer would bring to Bedrock, as far as its application.php needs it.
const AUTOLOAD: &str = r#"<?php
namespace Roots\WPConfig;
class Config {
    private static $map = array();
    public static function define( $name, $value ) {
        if ( defined( $name ) ) {
            throw new \Exception( "$name is defined elsewhere" );
        }
        self::$map[ $name ] = $value;
    }
    public static function apply() {
        foreach ( self::$map as $name => $value ) {
            defined( $name ) || define( $name, $value );
        }
    }
}
"#;

#[test]
fn bedrock_keeps_its_wp_config() {
    let host = ready_host("bedrock");
    host.shell(
        "cd /var/www/site; mkdir -p web/wp web/app vendor config/environments
         find . -mindepth 1 -maxdepth 1 ! -name web ! -name vendor ! -name config -exec mv {} web/wp/ ';'
         mv web/wp/wp-content/* web/app/; rm -rf web/wp/wp-content
         sed 's#/wp-blog-header.php#/wp/wp-blog-header.php#' web/wp/index.php >web/index.php
         { echo '<?php'; echo 'use Roots\\WPConfig\\Config;'; echo '$webroot_dir = dirname( __DIR__ ) . \"/web\";'
           echo 'define( \"WP_ENV\", getenv( \"WP_ENV\" ) ?: \"production\" );'
           grep -i '^ *define.*DB_\\|table_prefix' web/wp/wp-config.php | sed 's/^ *define/Config::define/'
           echo 'Config::define( \"WP_CONTENT_DIR\", $webroot_dir . \"/app\" );'
           echo 'Config::define( \"WP_CONTENT_URL\", \"http://localhost/app\" );'
           echo '$env_config = __DIR__ . \"/environments/\" . WP_ENV . \".php\";'
           echo 'if ( file_exists( $env_config ) ) { require_once $env_config; }'
           echo 'Config::apply();'
           echo 'if ( ! defined( \"ABSPATH\" ) ) { define( \"ABSPATH\", $webroot_dir . \"/wp/\" ); }'
         } >config/application.php
         cat config/application.php >&2
         rm web/wp/wp-config.php
         printf '%s\\n' '<?php' \"require_once dirname( __DIR__ ) . '/vendor/autoload.php';\" \"require_once dirname( __DIR__ ) . '/config/application.php';\" \"require_once ABSPATH . 'wp-settings.php';\" >web/wp-config.php
         sed -i 's#root /var/www/site;#root /var/www/site/web;#' /etc/nginx/sites-enabled/site.conf
         systemctl restart nginx",
    )
    .ok();
    host.put("/var/www/site/vendor/autoload.php", AUTOLOAD, 0o644)
        .unwrap();
    host.shell(
        "chown -R www-data: /var/www/site; cd /var/www/site/web/wp
         runuser -u www-data -- php -r 'require \"wp-load.php\"; update_option(\"siteurl\", \"http://localhost/wp\");'",
    )
    .ok();
    let layout = Layout {
        folder: "/var/www/site/web/wp",
        user: site::USER,
        url: "http://localhost/wp",
        options: &[],
    };
    layout.holds(&host);
}

#[test]
fn debians_package_has_its_settings_in_etc() {
    let host = ready_host("debian-package");
    install(&host, &["wordpress"]).unwrap();
    host.shell(
        "{ echo '<?php'; grep -i '^ *define.*DB_\\|table_prefix' /var/www/site/wp-config.php; } \\
             >/etc/wordpress/config-localhost.php
         chown root:www-data /etc/wordpress/config-localhost.php
         chmod 0640 /etc/wordpress/config-localhost.php
         cp -a /var/www/site/wp-content/mu-plugins /var/lib/wordpress/wp-content/
         chown -R www-data: /var/lib/wordpress/wp-content
         sed -i 's#root /var/www/site;#root /usr/share/wordpress;#' /etc/nginx/sites-enabled/site.conf
         ls -la /usr/share/wordpress /var/lib/wordpress/wp-content; systemctl restart nginx",
    )
    .ok();
    let layout = Layout {
        folder: "/usr/share/wordpress",
        user: site::USER,
        url: "http://localhost",
        options: &[],
    };
    layout.holds(&host);
}
