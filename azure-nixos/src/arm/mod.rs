//! Azure Resource Manager: the client, long-running operations, errors, and small models of the
//! resources on the way from a disk image to a machine.
//!
//! Here live the requests and what they mean; the order in which they are made, and what is undone
//! when one fails, live in [`image`](crate::image) and [`vm`](crate::vm). The models hold only what
//! this library sends or reads. A field that Azure adds is ignored; one that it leaves out is empty.
//!
//! The versions of the API are those of which real traffic was recorded, one constant beside each
//! resource type.

pub mod authorization;
mod client;
pub mod compute;
mod error;
mod id;
mod names;
pub mod network;
mod operation;
mod parts;
#[cfg(test)]
pub(crate) mod replay;
mod resources;
mod usages;

pub use client::Client;
pub(crate) use client::TRIES;
pub use error::ServiceError;
pub use id::{Location, ResourceId};
pub use names::Named;
pub use operation::Operation;
pub(crate) use parts::{Part, PartKind};
pub(crate) use resources::nearest;
pub use resources::{AnyResource, Provider, ProviderType, Region, ResourceGroup, SubscriptionInfo};
pub(crate) use usages::ALL_CORES;
pub use usages::{Usage, UsageName};

use serde::{Deserialize, Deserializer};

/// Azure writes `null` where it means nothing at all.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
