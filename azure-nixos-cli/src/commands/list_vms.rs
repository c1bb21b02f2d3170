//! `list-vms`.

use std::io::IsTerminal as _;

use azure_nixos::vm::{MachineInfo, Machines};
use serde::Serialize;

use super::show_vm::Shown;
use crate::args::{Format, Global, ListVms};
use crate::connect::Connection;
use crate::output;
use crate::run::Failure;

const HEADING: [&str; 7] = [
    "NAME",
    "GROUP",
    "LOCATION",
    "SIZE",
    "STATE",
    "ADDRESS",
    "SCALE SET",
];

#[derive(Debug, Serialize)]
struct List<'a> {
    machines: Vec<Shown<'a>>,
}

pub(crate) async fn list_vms(global: &Global, args: &ListVms) -> Result<u8, Failure> {
    let connection = Connection::open(global).await?;
    let machines = Machines::new(&connection.azure);
    let result = machines.list(args.resource_group.as_deref()).await;
    connection.close().await;
    let machines = result?;
    let rows = || machines.iter().map(row);
    match global.output {
        Format::Json => output::json(&List {
            machines: machines.iter().map(Shown::new).collect(),
        })?,
        Format::Text if machines.is_empty() => output::note("there are no machines"),
        Format::Text if std::io::stdout().is_terminal() => {
            let all: Vec<_> = std::iter::once(HEADING.map(str::to_owned))
                .chain(rows())
                .collect();
            output::result(&table(&all))?;
        }
        Format::Text => {
            let lines: Vec<String> = rows().map(|row| row.join("\t")).collect();
            output::result(&lines.join("\n"))?;
        }
    }
    Ok(0)
}

fn row(machine: &MachineInfo) -> [String; 7] {
    let addresses = machine.public_ips.iter().chain(&machine.private_ips);
    [
        machine.name.clone(),
        machine.resource_group.clone(),
        machine.location.to_string(),
        machine.size.clone(),
        machine.power_state.to_string(),
        // One that the world knows, if there is one.
        addresses
            .map(String::as_str)
            .next()
            .unwrap_or("-")
            .to_owned(),
        machine
            .scale_set
            .as_ref()
            .map_or("-", |set| set.name())
            .to_owned(),
    ]
}

/// Columns as wide as what is in them.
fn table(rows: &[[String; 7]]) -> String {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let cells = |text: &str| -> [String; 7] {
            let cells: Vec<String> = text.split(' ').map(str::to_owned).collect();
            cells.try_into().unwrap()
        };
        assert_eq!(
            table(&[cells("NAME G L S S A T"), cells("x group l s s - -")]),
            "NAME  G      L  S  S  A  T\nx     group  l  s  s  -  -"
        );
    }
}
