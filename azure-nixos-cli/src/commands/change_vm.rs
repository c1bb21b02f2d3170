//! `start`, `stop`, `restart` and `resize`.

use azure_nixos::vm::{Machine, MachineChange};
use serde::Serialize;

use super::show_vm::Shown;
use crate::args::{Format, Global, Resize, Stop, WhichVm};
use crate::connect::Connection;
use crate::output;
use crate::progress::Console;
use crate::run::{Failure, STOPPED, follow_saying};

#[derive(Debug, Serialize)]
struct Changed<'a> {
    #[serde(flatten)]
    machine: Shown<'a>,
    notes: &'a [String],
}

pub(crate) async fn start(global: &Global, vm: WhichVm, console: &Console) -> Result<u8, Failure> {
    change(global, vm, console, Machine::power_on).await
}

pub(crate) async fn stop(global: &Global, args: Stop, console: &Console) -> Result<u8, Failure> {
    let how = if args.keep_allocated {
        Machine::power_off
    } else {
        Machine::deallocate
    };
    change(global, args.vm, console, how).await
}

pub(crate) async fn restart(
    global: &Global,
    vm: WhichVm,
    console: &Console,
) -> Result<u8, Failure> {
    change(global, vm, console, Machine::restart).await
}

pub(crate) async fn resize(
    global: &Global,
    args: Resize,
    console: &Console,
) -> Result<u8, Failure> {
    let size = args.vm_size;
    change(global, args.vm, console, |machine| machine.resize(size)).await
}

async fn change(
    global: &Global,
    vm: WhichVm,
    console: &Console,
    how: impl FnOnce(&Machine) -> MachineChange,
) -> Result<u8, Failure> {
    let connection = Connection::open(global).await?;
    let result = async {
        let machine = connection.machine(&vm).await?;
        follow_saying(how(&machine).start(), console, STOPPED).await
    }
    .await;
    connection.close().await;
    let changed = result?;
    for note in &changed.notes {
        output::note(note);
    }
    match global.output {
        Format::Text => output::result(changed.machine.id.as_str())?,
        Format::Json => output::json(&Changed {
            machine: Shown::new(&changed.machine),
            notes: &changed.notes,
        })?,
    }
    Ok(0)
}
