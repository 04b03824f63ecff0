//! The table of platforms: one row for each family of distributions.

use crate::host::packages::apt::Apt;
use crate::host::packages::dnf::Dnf;
use crate::host::platform::{Collection, Family, Gearmand, Source, Web, WebServer};
use crate::host::services::sysv::Sysv;
use crate::host::supervisor::Supervisord;

pub static FAMILIES: [Family; 3] = [DEBIAN, AMAZON, RHEL];

const DEBIAN: Family = Family {
    ids: &["debian", "ubuntu"],
    packages: &Apt,
    sysv: Sysv {
        packaged: true,
        daemonizes: false,
        add: "update-rc.d {unit} defaults",
        remove: "update-rc.d -f {unit} remove",
        enable: "update-rc.d {unit} enable",
        disable: "update-rc.d {unit} disable",
    },
    gearmand: Gearmand {
        package: "gearman-job-server",
        unit: "gearman-job-server",
        program: "/usr/sbin/gearmand",
        options_file: "/etc/default/gearman-job-server",
        options_variable: "PARAMS",
        user: "gearman",
        queue_dir: "/var/lib/gearman",
        stock_listen: "localhost",
        stock_start: "$PARAMS",
        pid_file: "/run/gearman/gearmand.pid",
    },
    supervisor: Supervisord {
        package: Some("supervisor"),
        unit: "supervisor",
        program: "supervisord",
        config: "/etc/supervisor/supervisord.conf",
        programs: "/etc/supervisor/conf.d",
        ending: "conf",
        socket: "/var/run/supervisor.sock",
        control: "supervisorctl",
        lacks_restart: false,
    },
    python: &["python3-venv"],
    mysql_client: "default-mysql-client",
    web: Web {
        user: "www-data",
        pools: &[("/etc/php/*/fpm/pool.d", "/usr/bin/php*")],
        nginx: NGINX,
        apache: WebServer {
            config: "/etc/apache2/apache2.conf",
            sites: &["/etc/apache2/sites-enabled"],
        },
        apache_program: "apache2",
    },
    extension: &["php{v}-gearman", "php-gearman"],
    php_ini: "/etc/php/{v}/*/conf.d",
    extension_command: Some("phpenmod gearman"),
    php_cli: None,
    php_headers: "php{v}-dev",
    gearman_headers: "libgearman-dev",
    php_process: None,
    collections: &[],
    renews_php: true,
    sources: &[],
    components: &[("ubuntu", "universe")],
    selinux_boolean: "httpd_can_network_connect",
};

const RHEL: Family = Family {
    ids: &["rhel", "fedora", "centos", "rocky", "almalinux", "ol"],
    packages: &Dnf,
    sysv: Sysv {
        packaged: false,
        daemonizes: true,
        add: "chkconfig --add {unit}",
        remove: "chkconfig --del {unit}",
        enable: "chkconfig {unit} on",
        disable: "chkconfig {unit} off",
    },
    gearmand: Gearmand {
        package: "gearmand",
        unit: "gearmand",
        program: "/usr/sbin/gearmand",
        options_file: "/etc/sysconfig/gearmand",
        options_variable: "OPTIONS",
        user: "gearmand",
        queue_dir: "/var/lib/gearmand",
        stock_listen: "",
        stock_start: "-d --log-file none --syslog $OPTIONS",
        pid_file: "",
    },
    supervisor: Supervisord {
        package: Some("supervisor"),
        unit: "supervisord",
        program: "supervisord",
        config: "/etc/supervisord.conf",
        programs: "/etc/supervisord.d",
        ending: "ini",
        socket: "/var/run/supervisor/supervisor.sock",
        control: "supervisorctl",
        lacks_restart: true,
    },
    python: &["python3", "python36"],
    mysql_client: "mariadb",
    web: Web {
        user: "apache",
        pools: &[
            ("/etc/php-fpm.d", "/usr/bin/php"),
            ("/etc/opt/remi/*/php-fpm.d", "/opt/remi/*/root/usr/bin/php"),
        ],
        nginx: NGINX,
        apache: WebServer {
            config: "/etc/httpd/conf/httpd.conf",
            sites: &["/etc/httpd/conf.d", "/etc/httpd/sites-enabled"],
        },
        apache_program: "httpd",
    },
    extension: &["php-pecl-gearman"],
    php_ini: "/etc/php.d",
    extension_command: None,
    php_cli: None,
    php_headers: "php-devel",
    gearman_headers: "libgearman-devel",
    php_process: Some("php-process"),
    collections: &[Collection {
        home: "/opt/remi/php{n}/",
        extension: "php{n}-php-pecl-gearman",
        process: "php{n}-php-process",
        headers: "php{n}-php-devel",
        php_ini: "/etc/opt/remi/php{n}/php.d",
    }],
    renews_php: false,
    sources: &SOURCES,
    components: &[],
    selinux_boolean: "httpd_can_network_connect",
};

/// Like the rest of its family, except that package names include PHP's version.
const AMAZON: Family = Family {
    ids: &["amzn"],
    extension: &["php{v}-pecl-gearman", "php-pecl-gearman"],
    php_cli: Some("php{v}-cli"),
    php_headers: "php{v}-devel",
    php_process: Some("php{v}-process"),
    ..RHEL
};

const NGINX: WebServer = WebServer {
    config: "/etc/nginx/nginx.conf",
    sites: &["/etc/nginx/sites-enabled", "/etc/nginx/conf.d"],
};

static SOURCES: [Source; 5] = [
    Source {
        ids: &["fedora"],
        name: "Fedora",
        package: "",
        key: "",
        keys: &[],
        builder: "",
        without_server: &[],
    },
    Source {
        ids: &["amzn"],
        name: "SPAL",
        package: "spal-release",
        key: "",
        keys: &[],
        builder: "",
        without_server: &[],
    },
    Source {
        ids: &["ol"],
        name: "EPEL",
        package: "oracle-epel-release-el{v}",
        key: "",
        keys: &[],
        builder: "",
        without_server: &["10"],
    },
    Source {
        ids: &["rhel"],
        name: "EPEL",
        package: "https://dl.fedoraproject.org/pub/epel/epel-release-latest-{v}.noarch.rpm",
        key: "https://dl.fedoraproject.org/pub/epel/RPM-GPG-KEY-EPEL-{v}",
        keys: &[
            (
                "8",
                "cd1db21a863185127f2e3b264c97fb1c6c44c316385707999041ea475c110d1c",
            ),
            (
                "9",
                "fcf0eab4f05a1c0de6363ac4b707600a27a9d774e9b491059e59e6921b255a84",
            ),
            (
                "10",
                "de390fc168eae5ab2852e9e93d34a0b9ddf05cf9ce90ee28d97de26a4b1f6b93",
            ),
        ],
        builder: "codeready-builder-for-rhel-{v}-",
        without_server: &["10"],
    },
    Source {
        ids: &[],
        name: "EPEL",
        package: "epel-release",
        key: "",
        keys: &[],
        builder: "",
        without_server: &["10"],
    },
];
