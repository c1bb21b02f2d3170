//! `delete-vm`.

use std::io::{self, IsTerminal as _, Write as _};

use azure_nixos::vm::{DeletePlan, DeletedMachine, Machines, Stays};
use serde::Serialize;

use crate::args::{DeleteVm, Format, Global};
use crate::connect::Connection;
use crate::output;
use crate::progress::Console;
use crate::run::{Failure, follow_saying};

const CANCELLING: &str = "stopping; what is gone stays gone, and running it again deletes the rest (Ctrl-C again ends at once)";

#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    resource_group: &'a str,
    deleted: Vec<&'a str>,
    stays: Vec<ShownStays<'a>>,
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct ShownStays<'a> {
    id: &'a str,
    reason: &'a str,
}

pub(crate) async fn delete_vm(
    global: &Global,
    args: DeleteVm,
    console: &Console,
) -> Result<u8, Failure> {
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !args.yes && !can_ask {
        return Err(Failure::Usage(
            "nobody can be asked here whether to delete: pass --yes".into(),
        ));
    }
    let connection = Connection::open(global).await?;
    let result = delete(&connection, args, console).await;
    connection.close().await;
    let Some(deleted) = result? else {
        output::note("nothing was deleted");
        return Ok(0);
    };
    match global.output {
        Format::Json => output::json(&Shown {
            name: &deleted.name,
            resource_group: &deleted.resource_group,
            deleted: deleted.deleted.iter().map(|one| one.id.as_str()).collect(),
            stays: deleted.stays.iter().map(ShownStays::new).collect(),
            warnings: &deleted.warnings,
        })?,
        Format::Text => {
            for gone in &deleted.deleted {
                output::result(gone.id.as_str())?;
            }
        }
    }
    Ok(0)
}

impl<'a> ShownStays<'a> {
    fn new(stays: &'a Stays) -> Self {
        Self {
            id: stays.thing.id.as_str(),
            reason: &stays.reason,
        }
    }
}

/// Plans, asks, deletes; `None` when the answer is no.
async fn delete(
    connection: &Connection,
    args: DeleteVm,
    console: &Console,
) -> Result<Option<DeletedMachine>, Failure> {
    let machines = Machines::new(&connection.azure);
    let machine = machines.machine(args.vm.resource_group, args.vm.name);
    let plan = console.interrupts.around(machine.delete().plan()).await?;
    for note in plan.notes() {
        output::note(note);
    }
    for thing in plan.goes() {
        output::note(&format!("goes:  {thing}"));
    }
    say_what_stays(plan.stays());
    let known = plan.stays().len();
    if !args.yes && plan.goes().len() > 0 && !ask(&plan, console).await? {
        return Ok(None);
    }
    let deleted = follow_saying(plan.start(), console, CANCELLING).await?;
    say_what_stays(&deleted.stays[known..]);
    for warning in &deleted.warnings {
        output::warning(warning);
    }
    Ok(Some(deleted))
}

fn say_what_stays(stays: &[Stays]) {
    for stays in stays {
        output::note(&format!("stays: {}: {}", stays.thing, stays.reason));
    }
}

/// Asks on the terminal. Everything but a yes is a no.
async fn ask(plan: &DeletePlan, console: &Console) -> Result<bool, Failure> {
    let question = match plan.goes().len() {
        1 => "Delete this? [y/N] ".to_owned(),
        more => format!("Delete these {more} things? [y/N] "),
    };
    // Whoever reads the question may press Ctrl-C at once.
    let answered = console.interrupts.around(async {
        let mut terminal = io::stderr();
        let asked = write!(terminal, "{question}").and_then(|()| terminal.flush());
        asked.map_err(|error| Failure::Other(format!("cannot ask: {error}")))?;
        // The reader may wait for ever; the end of the program does not wait for it.
        let reading = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        });
        Ok(reading.await)
    });
    let answered: Result<_, Failure> = answered.await;
    if answered.is_err() {
        output::note("");
    }
    let line = answered?
        .map_err(io::Error::other)
        .and_then(|line| line)
        .map_err(|error| Failure::Other(format!("cannot read the answer: {error}")))?;
    Ok(matches!(
        line.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
