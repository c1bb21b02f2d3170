//! `check`.

use std::fmt::Write as _;

use azure_nixos::check::{CheckItem, CheckReport, Checkup, Outcome};
use serde::Serialize;

use super::boot_vm;
use crate::args::{Check, Format, Global};
use crate::connect::{self, Connection};
use crate::output;
use crate::progress::Console;
use crate::run::{FAILED, Failure, follow};

/// Columns of the table: what fits any terminal, and a message or a log.
const WIDTH: usize = 80;
const MARK: usize = 6;
const TOPIC: usize = 18;

#[derive(Debug, Serialize)]
struct Shown<'a> {
    would_stop: bool,
    items: &'a [CheckItem],
}

pub(crate) async fn check(global: &Global, args: Check, console: &Console) -> Result<u8, Failure> {
    boot_vm::fits(args.count, args.scale_set)?;
    let checkup = checkup(&args);
    let report = if args.no_azure {
        follow(checkup.without_azure().start(), console).await?
    } else if connect::is_local(global) {
        let connection = Connection::open(global).await?;
        let result = follow(checkup.azure(&connection.azure).start(), console).await;
        connection.close().await;
        result?
    } else {
        let login = connect::settings(global);
        follow(checkup.login(login).start(), console).await?
    };
    match global.output {
        Format::Json => output::json(&Shown {
            would_stop: report.would_stop(),
            items: &report.items,
        })?,
        Format::Text => output::result(text(&report).trim_end())?,
    }
    Ok(if report.would_stop() { FAILED } else { 0 })
}

/// What the options ask for, with whichever login.
fn checkup(args: &Check) -> Checkup {
    let mut checkup = Checkup::new()
        .machines(args.count)
        .scale_set(args.scale_set);
    if args.no_nix {
        checkup = checkup.without_nix();
    }
    if let Some(group) = &args.resource_group {
        checkup = checkup.resource_group(group);
    }
    if let Some(name) = &args.name {
        checkup = checkup.image_name(name);
    }
    if let Some(location) = &args.location {
        checkup = checkup.location(location);
    }
    if let Some(size) = &args.vm_size {
        checkup = checkup.vm_size(size);
    }
    if let Some(gallery) = &args.gallery {
        checkup = checkup.gallery_name(gallery);
    }
    if let Some(definition) = &args.image_definition {
        checkup = checkup.image_definition(definition);
    }
    if let Some(system) = &args.system {
        checkup = checkup.system(system);
    }
    if let Some(size) = args.image_size {
        checkup = checkup.image_size(size);
    }
    checkup
}

/// The report as a table, and the verdict.
fn text(report: &CheckReport) -> String {
    let mut text = String::new();
    for item in &report.items {
        let head = format!("{:<MARK$}{:<TOPIC$}", mark(item.outcome), item.topic);
        row(&mut text, &head, &item.found);
        if let Some(to_do) = &item.to_do {
            row(&mut text, &" ".repeat(MARK + TOPIC), &format!("→ {to_do}"));
        }
    }
    let stops: Vec<_> = report.failed().map(|item| item.topic.as_str()).collect();
    text.push('\n');
    let verdict = if stops.is_empty() {
        "nothing was found that would stop an upload".to_owned()
    } else {
        format!("this would stop an upload: {}", stops.join(", "))
    };
    for line in wrap(&verdict, WIDTH) {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "ok",
        Outcome::Warning => "warn",
        Outcome::Failed => "FAIL",
        _ => "?",
    }
}

/// One cell of text after its head; further lines are as far in.
fn row(text: &mut String, head: &str, cell: &str) {
    let indent = MARK + TOPIC;
    for (at, line) in wrap(cell, WIDTH - indent).iter().enumerate() {
        if at == 0 {
            let _ = writeln!(text, "{head}{line}");
        } else {
            let _ = writeln!(text, "{:indent$}{line}", "");
        }
    }
}

/// Lines of at most so many characters. A longer word, a path or an id, has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split_whitespace() {
        let own = word.chars().count();
        if length > 0 && length + 1 + own > width {
            lines.push(String::new());
            length = 0;
        }
        if let Some(line) = lines.last_mut() {
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += own;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_no_longer_than_they_may_be() {
        assert_eq!(wrap("a bc  def\nghij", 4), ["a bc", "def", "ghij"]);
        assert_eq!(wrap("ä öü é", 4), ["ä öü", "é"]);
        assert_eq!(wrap("a longest b", 3), ["a", "longest", "b"]);
        assert_eq!(wrap("", 3), [""]);
    }
}
