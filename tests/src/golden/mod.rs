//! Recordings of the real Azure, played against the local one.
//!
//! A [`Recording`] is one operation as it was seen: the request that begins it, the questions after
//! it, and the read at the end. [`replay`] sends the same to a local Azure and says where its answers
//! are [different](Difference). The recordings are not part of this repository.

mod difference;
mod recording;
mod replay;

pub use self::difference::{Difference, Listed, assert_listed};
pub use self::recording::{Interaction, Recording, recorded_errors, recordings};
pub use self::replay::{Replayed, is_not_there, replay};
