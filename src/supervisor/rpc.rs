//! supervisord's XML-RPC interface on its Unix socket. A call takes 1 ms;
//! supervisorctl needs 280 ms to start Python.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use dxr::{FaultResponse, MethodCall, MethodResponse, TryFromValue, Value};

use crate::base::problem::Problem;

/// A running supervisord.
pub struct SupervisorClient {
    socket: PathBuf,
}

/// One process of a group.
/// `GROUP:NAME` is how supervisorctl names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    pub group: String,
    pub name: String,
    /// RUNNING, STARTING, BACKOFF, FATAL, EXITED, STOPPED …
    pub state: String,
    /// 0 if it is not running.
    pub pid: u32,
    /// Why it could not be started; empty if it was.
    pub error: String,
}

/// The groups in which supervisord's files differ from what it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reread {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
}

/// Why supervisord cannot be queried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreachable {
    /// Its socket does not exist.
    NoSocket,
    /// No process listens on its socket.
    Refused,
    /// This user may not connect to its socket.
    Denied,
    /// What answers does not behave like supervisord, or the connection failed in
    /// another way.
    Other(String),
}

const NO_FILE: i32 = 20;
const NOT_EXECUTABLE: i32 = 21;
const NOT_RUNNING: i32 = 70;
const BAD_NAME: i32 = 10;
const ALREADY_ADDED: i32 = 90;

impl SupervisorClient {
    pub fn new(socket: &Path) -> Self {
        SupervisorClient {
            socket: socket.to_owned(),
        }
    }

    pub fn answers(&self) -> bool {
        self.call("supervisor.getState", vec![], Duration::from_secs(5))
            .is_ok()
    }

    /// Like `answers`, but returns the reason if it does not.
    pub fn reach(&self) -> Result<(), Unreachable> {
        use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
        if let Err(error) = UnixStream::connect(&self.socket) {
            return Err(match error.kind() {
                NotFound => Unreachable::NoSocket,
                ConnectionRefused => Unreachable::Refused,
                PermissionDenied => Unreachable::Denied,
                _ => Unreachable::Other(error.to_string()),
            });
        }
        self.call("supervisor.getState", vec![], Duration::from_secs(5))
            .map(|_| ())
            .map_err(|error| Unreachable::Other(error.root_cause().to_string()))
    }

    /// The last bytes of supervisord's own log.
    pub fn log_tail(&self, bytes: i32) -> Result<String> {
        let params = vec![Value::Integer(-bytes), Value::Integer(0)];
        let answer = self.call("supervisor.readLog", params, SHORT)?;
        Ok(String::try_from_value(&answer)?)
    }

    /// The last bytes of a process's output.
    pub fn output_tail(&self, process: &ProcessInfo, bytes: i32) -> Result<String> {
        let name = format!("{}:{}", process.group, process.name);
        let params = vec![
            Value::String(name),
            Value::Integer(0),
            Value::Integer(bytes),
        ];
        let answer = self.call("supervisor.tailProcessStdoutLog", params, SHORT)?;
        let parts: Vec<Value> = TryFromValue::try_from_value(&answer)?;
        let text = parts
            .first()
            .context("supervisord answered with an empty list")?;
        Ok(String::try_from_value(text)?)
    }

    /// Makes supervisord reread its files. Running processes are not affected.
    pub fn reread(&self) -> Result<Reread> {
        let answer = self.call("supervisor.reloadConfig", vec![], SHORT)?;
        let mut lists: Vec<Vec<Vec<String>>> = TryFromValue::try_from_value(&answer)?;
        let mut lists = lists
            .pop()
            .context("supervisord answered with an empty list")?
            .into_iter();
        Ok(Reread {
            added: lists.next().unwrap_or_default(),
            changed: lists.next().unwrap_or_default(),
            removed: lists.next().unwrap_or_default(),
        })
    }

    pub fn processes(&self) -> Result<Vec<ProcessInfo>> {
        let answer = self.call("supervisor.getAllProcessInfo", vec![], SHORT)?;
        let list: Vec<HashMap<String, Value>> = TryFromValue::try_from_value(&answer)?;
        let text = |info: &HashMap<String, Value>, key: &str| -> String {
            info.get(key)
                .and_then(|value| String::try_from_value(value).ok())
                .unwrap_or_default()
        };
        Ok(list
            .iter()
            .map(|info| ProcessInfo {
                group: text(info, "group"),
                name: text(info, "name"),
                state: text(info, "statename"),
                pid: info
                    .get("pid")
                    .and_then(|value| i32::try_from_value(value).ok())
                    .and_then(|pid| pid.try_into().ok())
                    .unwrap_or_default(),
                error: text(info, "spawnerr"),
            })
            .collect())
    }

    /// Adds a group from the files just read, and starts it if it has autostart.
    pub fn add(&self, group: &str) -> Result<()> {
        self.tolerate("supervisor.addProcessGroup", group, SHORT, ALREADY_ADDED)
    }

    /// Stops a group's processes, each within its stopwaitsecs, and removes the
    /// group.
    pub fn remove(&self, group: &str, patience: Duration) -> Result<()> {
        let wait = Value::Boolean(true);
        let name = Value::String(group.to_owned());
        match self.call("supervisor.stopProcessGroup", vec![name, wait], patience) {
            Err(error) if is_fault(&error, BAD_NAME) => return Ok(()),
            other => other?,
        };
        self.tolerate("supervisor.removeProcessGroup", group, SHORT, BAD_NAME)
    }

    /// Starts the processes of a group that are not running. Fails if supervisord
    /// does not even try to start one.
    pub fn start(&self, group: &str) -> Result<()> {
        let params = vec![Value::String(group.to_owned()), Value::Boolean(true)];
        let method = "supervisor.startProcessGroup";
        let answer = match self.call(method, params, Duration::from_secs(60)) {
            Err(error) if is_fault(&error, NOT_RUNNING) => return Ok(()),
            other => other?,
        };
        let results: Vec<HashMap<String, Value>> = TryFromValue::try_from_value(&answer)?;
        for result in results {
            let code = result.get("status").map(i32::try_from_value);
            if let Some(Ok(NO_FILE | NOT_EXECUTABLE)) = code {
                let why = result.get("description").map(String::try_from_value);
                anyhow::bail!(why.and_then(Result::ok).unwrap_or_default());
            }
        }
        Ok(())
    }

    fn tolerate(&self, method: &str, group: &str, limit: Duration, code: i32) -> Result<()> {
        match self.call(method, vec![Value::String(group.to_owned())], limit) {
            Err(error) if is_fault(&error, code) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    fn call(&self, method: &str, params: Vec<Value>, limit: Duration) -> Result<Value> {
        let what = || format!("call {method} of supervisord on {}", self.socket.display());
        let body = MethodCall {
            name: method.into(),
            params,
        }
        .to_xml()
        .with_context(what)?;
        let body = format!("<?xml version=\"1.0\"?>{body}");
        let answer = self.post(&body, limit).with_context(what)?;
        match MethodResponse::from_xml(&answer) {
            Ok(response) => Ok(response.value),
            Err(error) => match FaultResponse::from_xml(&answer) {
                Ok(answer) => Err(anyhow::Error::new(RpcFault {
                    code: answer.fault.code(),
                    text: answer.fault.string().to_owned(),
                })
                .context(what())),
                Err(_) => Err(error).with_context(what),
            },
        }
    }

    /// Sends one HTTP/1.0 request; the answer ends when the connection is closed.
    fn post(&self, body: &str, limit: Duration) -> Result<String> {
        let mut stream = UnixStream::connect(&self.socket).map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "its socket does not exist, so it is not running".into()
                }
                std::io::ErrorKind::ConnectionRefused => {
                    "nothing listens on its socket, so it is not running".into()
                }
                _ => error.to_string(),
            };
            Problem::new("reach supervisord", why)
        })?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let head = format!(
            "POST /RPC2 HTTP/1.0\r\nHost: supervisor\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("the answer is not HTTP")?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        anyhow::ensure!(status == "200", "it answered with HTTP status {status}");
        Ok(body.to_owned())
    }
}

const SHORT: Duration = Duration::from_secs(20);

/// A fault that supervisord returned.
#[derive(Debug)]
struct RpcFault {
    code: i32,
    text: String,
}

impl std::fmt::Display for RpcFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it answered '{}' (fault {})", self.text, self.code)
    }
}

impl std::error::Error for RpcFault {}

fn is_fault(error: &anyhow::Error, code: i32) -> bool {
    error
        .downcast_ref::<RpcFault>()
        .is_some_and(|fault| fault.code == code)
}
