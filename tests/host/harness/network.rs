//! A network that joins test hosts: a switch in a namespace of its own, with a cable to
//! each host. Cables can be cut. Nothing of it touches the machine's own network.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Host;
use super::command::{Out, command, run};

pub struct Switch {
    namespace: Child,
}

impl Switch {
    pub fn new() -> Result<Switch> {
        let namespace = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped()) // it ends with us, in whatever way
            .stdout(Stdio::piped())
            .spawn()
            .context("making a network")?;
        let mut switch = Switch { namespace };
        let ready = switch.namespace.stdout.as_mut().context("no pipe")?;
        std::io::Read::read_exact(ready, &mut [0])?;
        switch.shell("ip link add br0 type bridge && ip link set br0 up")?;
        Ok(switch)
    }

    /// Gives a host the address 10.77.0.N and the name of its part. Again after it was
    /// started again.
    pub fn connect(&self, host: &Host, n: u8, name: &str) -> Result<()> {
        let init = host.init();
        self.shell(&format!(
            "ip link delete p{n} 2>/dev/null || :
             ip link add p{n} type veth peer name eth0 netns {init}
             ip link set p{n} master br0 up"
        ))?;
        host.run(&[
            "sh",
            "-ec",
            "hostname \"$2\" && echo \"$2\" >/etc/hostname
             ip address add 10.77.0.$1/24 dev eth0 && ip link set eth0 up",
            "connect",
            &n.to_string(),
            name,
        ])
        .check()
        .map(drop)
    }

    /// Cuts the cable of host N, or mends it.
    pub fn cut(&self, n: u8, is_cut: bool) -> Result<()> {
        let state = if is_cut { "down" } else { "up" };
        self.shell(&format!("ip link set p{n} {state}")).map(drop)
    }

    /// A script as root in the namespace of the switch.
    fn shell(&self, script: &str) -> Result<String> {
        let pid = self.namespace.id().to_string();
        let enter = ["nsenter", "-t", &pid, "-n", "--", "sh", "-ec", script];
        let out: Out = run(command(&enter), b"", Duration::from_secs(20));
        out.check()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.namespace.stdin.take());
        let _ = self.namespace.wait();
    }
}
