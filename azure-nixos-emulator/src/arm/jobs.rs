//! Work of operations that takes long and is not a copy of an image: beside the requests, on a
//! thread of its own.
//!
//! What is under way is not kept: an operation that a stopped process left unfinished asks for its
//! work again, which therefore has to bear being begun twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::Arm;

/// The jobs of operations, with their results until those are taken.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<HashMap<Uuid, Option<Result<(), String>>>>);

impl Arm {
    /// The result of an operation's job, which begins with the first call; `None` while it runs.
    pub(crate) fn job(
        self: &Arc<Self>,
        operation: Uuid,
        work: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Option<Result<(), String>> {
        let mut jobs = self.jobs.0.lock().unwrap_or_else(PoisonError::into_inner);
        match jobs.entry(operation) {
            Entry::Occupied(entry) if entry.get().is_some() => entry.remove(),
            Entry::Occupied(_) => None,
            Entry::Vacant(entry) => {
                entry.insert(None);
                let arm = Arc::clone(self);
                self.copies().spawn_blocking(move || {
                    let result = work();
                    let mut jobs = arm.jobs.0.lock().unwrap_or_else(PoisonError::into_inner);
                    jobs.insert(operation, Some(result));
                });
                None
            }
        }
    }
}
