//! The table in which dnf and yum show what they would do.

use crate::host::packages::Simulation;

/// Reads the table of a transaction. A row starts with one blank; if a name is
/// too long for its column, the rest of the row is on the next line.
pub fn parse(text: &str) -> Simulation {
    let mut simulation = Simulation::default();
    let mut section = "";
    let mut rows: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut replaced = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let indent = line.len() - line.trim_start().len();
        match (indent, words.as_slice()) {
            (0, _) => section = line.trim_end(),
            (1, [_, ..]) => rows.push((section, words)),
            (_, ["replacing", name, ..]) => {
                let name = name.rsplit_once('.').map_or(*name, |(name, _)| name);
                replaced.push(name.to_owned());
            }
            (_, [_, ..]) => {
                if let Some((of, row)) = rows.last_mut()
                    && *of == section
                {
                    row.extend(words);
                }
            }
            _ => {}
        }
    }
    for (section, row) in rows {
        let name = row[0].to_owned(); // a row has a word
        match section.split_whitespace().next() {
            Some("Installing" | "Installing:") => {
                let version = row.get(2).copied().unwrap_or_default();
                simulation.new.push(format!("{name} {version}"));
            }
            Some("Upgrading:" | "Updating" | "Updating:" | "Downgrading:") => {
                simulation.upgraded.push(name);
            }
            Some("Removing" | "Removing:") => simulation.removed.push(name),
            _ => {}
        }
    }
    // dnf 5 lists what an upgrade replaces, too.
    replaced.retain(|name| !simulation.upgraded.contains(name));
    simulation.removed.extend(replaced);
    simulation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_row_of_a_transaction_is_recognized() {
        let simulation = parse(
            "Last metadata expiration check: 0:00:13 ago\nDependencies resolved.\n====\n Package  Arch  Version  Repository  Size\n====\nInstalling:\n supervisor   noarch 4.2.5-1.el9  epel 5.4 k\n a-name-that-is-too-long-for-its-column\n              noarch 1.0-1        epel 5 k\nInstalling dependencies:\n libgearman   x86_64 1.1.20-1     epel 5 k\n     replacing  oldgearman.x86_64 0.9-1\nUpgrading:\n python3-base noarch 2-1          epel 5 k\n   replacing python3-base noarch 1-1 epel 5 k\nRemoving dependent packages:\n other        noarch 1-1          @epel 0\nEnabling module streams:\n php                 8.2\n\nTransaction Summary\n====\nInstall  3 Packages\n\nTotal size: 27 k\n",
        );
        assert_eq!(
            simulation.new,
            [
                "supervisor 4.2.5-1.el9",
                "a-name-that-is-too-long-for-its-column 1.0-1",
                "libgearman 1.1.20-1"
            ]
        );
        assert_eq!(simulation.upgraded, ["python3-base"]);
        assert_eq!(simulation.removed, ["other", "oldgearman"]);
    }

    #[test]
    fn a_table_of_yum_3_is_read_too() {
        let simulation = parse(
            "Dependencies Resolved\n\n====\n Package   Arch  Version  Repository  Size\n====\nInstalling:\n gearmand  x86_64 1.1.12-18.el7 epel 5 k\nInstalling for dependencies:\n libevent  x86_64 2.0.21-4.el7 base 5 k\nUpdating for dependencies:\n glibc     x86_64 2.17-326 base 5 k\n\nTransaction Summary\n====\nInstall  1 Package (+1 Dependent package)\n\nTotal download size: 5 M\nExiting on user command\n",
        );
        assert_eq!(
            simulation.new,
            ["gearmand 1.1.12-18.el7", "libevent 2.0.21-4.el7"]
        );
        assert_eq!(simulation.upgraded, ["glibc"]);
    }
}
