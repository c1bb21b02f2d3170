//! What the machines are called in an inventory: names are unique in a group, and not in a
//! subscription.

use std::collections::HashMap;

use crate::{Error, ErrorKind, Result};

/// What a machine is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The name that no other machine has.
    pub(super) name: String,
    /// Other such names.
    pub(super) aliases: Vec<String>,
}

/// The name and the group as one name. Groups may have parentheses in their names, which ssh refuses
/// in the name of a host.
pub(in crate::vm) fn qualified(name: &str, group: &str) -> String {
    format!("{}.{}", plain(name), plain(group))
}

fn plain(text: &str) -> String {
    let taken = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    text.chars()
        .map(|c| if taken(c) { c } else { '-' })
        .collect()
}

/// The names of machines of these names and groups, in their order: its own for each where no other has
/// it in any case, else with the group.
///
/// # Errors
/// [`ErrorKind::Ambiguous`] when both forms are another's too: `a.b` in `c`, and `a` in `b.c`.
pub(super) fn distinguish(machines: &[(&str, &str)]) -> Result<Vec<Names>> {
    let forms: Vec<[String; 2]> = machines
        .iter()
        .map(|(name, group)| [plain(name), qualified(name, group)])
        .collect();
    let mut claims: HashMap<String, usize> = HashMap::new();
    for form in forms.iter().flatten() {
        *claims.entry(form.to_lowercase()).or_default() += 1;
    }
    let own = |form: &&String| claims.get(&form.to_lowercase()) == Some(&1);
    forms
        .iter()
        .zip(machines)
        .map(|(forms, (name, group))| {
            let mut own = forms.iter().filter(own).cloned();
            let Some(first) = own.next() else {
                return Err(Error::new(
                    ErrorKind::Ambiguous,
                    format!("{name} in {group} has no name that is its own: another machine is called {} as well", forms[1]),
                )
                .with_hint("make an inventory of each resource group: azure-nixos inventory -g GROUP"));
            };
            Ok(Names { name: first, aliases: own.collect() })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(machines: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
        let names = distinguish(machines).unwrap();
        names
            .into_iter()
            .map(|one| (one.name, one.aliases))
            .collect()
    }

    #[test]
    fn a_name_that_two_have_is_nobodys() {
        assert_eq!(
            names(&[("web", "a"), ("Web", "b(1)"), ("db", "a")]),
            [
                ("web.a".to_owned(), vec![]),
                ("Web.b-1-".to_owned(), vec![]),
                ("db".to_owned(), vec!["db.a".to_owned()]),
            ]
        );
    }

    #[test]
    fn dots_in_names_do_not_mix_machines_up() {
        // `a.b` is the first's own name and what the second would be called.
        assert_eq!(
            names(&[("a.b", "x"), ("a", "b")]),
            [("a.b.x".to_owned(), vec![]), ("a".to_owned(), vec![])]
        );
        let error =
            distinguish(&[("a.b", "c"), ("a", "b.c"), ("a", "d"), ("a.b", "d")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        assert!(error.to_string().contains("a.b in c"), "{error}");
    }
}
