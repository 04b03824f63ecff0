//! The `[[host]]` table of one host in a file that several share.

use std::path::Path;

use anyhow::Result;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use crate::base::problem::Problem;
use crate::intent::hosts::{MATCH, is_own, short};

pub const HOST: &str = "host";

/// Where the options of this host are written: its own table, which is added if need be,
/// or the top of a file without such tables.
///
/// # Errors
/// Hosts in an inline array.
pub fn part<'d>(doc: &'d mut DocumentMut, path: &Path, name: &str) -> Result<&'d mut Table> {
    // A string is the option of sites.
    if doc.get(HOST).is_none_or(Item::is_str) {
        return Ok(doc.as_table_mut());
    }
    let is_inline = || {
        let what = format!("record the options of this host in {}", path.display());
        Problem::usage(what, "its hosts are written as an inline array")
            .help("write each host as a [[host]] table, then run it again")
    };
    let hosts = hosts_mut(doc).ok_or_else(is_inline)?;
    let at = hosts.iter().position(|table| is_of(table, name));
    let at = at.unwrap_or_else(|| {
        let mut table = Table::new();
        table.insert(MATCH, toml_edit::value(short(name)));
        table.decor_mut().set_prefix("\n");
        hosts.push(table);
        hosts.len() - 1
    });
    hosts.get_mut(at).ok_or_else(|| is_inline().into())
}

pub fn own_table<'d>(doc: &'d DocumentMut, name: &str) -> Option<&'d Table> {
    let hosts = doc.get(HOST)?.as_array_of_tables()?;
    hosts.iter().find(|table| is_of(table, name))
}

pub fn own_table_mut<'d>(doc: &'d mut DocumentMut, name: &str) -> Option<&'d mut Table> {
    hosts_mut(doc)?.iter_mut().find(|table| is_of(table, name))
}

pub fn remove_own(doc: &mut DocumentMut, name: &str) {
    let Some(hosts) = hosts_mut(doc) else {
        return;
    };
    hosts.retain(|table| !is_of(table, name));
    if hosts.is_empty() {
        doc.remove(HOST);
    }
}

fn hosts_mut(doc: &mut DocumentMut) -> Option<&mut ArrayOfTables> {
    doc.get_mut(HOST)?.as_array_of_tables_mut()
}

fn is_of(table: &Table, name: &str) -> bool {
    let value = table.get(MATCH).and_then(Item::as_value);
    let value = value.and_then(|value| value.to_string().trim().parse().ok());
    is_own(value.as_ref(), name)
}
