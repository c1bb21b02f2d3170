//! What is not known of Azure, and can be assumed in another way.
//!
//! Where no recording, document or report shows what Azure does, the local one does what is most
//! likely. A client must not depend on it: each alternative can be tried.

/// An alternative to what the local Azure does by default, in a place where nothing shows what Azure
/// does; see [`EmulatorBuilder::assume`](crate::EmulatorBuilder::assume).
///
/// More alternatives have settings of their own:
/// [`versions_from_disks`](crate::EmulatorBuilder::versions_from_disks),
/// [`role_replication_despite_type`](crate::EmulatorBuilder::role_replication_despite_type),
/// [`sas_shape`](crate::EmulatorBuilder::sas_shape).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Assumption {
    /// Deleting a disk to which somebody has access is taken, and ends the access. By default it is
    /// refused: the documentation says so of other things that are done to such a disk.
    AccessEndsWithDisk,
    /// Where an access stands against something, the refusal is `400 BadRequest`. By default it is
    /// `409 OperationNotAllowed`. The message is documented, the code is not.
    ActiveAccessIsBadRequest,
    /// Ending the access to an upload without a good footer is refused at once. By default it is taken
    /// and the operation fails. Reports show the error, not when it comes; the access ends either way.
    BadVhdIsRefusedAtOnce,
    /// While an operation on compute resources runs, what is behind its `Location` is answered with
    /// an empty 200. By default it is 202. Recordings only show it at the end.
    ResultIsEmptyWhileRunning,
    /// A disk stays `ReadyToUpload` until the access to it ends. By default it is `ActiveUpload` from
    /// the moment the access is granted.
    UploadIsNotShown,
    /// A request for a network resource that another one is changing is refused with `409
    /// AnotherOperationInProgress`. By default it is `429 RetryableErrorDueToAnotherOperation`, which
    /// the documentation has, beside the other.
    BusyNetworkIsConflict,
    /// What is being deleted cannot be read any more. By default it is there until its deletion ends,
    /// and says `Deleting`.
    DeletingIsGone,
    /// A public address of Standard SKU without zones is taken for a machine in a zone. By default it is
    /// refused, as reports have it of addresses that are regional; newer documentation says that those
    /// are spread over the zones.
    RegionalAddressFitsZone,
}

impl Assumption {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::AccessEndsWithDisk,
        Self::ActiveAccessIsBadRequest,
        Self::BadVhdIsRefusedAtOnce,
        Self::ResultIsEmptyWhileRunning,
        Self::UploadIsNotShown,
        Self::BusyNetworkIsConflict,
        Self::DeletingIsGone,
        Self::RegionalAddressFitsZone,
    ];
}
