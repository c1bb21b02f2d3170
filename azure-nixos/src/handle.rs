//! The handle of work that has been started.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::progress::{Phase, ProgressReceiver, ProgressSender};
use crate::{Error, ErrorKind, Result};

/// Work in the background: follow it, cancel it, or wait for its result.
///
/// # Cancellation
/// [`cancel`](Self::cancel) and dropping the handle both ask the work to stop at a clean point.
/// The work then undoes what it made, or leaves it resumable, on the runtime that started it;
/// to be sure that this is over before the program ends, call `cancel` and then
/// [`join`](Self::join), which returns an error of kind [`ErrorKind::Cancelled`].
#[derive(Debug)]
#[must_use = "a dropped operation is cancelled"]
pub struct Handle<T> {
    task: Option<JoinHandle<Result<T>>>,
    cancel: CancellationToken,
    progress: ProgressReceiver,
}

/// What a piece of work is given: where to say how far it is, and when to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    pub(crate) progress: ProgressSender,
    pub(crate) cancel: CancellationToken,
}

impl Work {
    /// The same work, which can also be told to stop by itself.
    pub(crate) fn child(&self) -> Self {
        Self {
            progress: self.progress.clone(),
            cancel: self.cancel.child_token(),
        }
    }

    /// Fails when the caller has cancelled; called between steps.
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        Ok(())
    }

    /// Runs a step that may be dropped at any await: for steps that create nothing.
    pub(crate) async fn interruptible<T>(
        &self,
        step: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Error::cancelled()),
            result = step => result,
        }
    }
}

impl<T: Send + 'static> Handle<T> {
    /// Starts work on the current tokio runtime.
    pub(crate) fn spawn<F, R>(run: F) -> Self
    where
        F: FnOnce(Work) -> R,
        R: Future<Output = Result<T>> + Send + 'static,
    {
        let work = Work::default();
        let cancel = work.cancel.clone();
        let progress = work.progress.subscribe();
        let last = work.progress.clone();
        let future = run(work);
        let task = tokio::spawn(async move {
            let result = future.await;
            last.phase(Phase::Done, "");
            result
        });
        Self {
            task: Some(task),
            cancel,
            progress,
        }
    }

    /// The progress, to be read with [`ProgressReceiver::changed`]; clone it to read it elsewhere.
    pub fn progress(&mut self) -> &mut ProgressReceiver {
        &mut self.progress
    }

    /// Asks the work to stop. Returns at once; [`join`](Self::join) waits for the end.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// A token that cancels this work, for a signal handler or a deadline elsewhere.
    #[must_use]
    pub fn cancellation_token(&self) -> CancelHandle {
        CancelHandle(self.cancel.clone())
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// Whatever the work failed with; [`ErrorKind::Cancelled`] when it was cancelled.
    ///
    /// # Cancellation
    /// Dropping this future cancels the work.
    pub async fn join(mut self) -> Result<T> {
        let Some(task) = self.task.as_mut() else {
            return Err(Error::new(
                ErrorKind::Internal,
                "the operation was joined twice",
            ));
        };
        let result = task.await;
        self.task = None;
        match result {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => Err(Error::cancelled()),
            Err(error) => Err(Error::new(
                ErrorKind::Internal,
                "the operation stopped by a defect of this library",
            )
            .with_source(error)),
        }
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if self.task.is_some() {
            self.cancel.cancel();
        }
    }
}

/// Cancels an [`Handle`] from elsewhere. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct CancelHandle(CancellationToken);

impl CancelHandle {
    /// Asks the work to stop at a clean point.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_handle_cancels_and_the_work_still_cleans_up() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let handle = Handle::spawn(|work| async move {
            work.cancel.cancelled().await;
            let _ = sender.send("cleaned up");
            Err::<(), _>(Error::cancelled())
        });
        drop(handle);
        assert_eq!(receiver.await, Ok("cleaned up"));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_a_panic() {
        let handle = Handle::spawn(|_| async { panic!("on purpose") as Result<()> });
        assert_eq!(handle.join().await.unwrap_err().kind(), ErrorKind::Internal);
    }

    #[tokio::test]
    async fn progress_ends_with_the_work() {
        let mut handle = Handle::spawn(|work| async move {
            work.progress.phase(Phase::Building, "x");
            Ok(7)
        });
        let mut last = Phase::Starting;
        while let Some(progress) = handle.progress().changed().await {
            last = progress.phase;
        }
        assert_eq!(last, Phase::Done);
        assert_eq!(handle.join().await.unwrap(), 7);
    }
}
