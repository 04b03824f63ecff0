//! The marked block with the lines that setup adds.

use crate::site::config::events::Kind;
use crate::site::config::network::Network;
use crate::site::plugins::{SALT, Switch};

// Existing hosts have these comments: they identify the block and must not
// change. They must not contain `?>`, or the phrase at which WP-CLI splits files.
const BEGIN: &str = "/* BEGIN wp-gears: background jobs. No need to edit these lines; \"wp-gears remove\" takes them out again. */";
/// For a block that splits a line of the file in two.
const BEGIN_SPLIT: &str = "/* BEGIN wp-gears: background jobs. No need to edit these lines; \"wp-gears remove\" takes them out and joins the line again. */";
const END: &str = "/* END wp-gears */";

pub fn is_begin(comment: &[u8]) -> bool {
    bare(comment).starts_with(b"BEGIN wp-gears:")
}

pub fn is_end(comment: &[u8]) -> bool {
    bare(comment) == b"END wp-gears"
}

/// A comment without what marks it as one, which formatters change.
fn bare(comment: &[u8]) -> &[u8] {
    let is_mark = |byte: &u8| b"/*# \t\r\n".contains(byte);
    let start = comment.iter().position(|byte| !is_mark(byte));
    let end = comment.iter().rposition(|byte| !is_mark(byte));
    match (start, end) {
        (Some(start), Some(end)) => &comment[start..=end],
        _ => b"",
    }
}

pub fn is_marker(comment: &[u8]) -> bool {
    is_begin(comment) || is_end(comment)
}

/// Whether the block with this first comment splits a line.
pub fn was_split(begin: &[u8]) -> bool {
    bare(begin) == bare(BEGIN_SPLIT.as_bytes())
}

/// The settings that the file lacks; each becomes one or more lines.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Missing {
    pub switch: Option<Switch>,
    pub servers: Option<ServerLines>,
    pub salt: Option<String>,
    pub host: Option<Network>,
    /// Unreadable code comes before the block and may define any of them.
    pub yields: bool,
    /// The block is in a namespace.
    pub namespaced: bool,
    /// The class whose `define` collects constants, if the file has it.
    pub collector: Option<String>,
}

/// How the block sets the servers.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerLines {
    Set(Vec<String>),
    /// Unless unreadable code has set some.
    Unless(Vec<String>),
    /// The file sets them, but not as a global variable if it is included
    /// inside a function. Makes them global.
    Lift,
}

impl Missing {
    pub fn is_empty(&self) -> bool {
        self.switch.is_none()
            && self.servers.is_none()
            && self.salt.is_none()
            && self.host.is_none()
    }

    /// Whether the lines read what this sets.
    pub fn reads(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Define { name, .. } => self.host.is_some() && name == "DOMAIN_CURRENT_SITE",
            Kind::Servers { .. } | Kind::Push(..) => {
                matches!(
                    self.servers,
                    Some(ServerLines::Lift | ServerLines::Unless(_))
                )
            }
            _ => false,
        }
    }

    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(switch) = self.switch {
            lines.push(self.define(switch.constant, &switch.php()));
        }
        match &self.servers {
            Some(ServerLines::Unless(servers)) => lines.push(format!(
                "$GLOBALS['gearman_servers'] = empty( $gearman_servers ) ? {} : $gearman_servers;",
                array(servers)
            )),
            Some(ServerLines::Set(servers)) => {
                lines.push("global $gearman_servers;".into());
                lines.push(format!("$gearman_servers = {};", array(servers)));
            }
            Some(ServerLines::Lift) => {
                lines.push("$GLOBALS['gearman_servers'] = $gearman_servers;".into());
            }
            None => {}
        }
        if let Some(salt) = &self.salt {
            lines.push(self.define(SALT, &quoted(salt)));
        }
        if let Some(network) = self.host {
            let guard = match network {
                _ if self.collector.is_some() => "",
                Network::Yes => "",
                _ => "defined( 'DOMAIN_CURRENT_SITE' ) && ",
            };
            lines.push(format!(
                "if ( 'cli' === PHP_SAPI && {guard}empty( $_SERVER['HTTP_HOST'] ) ) {{"
            ));
            let domain = match &self.collector {
                Some(class) => format!("{class}::get( 'DOMAIN_CURRENT_SITE' )"),
                None if self.namespaced => "\\DOMAIN_CURRENT_SITE".into(),
                None => "DOMAIN_CURRENT_SITE".into(),
            };
            lines.push(format!("\t$_SERVER['HTTP_HOST'] = {domain};"));
            lines.push("}".into());
        }
        lines
    }

    fn define(&self, name: &str, value: &str) -> String {
        let define = match &self.collector {
            Some(class) => format!("{class}::define( '{name}', {value} );"),
            None => format!("define( '{name}', {value} );"),
        };
        match self.yields {
            true => format!("defined( '{name}' ) || {define}"),
            false => define,
        }
    }
}

/// The block as text, with line endings.
pub fn render(missing: &Missing, split: bool, indent: &str, end_of_line: &str) -> String {
    let begin = if split { BEGIN_SPLIT } else { BEGIN };
    let mut text = String::new();
    let lines = missing.lines();
    for line in std::iter::once(begin)
        .chain(lines.iter().map(String::as_str))
        .chain([END])
    {
        text.push_str(indent);
        text.push_str(line);
        text.push_str(end_of_line);
    }
    text
}

pub fn array(servers: &[String]) -> String {
    if servers.is_empty() {
        return "array()".into();
    }
    let list: Vec<_> = servers.iter().map(|it| quoted(it)).collect();
    format!("array( {} )", list.join(", "))
}

/// One plain list of servers, also where the file is included inside a function.
pub fn plain_servers(servers: &[String], is_global: bool) -> Vec<String> {
    let list = format!("$gearman_servers = {};", array(servers));
    match is_global {
        true => vec![list],
        false => vec!["global $gearman_servers;".into(), list],
    }
}

/// A PHP string literal in single quotes.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
