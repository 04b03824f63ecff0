//! Where a supervisord is installed: the distribution's package of it differs
//! from family to family, our own in a virtual environment does not.

/// One installation of supervisord.
#[derive(Debug, PartialEq, Eq)]
pub struct Supervisord {
    /// `None` for our own in a virtual environment.
    pub package: Option<&'static str>,
    pub unit: &'static str,
    pub program: &'static str,
    pub config: &'static str,
    /// The folder of program files.
    pub programs: &'static str,
    /// The extension of program files, without the dot.
    pub ending: &'static str,
    pub socket: &'static str,
    /// The command that controls it, as typed in a shell.
    pub control: &'static str,
    /// Its unit does not restart it after a crash.
    pub lacks_restart: bool,
}

/// Our own, installed by pip.
pub static PIP: Supervisord = Supervisord {
    package: None,
    unit: "wp-gears-supervisor",
    program: "/opt/wp-gears/bin/supervisord",
    config: "/etc/wp-gears/supervisord.conf",
    programs: "/etc/wp-gears/supervisord.d",
    ending: "conf",
    socket: "/run/wp-gears-supervisor.sock",
    control: "/opt/wp-gears/bin/supervisorctl -c /etc/wp-gears/supervisord.conf",
    lacks_restart: false,
};
