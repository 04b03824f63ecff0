//! What several checks need, inspected only once.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;

use crate::base::parallel;
use crate::base::paths::BASE;
use crate::base::problem::Problem;
use crate::doctor::Finding;
use crate::gearman::many;
use crate::gearman::peer;
use crate::gearman::server::Server;
use crate::gearman::text::{Admin, Connection, FunctionStatus};
use crate::host::Host;
use crate::host::platform::Platform;
use crate::host::process::Process;
use crate::host::services::{ServiceManager, Unit};
use crate::intent::options::{Role, Spec};
use crate::intent::resolve::{self, Resolved, SiteResolved};
use crate::plan::Run;
use crate::plan::prepare::{Prepared, prepare};
use crate::plan::proof::{self, Page};
use crate::resource::ResourceId;
use crate::site::answers::SiteFacts;
use crate::site::ask::Target;
use crate::site::web::listeners::{self, WebListener};
use crate::site::web::{Served, Servers};
use crate::supervisor::rpc::{ProcessInfo, SupervisorClient, Unreachable};
use crate::worker::Paths;

/// How long a job server may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

pub struct Context<'h> {
    pub host: &'h Host,
    pub platform: &'h Platform,
    pub spec: Spec,
    /// Why the intent file could not be read. The checks then assume that what runs
    /// here is what was asked.
    pub unreadable: Option<&'h anyhow::Error>,
    pub resolved: Resolved,
    pub root: bool,
    prepared: OnceLock<Result<Prepared>>,
    facts: Vec<OnceLock<Result<SiteFacts>>>,
    pages: Vec<OnceLock<Page>>,
    listeners: OnceLock<Vec<WebListener>>,
    served: OnceLock<Vec<Served>>,
    processes: OnceLock<Vec<Process>>,
    supervisor: OnceLock<Result<Vec<ProcessInfo>, Unreachable>>,
    servers: Vec<String>,
    answers: OnceLock<Vec<Result<ServerStatus, String>>>,
}

/// What a job server reports.
#[derive(Debug, Clone)]
pub struct ServerStatus {
    pub version: String,
    pub queues: Vec<FunctionStatus>,
    pub workers: Vec<Connection>,
}

impl<'h> Context<'h> {
    pub fn new(host: &'h Host, spec: Spec, unreadable: Option<&'h anyhow::Error>) -> Result<Self> {
        let platform = host.platform()?;
        let resolved = resolve::resolve(host, &spec)?;
        let is_server = resolved.host.roles.contains(&Role::Server);
        let own = is_server.then(|| vec![resolved.host.own_server()]);
        let of_sites = resolved.sites.iter().map(SiteResolved::effective_servers);
        let servers = many::in_turn(own.into_iter().chain(of_sites));
        Ok(Context {
            host,
            platform,
            root: rustix::process::geteuid().is_root(),
            prepared: OnceLock::new(),
            facts: resolved.sites.iter().map(|_| OnceLock::new()).collect(),
            pages: resolved.sites.iter().map(|_| OnceLock::new()).collect(),
            listeners: OnceLock::new(),
            served: OnceLock::new(),
            processes: OnceLock::new(),
            supervisor: OnceLock::new(),
            servers,
            answers: OnceLock::new(),
            spec,
            unreadable,
            resolved,
        })
    }

    pub fn has_role(&self, role: Role) -> bool {
        self.resolved.host.roles.contains(&role)
    }

    /// What setup would do now.
    pub fn prepared(&self) -> &Result<Prepared> {
        self.prepared.get_or_init(|| {
            if !self.root {
                return Err(
                    Problem::new("compare this host with setup", "it requires root").into(),
                );
            }
            prepare(self.host, &self.spec, Run::of_doctor())
        })
    }

    /// Whether setup would change this resource.
    pub fn differs(&self, resource: &ResourceId) -> bool {
        self.prepared().as_ref().is_ok_and(|prepared| {
            prepared
                .plan
                .differing()
                .any(|(step, _, _)| step.item.resource.id() == *resource)
        })
    }

    /// What the site's WordPress reports, asked as its worker user.
    pub fn facts(&self, site: &SiteResolved) -> &Result<SiteFacts> {
        self.facts[self.index(site)].get_or_init(|| {
            let user = self.host.need_user(&site.user)?;
            if !self.root && user.uid != rustix::process::geteuid().as_raw() {
                return Err(self.not_root("load WordPress as its worker user").into());
            }
            let cache = self.paths(site).opcodes();
            let target = Target {
                cache: Some(&cache),
                ..site.target()
            };
            target.facts(self.host, self.listeners())
        })
    }

    /// What a page of the site says of its PHP, asked through the web server.
    pub fn page(&self, site: &SiteResolved) -> &Page {
        self.pages[self.index(site)].get_or_init(|| match self.facts(site) {
            // Or it would be waited for twice.
            Err(_) => Page::Silent("WordPress does not load".into()),
            Ok(_) => proof::describe(self.host, site, self.listeners()),
        })
    }

    /// The web servers of this host.
    fn listeners(&self) -> &[WebListener] {
        self.listeners.get_or_init(|| listeners::all(self.host))
    }

    /// Who serves the site's pages, according to the web servers' configuration.
    pub fn served(&self, site: &SiteResolved) -> &Served {
        let all = self.served.get_or_init(|| {
            let servers = Servers::read(self.host).unwrap_or_default();
            let sites = self.resolved.sites.iter();
            sites.map(|site| servers.of(self.host, &site.dir)).collect()
        });
        all.get(self.index(site)).unwrap_or(&Served::Unknown)
    }

    fn index(&self, site: &SiteResolved) -> usize {
        // All sites come from this list, so one of them matches.
        self.resolved
            .sites
            .iter()
            .position(|other| other.dir == site.dir)
            .unwrap_or_default()
    }

    pub fn paths(&self, site: &SiteResolved) -> Paths {
        Paths::new(Path::new(BASE), &site.name)
    }

    pub fn processes(&self) -> &[Process] {
        self.processes.get_or_init(|| self.host.processes())
    }

    pub fn gearmand(&self) -> Result<Unit> {
        let family = self.platform.family;
        self.host
            .unit(family.gearmand.unit, &[self.resolved.host.supervisor.unit])
    }

    pub fn supervisor_unit(&self) -> Result<Unit> {
        let family = self.platform.family;
        self.host
            .unit(self.resolved.host.supervisor.unit, &[family.gearmand.unit])
    }

    /// The init system, which knows the commands to suggest.
    pub fn services(&self) -> &'static dyn ServiceManager {
        self.platform.services()
    }

    /// The command that controls this host's supervisord.
    pub fn supervisorctl(&self, arguments: &str) -> String {
        format!("{} {arguments}", self.resolved.host.supervisor.control)
    }

    pub fn supervisor(&self) -> SupervisorClient {
        SupervisorClient::new(Path::new(self.resolved.host.supervisor.socket))
    }

    /// What supervisord runs, or why it cannot be queried.
    pub fn programs(&self) -> &Result<Vec<ProcessInfo>, Unreachable> {
        self.supervisor.get_or_init(|| {
            let supervisor = self.supervisor();
            supervisor.reach()?;
            supervisor
                .processes()
                .map_err(|error| Unreachable::Other(format!("{error:#}")))
        })
    }

    /// The job servers of this host and its sites.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(String::as_str)
    }

    /// What a job server reports, or why it does not answer. All are asked together.
    pub fn look(&self, server: &str) -> Result<&ServerStatus, String> {
        let answers = self.answers.get_or_init(|| {
            many::each(&self.servers, |server| {
                let mut admin = self.admin(server)?;
                let ask = |error: std::io::Error| format!("{server} does not answer ({error})");
                Ok(ServerStatus {
                    version: admin.version().map_err(ask)?,
                    queues: admin.status().map_err(ask)?,
                    workers: admin.workers().map_err(ask)?,
                })
            })
        });
        match self.servers.iter().position(|name| name == server) {
            Some(at) => answers[at].as_ref().map_err(Clone::clone),
            None => Err("no site uses it".into()),
        }
    }

    pub fn admin(&self, server: &str) -> Result<Admin, String> {
        let at: Server = server.parse()?;
        Admin::connect(&at, ANSWER).map_err(|error| match peer::stranger(&error) {
            Some(stranger) => stranger.to_string(),
            None => format!("no job server answers on {server} ({error})"),
        })
    }

    /// Checks every site, several in parallel.
    pub fn each_site(&self, look: impl Fn(&SiteResolved) -> Vec<Finding> + Sync) -> Vec<Finding> {
        let sites = &self.resolved.sites;
        if sites.is_empty() {
            return vec![Finding::skipped("no site has workers here")];
        }
        // Some wait for sites that do not answer, while the others go on.
        let threads = parallel::cores() + 4;
        let found = parallel::map(sites, threads, |site| {
            let findings = look(site).into_iter();
            findings
                .map(|finding| finding.of_site(&site.name))
                .collect::<Vec<_>>()
        });
        found.into_iter().flatten().collect()
    }

    /// An option of the running gearmand.
    pub fn option_of_gearmand(&self, name: &str) -> Option<String> {
        let unit = self.gearmand().ok()?;
        let process = self.host.process(unit.main_pid)?;
        let long = format!("--{name}");
        let with_value = format!("--{name}=");
        let mut words = process.args.iter();
        while let Some(word) = words.next() {
            if let Some(value) = word.strip_prefix(&with_value) {
                return Some(value.to_owned());
            }
            if *word == long {
                return words.next().cloned();
            }
        }
        None
    }

    /// The job server's options file.
    pub fn options_file(&self) -> PathBuf {
        PathBuf::from(self.platform.family.gearmand.options_file)
    }

    pub fn not_root(&self, what: &str) -> Problem {
        Problem::new(what, "it requires root").help("run it with sudo")
    }

    /// Skips a check that requires root.
    pub fn needs_root(&self) -> Option<Finding> {
        (!self.root).then(|| Finding::skipped("it requires root"))
    }
}
