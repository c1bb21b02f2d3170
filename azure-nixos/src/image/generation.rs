//! Which Hyper-V generation an image is registered as.

use crate::disk::Generations;
use crate::{Error, ErrorKind, Generation, Result};

/// The generation to register.
///
/// The partition table decides. What the caller asked for must not contradict it; where there is
/// no table, it is believed.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when the disk cannot boot as the generation asked for.
pub(crate) fn choose(can: Generations, asked: Option<Generation>) -> Result<Generation> {
    if let Some(asked) = asked {
        if can.is_none() || can.supports(asked) {
            return Ok(asked);
        }
        let (why, build) = match asked {
            Generation::V1 => ("the disk can only be booted by UEFI", "BIOS"),
            Generation::V2 => ("the disk can only be booted by BIOS", "UEFI"),
        };
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{why}, so it cannot be registered as generation {asked}"),
        )
        .with_hint(format!(
            "leave --generation out, or build the image for {build}"
        )));
    }
    // Where the partition table says nothing, Azure's own assumption; the table's finding warns.
    Ok(can.preferred().unwrap_or(Generation::V1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Generation::{V1, V2};

    #[test]
    fn the_partition_table_decides() {
        assert_eq!(choose(Generations::V1, None).unwrap(), V1);
        assert_eq!(choose(Generations::V2, None).unwrap(), V2);
        assert_eq!(choose(Generations::BOTH, None).unwrap(), V2);
        assert_eq!(choose(Generations::BOTH, Some(V1)).unwrap(), V1);
        assert_eq!(choose(Generations::NONE, None).unwrap(), V1);
        assert_eq!(choose(Generations::NONE, Some(V2)).unwrap(), V2);
    }

    #[test]
    fn a_contradiction_is_refused() {
        for (can, asked, word) in [(Generations::V1, V2, "BIOS"), (Generations::V2, V1, "UEFI")] {
            let error = choose(can, Some(asked)).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
