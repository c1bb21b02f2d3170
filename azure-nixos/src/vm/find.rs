//! Finding a machine by its name alone: `NAME`, or `NAME.GROUP` where two groups have the name.

use super::inventory::qualified;
use super::machines::hint;
use crate::{Error, ErrorKind, Result};

/// A machine: its name, and its group.
type Place<'a> = (&'a str, &'a str);

/// Whether somebody who says `wanted` may mean the machine of this name in this group. Upper and lower case
/// are the same.
pub(super) fn is_called((name, group): Place<'_>, wanted: &str) -> bool {
    let forms = [
        name.to_owned(),
        format!("{name}.{group}"),
        qualified(name, group),
    ];
    let wanted = wanted.to_lowercase();
    forms.iter().any(|form| form.to_lowercase() == wanted)
}

/// The one machine that is meant.
///
/// # Errors
/// [`ErrorKind::NotFound`] when it is none of them, [`ErrorKind::Ambiguous`] when it may be several.
pub(super) fn the_one<'a>(machines: &[Place<'a>], wanted: &str) -> Result<Place<'a>> {
    let mut meant: Vec<Place<'_>> = machines
        .iter()
        .copied()
        .filter(|machine| is_called(*machine, wanted))
        .collect();
    match *meant {
        [one] => Ok(one),
        [] => Err(unknown(machines, wanted)),
        _ => {
            meant.sort_unstable();
            let places: Vec<String> = meant
                .iter()
                .map(|(name, group)| format!("-g {group} -n {name}"))
                .collect();
            Err(Error::new(
                ErrorKind::Ambiguous,
                format!("{wanted} may be any of {} machines", meant.len()),
            )
            .with_hint(format!("say which: {}", places.join(", or "))))
        }
    }
}

/// That none of the machines is called so.
pub(super) fn unknown(machines: &[Place<'_>], wanted: &str) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("there is no machine {wanted}"));
    if machines.is_empty() {
        return error.with_hint(
            "there are no machines at all; `azure-nixos list-vms` lists those that this login sees",
        );
    }
    let names = machines.iter().map(|(name, _)| *name).collect();
    error.with_hint(hint(wanted, names, "there are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINES: [Place<'_>; 6] = [
        ("web", "a"),
        ("Web", "b(1)"),
        ("db", "a"),
        ("x.y", "z"),
        ("x", "y.z"),
        ("alone.in", "c"),
    ];

    fn found(wanted: &str) -> Place<'_> {
        the_one(&MACHINES, wanted).unwrap()
    }

    #[test]
    fn a_name_that_only_one_has_is_enough() {
        assert_eq!(found("DB"), ("db", "a"));
        assert_eq!(found("db.A"), ("db", "a"));
        assert_eq!(found("alone.in"), ("alone.in", "c"));
        // As an inventory writes it, and as it is.
        assert_eq!(found("web.b-1-"), ("Web", "b(1)"));
        assert_eq!(found("web.b(1)"), ("Web", "b(1)"));
    }

    #[test]
    fn a_name_of_several_is_refused_with_all_of_them() {
        let error = the_one(&MACHINES, "web").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        assert_eq!(error.to_string(), "web may be any of 2 machines");
        assert_eq!(
            error.hint(),
            Some("say which: -g b(1) -n Web, or -g a -n web")
        );
        // The name and the group of one are those of another, cut elsewhere.
        let error = the_one(&MACHINES, "x.y.z").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        assert_eq!(found("x.y"), ("x.y", "z"));
    }

    #[test]
    fn a_name_of_nobody_is_refused_with_those_that_there_are() {
        let error = the_one(&MACHINES, "dbb").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.hint(), Some("did you mean db?"));
        let error = the_one(&[], "db").unwrap_err();
        assert!(error.hint().unwrap().contains("no machines at all"));
    }
}
