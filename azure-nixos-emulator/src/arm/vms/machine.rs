//! What a machine's power state means for the machine itself.

use uuid::Uuid;

use super::super::Context;
use super::super::answer::Result;
use crate::state::Power;

/// Brings the machine to the power state that an operation is about; `None` until it is there.
pub(super) fn power(
    _context: &mut Context<'_>,
    _operation: Uuid,
    _id: &str,
    _power: Power,
) -> Option<Result<()>> {
    Some(Ok(()))
}
