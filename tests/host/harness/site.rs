//! WordPress on a host: how it is installed, and what tests do with it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::debian::install as packages;
use super::{Host, Out, Shape};

/// What decides how a site's layer comes out.
pub const MADE_OF: &str = concat!(
    include_str!("site.rs"),
    include_str!("site.php"),
    include_str!("count.php")
);

pub const FOLDER: &str = "/var/www/site";
pub const USER: &str = DEBIAN.user;

/// Where a family of distributions has what a site is made of.
struct Places {
    user: &'static str,
    /// Pools of PHP-FPM, as a pattern.
    pools: &'static str,
    sockets: &'static str,
    /// Who may connect to a pool's socket.
    listen: &'static str,
    nginx: &'static str,
}

const DEBIAN: Places = Places {
    user: "www-data",
    pools: "/etc/php/*/fpm/pool.d",
    sockets: "/run/php",
    listen: "listen.owner = www-data\nlisten.group = www-data",
    nginx: "/etc/nginx/sites-enabled",
};

const RHEL: Places = Places {
    user: "apache",
    pools: "/etc/php-fpm.d",
    sockets: "/run/php-fpm",
    listen: "listen.acl_users = apache,nginx",
    nginx: "/etc/nginx/conf.d",
};

impl Places {
    fn of(host: &Host) -> Places {
        if host.exists("/etc/redhat-release") {
            RHEL
        } else {
            DEBIAN
        }
    }
}

/// Puts the first site on a host without any.
pub fn install(host: &Host) -> Result<()> {
    let stack = [
        "mariadb-server",
        "nginx",
        "php-fpm",
        "php-mysql",
        "php-xml",
        "curl",
        "procps",
    ];
    let more = ["iproute2", "wordpress", "wordpress-theme-twentytwentythree"];
    packages(host, &[&stack[..], &more].concat())?;
    // The package spreads a site over /etc, /usr and /var; people's sites stand
    // in one folder, as wordpress.org's archive lays it out.
    host.shell(
        "cp -rL /usr/share/wordpress /srv/wordpress
         rm -f /srv/wordpress/wp-config.php
         apt-mark manual php-mysql php-gd default-mysql-client
         apt-get purge -y --auto-remove wordpress wordpress-theme-twentytwentythree
         rm -rf /var/lib/wordpress /etc/nginx/sites-enabled/default
         apt-get clean
         install -d -o www-data -g www-data /srv/jobs",
    )
    .check()?;
    start(host)?;
    add_first(host)
}

/// The first site, of the web user.
pub fn add_first(host: &Host) -> Result<()> {
    add(host, FOLDER, Places::of(host).user, "localhost")?;
    let page = host.run(&["curl", "-sSf", "http://localhost/"]);
    page.check().with_context(|| {
        let log = host.shell("tail -n 5 /var/log/nginx/*.log /var/log/php*.log");
        format!("the site's first page, {log}")
    })?;
    if host.shape != Shape::Booted {
        services(host, "stop")?; // it ends at once, and the database shall not
    }
    Ok(())
}

/// What a site needs, in a container where no init starts it.
pub fn start(host: &Host) -> Result<()> {
    if host.shape == Shape::Booted {
        Ok(())
    } else {
        services(host, "start")
    }
}

fn services(host: &Host, verb: &str) -> Result<()> {
    let script = r#"for script in /etc/init.d/mariadb /etc/init.d/php*-fpm /etc/init.d/nginx; do
        service "$(basename "$script")" "$1"; done"#;
    host.run(&["sh", "-ec", script, "services", verb])
        .check()
        .map(drop)
}

/// Adds a site in `folder`, of `user`, answering to `domain`.
pub fn add(host: &Host, folder: &str, user: &str, domain: &str) -> Result<()> {
    let database = folder
        .rsplit('/')
        .next()
        .unwrap_or(folder)
        .replace('-', "_");
    let places = Places::of(host);
    let pools = host.shell(&format!("ls -d {}", places.pools)).check()?;
    let (pools, listen) = (pools.trim(), places.listen);
    let socket = format!("{}/{database}.sock", places.sockets);
    host.put(
        &format!("{pools}/{database}.conf"),
        format!(
            "[{database}]\nuser = {user}\ngroup = {user}\nlisten = {socket}\n\
             {listen}\npm = ondemand\npm.max_children = 4\n"
        ),
        0o644,
    )?;
    host.put(
        &format!("{}/{database}.conf", places.nginx),
        format!(
            "server {{\n  listen 80;\n  server_name {domain};\n  root {folder};\n  \
             index index.php;\n  location / {{ try_files $uri $uri/ /index.php?$args; }}\n  \
             location ~ \\.php$ {{\n    include fastcgi.conf;\n    \
             fastcgi_pass unix:{socket};\n  }}\n}}\n"
        ),
        0o644,
    )?;
    let sql = format!(
        "CREATE DATABASE {database}; CREATE USER {database}@localhost IDENTIFIED BY 'pw-{database}';\
         GRANT ALL ON {database}.* TO {database}@localhost;"
    );
    host.run_with(&["mysql"], sql.as_bytes(), Duration::from_secs(60))
        .check()?;
    host.put("/tmp/site.php", include_str!("site.php"), 0o644)?;
    host.put("/tmp/count.php", include_str!("count.php"), 0o644)?;
    let script = r#"
        folder=$1 user=$2 domain=$3 database=$4
        id "$user" >/dev/null 2>&1 || useradd --system --create-home "$user"
        mkdir -p "$folder"
        cp -r /srv/wordpress/. "$folder"
        mkdir -p "$folder/wp-content/mu-plugins" "$folder/wp-content/plugins"
        cp /tmp/count.php "$folder/wp-content/mu-plugins/count.php"
        sed -e "s/database_name_here/$database/" -e "s/username_here/$database/" \
            -e "s/password_here/pw-$database/" "$folder/wp-config-sample.php" >"$folder/wp-config.php"
        chown -R "$user:$user" "$folder"
        chmod 640 "$folder/wp-config.php"
        fpm=$(cd /etc/init.d && ls -d php*-fpm || echo php-fpm)
        service "$fpm" restart
        service nginx restart
        cd "$folder"
        runuser -u "$user" -- php /tmp/site.php "$domain"
        rm /tmp/site.php /tmp/count.php"#;
    host.run(&["sh", "-ec", script, "add", folder, user, domain, &database])
        .check()?;
    Ok(())
}

/// A site that tests send jobs to.
pub struct Site<'a> {
    pub host: &'a Host,
    pub folder: &'a str,
    pub user: &'a str,
}

impl<'a> Site<'a> {
    pub fn first(host: &'a Host) -> Site<'a> {
        Site {
            host,
            folder: FOLDER,
            user: Places::of(host).user,
        }
    }

    /// Sends jobs number `from` to `to`, each of which sleeps for `seconds`.
    pub fn send(&self, from: u32, to: u32, seconds: f32) -> Out {
        // A burst on a busy machine is not a page that must not wait.
        let code = r#"define("WP_GEARS_TIMEOUT", 5000); require "$argv[1]/wp-load.php";
            for ($n = $argv[2]; $n <= $argv[3]; $n++) {
                if (!wp_async_task_add("test_job", ["n" => $n, "sleep" => $argv[4]])) exit(9);
            }"#;
        let (from, to, seconds) = (from.to_string(), to.to_string(), seconds.to_string());
        let words = ["php", "-r", code, "--", self.folder, &from, &to, &seconds];
        self.host.as_user(self.user, &words)
    }

    /// The numbers of the jobs that ran, in that order.
    pub fn done(&self) -> Vec<u32> {
        self.column(0)
    }

    /// The processes that ran them.
    pub fn done_by(&self) -> Vec<u32> {
        self.column(1)
    }

    fn column(&self, index: usize) -> Vec<u32> {
        let lines = self.host.read("/srv/jobs/done").unwrap_or_default();
        let number = |line: &str| line.split(' ').nth(index)?.parse().ok();
        lines.lines().filter_map(number).collect()
    }

    /// Waits until `count` jobs ran, or the time is up; then what ran.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Vec<u32> {
        let began = Instant::now();
        loop {
            let done = self.done();
            if done.len() >= count || began.elapsed() > limit {
                return done;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn forget_done(&self) {
        self.host.run(&["rm", "-f", "/srv/jobs/done"]);
    }

    /// Status and body of a page over HTTP.
    pub fn get(&self, url: &str) -> (u32, String) {
        let out = self
            .host
            .run(&["curl", "-s", "-m", "20", "-w", "\n%{http_code}", url]);
        let (body, code) = out.stdout.rsplit_once('\n').unwrap_or(("", "0"));
        (code.parse().unwrap_or(0), body.to_owned())
    }
}
