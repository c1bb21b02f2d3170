//! What no scale set can have.

use std::borrow::Cow;

use super::super::identity::Identity;
use super::super::origin::{Origin, OriginKind};
use crate::arm::Named;
use crate::{Error, ErrorKind, Result};

/// The most machines of a scale set: of one that is spread over all fault domains, by Azure's documentation
/// of the orchestration modes.
pub const LARGEST_SCALE_SET: u32 = 1000;

/// The most machines from a managed image, by Azure's documentation of large scale sets. It is written
/// about the other mode, and of this one nothing else is said.
const MOST_FROM_IMAGE: u32 = 600;

/// The longest name. A machine is called as its set, an underscore and eight characters, and has at most
/// 64 characters in its name.
const LONGEST_NAME: usize = 55;

fn refuse(what: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> Result<()> {
    Err(Error::new(ErrorKind::InvalidInput, what.into()).with_hint(hint))
}

/// Everything that needs no look at Azure.
///
/// # Errors
/// [`ErrorKind::InvalidInput`].
pub(in super::super) fn check(name: &str, count: u32, identity: Option<&Identity>) -> Result<()> {
    Named::VirtualMachine.check(name)?;
    if name.len() > LONGEST_NAME {
        return refuse(
            format!("{name:?} is too long for the name of a scale set"),
            "pass at most 55 characters: Azure puts nine more behind it for the name of each machine",
        );
    }
    if count > LARGEST_SCALE_SET {
        return refuse(
            format!("a scale set cannot have {count} machines"),
            format!("pass 0 to {LARGEST_SCALE_SET}, or make several sets"),
        );
    }
    if identity == Some(&Identity::System) {
        return refuse(
            "the machines of a scale set cannot have identities of their own: Azure gives a Flexible one user-assigned identities only",
            "make one with `az identity create` and pass its name (--identity NAME)",
        );
    }
    Ok(())
}

/// What follows from what the machines are made from: a sentence worth saying, if there is one.
///
/// # Errors
/// [`ErrorKind::InvalidInput`].
pub(super) fn check_origin(origin: &Origin, count: u32, agent: bool) -> Result<Option<String>> {
    let named = origin.called();
    let named = named.trim_end_matches(',');
    match origin.kind {
        OriginKind::Disk => {
            refuse(
                format!(
                    "a scale set cannot be made from {named}: Azure makes its machines from images, not from copies of a disk"
                ),
                "put the disk into a gallery as a version of an image of the state Specialized, or pass an image; a fleet (--count without --scale-set) copies the disk for each machine",
            )?;
        }
        _ if origin.generalized && !agent => {
            refuse(
                format!(
                    "the machines of a scale set from {named} must have an agent: Azure waits for each of them to say that it is ready, and the set fails when one does not"
                ),
                "leave --no-agent out, or pass a version of a gallery's image of the state Specialized, which is not waited for",
            )?;
        }
        OriginKind::ManagedImage if count > MOST_FROM_IMAGE => {
            return Ok(Some(format!(
                "{count} machines from a managed image may be too many: Azure's documentation gives {MOST_FROM_IMAGE} for a scale set from one, and {LARGEST_SCALE_SET} from a gallery's image"
            )));
        }
        OriginKind::ManagedImage | OriginKind::GalleryVersion => {}
    }
    Ok(None)
}

/// What is said aloud of machines that nothing leads out of: unlike single machines, those of a
/// Flexible set have no way to the Internet that they did not get from somebody.
pub(super) fn no_way_out(public_ip: bool) -> Option<String> {
    (!public_ip).then(|| {
        "the machines have no public addresses, and Azure gives those of a Flexible scale set no way out of their own: they reach the Internet through a NAT gateway of their subnet only".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::origin::Security;
    use super::*;
    use crate::Generation;

    fn origin(kind: OriginKind, generalized: bool) -> Origin {
        Origin {
            id: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/x/web"
                .parse()
                .unwrap(),
            kind,
            locations: vec!["westus2".parse().unwrap()],
            generalized,
            generation: Generation::V2,
            architecture: "x64".to_owned(),
            controllers: vec!["SCSI".to_owned()],
            size_gb: 30,
            luns: Vec::new(),
            security: Security::Standard,
        }
    }

    #[test]
    fn what_it_is_made_from_decides_what_it_can_have() {
        use OriginKind::{Disk, GalleryVersion, ManagedImage};
        for (kind, generalized, count, agent, said) in [
            (ManagedImage, true, 600, true, Some(false)),
            (ManagedImage, true, 601, true, Some(true)),
            (GalleryVersion, true, 1000, true, Some(false)),
            (GalleryVersion, false, 1, false, Some(false)),
            (GalleryVersion, true, 1, false, None),
            (ManagedImage, true, 1, false, None),
            (Disk, false, 1, true, None),
        ] {
            let checked = check_origin(&origin(kind, generalized), count, agent);
            let case = format!("{kind:?} {generalized} {count} {agent}");
            match said {
                Some(said) => assert_eq!(checked.unwrap().is_some(), said, "{case}"),
                None => assert!(checked.unwrap_err().hint().is_some(), "{case}"),
            }
        }
    }

    #[test]
    fn what_no_set_can_have_is_refused_with_a_way_out() {
        check("web.example", 0, None).unwrap();
        check(
            &"x".repeat(55),
            1000,
            Some(&Identity::Name("web".to_owned())),
        )
        .unwrap();
        for (name, count, identity) in [
            ("web_1".to_owned(), 1, None),
            ("x".repeat(56), 1, None),
            ("web".to_owned(), 1001, None),
            ("web".to_owned(), 1, Some(&Identity::System)),
        ] {
            let error = check(&name, count, identity).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.hint().is_some(), "{error}");
        }
        assert!(no_way_out(false).is_some() && no_way_out(true).is_none());
    }
}
