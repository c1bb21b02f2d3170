//! Ctrl-C, and polite requests to end.
//!
//! Once anything has listened for a signal it does not end the program by itself any more. So there is
//! one listener, from the first wait to the end: a Ctrl-C between two waits is not lost.

use std::sync::{Arc, Mutex, PoisonError};

use azure_nixos::{CancelHandle, Error};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::output;
use crate::run::CANCELLED;

/// The signals that ask to end. None is missed from the moment that this is made.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Signals {
    /// One that cannot be listened for goes on ending the program by itself.
    pub(crate) fn listen() -> Self {
        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
        }
    }

    /// Waits for the next of them.
    pub(crate) async fn next(&mut self) {
        async fn one(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = one(&mut self.interrupt) => {}
            () = one(&mut self.terminate) => {}
        }
    }
}

/// What Ctrl-C does. The first one cancels the operation that runs, which takes away what it made;
/// the second, and one while no operation runs, ends the program at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupts(Arc<Mutex<Watched>>);

#[derive(Debug, Default)]
struct Watched {
    listening: bool,
    running: Option<Running>,
    /// Whether anything has run that makes or changes things.
    has_changed: bool,
}

#[derive(Debug)]
enum Running {
    /// An operation, and what is said when it is cancelled.
    Operation(CancelHandle, &'static str),
    /// Something that can be left at any point.
    Wait(Arc<Notify>),
}

impl Interrupts {
    /// From here on Ctrl-C cancels an operation.
    pub(crate) fn watch(&self, operation: CancelHandle, cancelling: &'static str) {
        self.run(Running::Operation(operation, cancelling));
    }

    /// What was watched is over.
    pub(crate) fn unwatch(&self) {
        self.watched(|watched| watched.running = None);
    }

    /// Waits for what changes nothing, or for Ctrl-C.
    pub(crate) async fn around<T, E: From<Error>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let left = Arc::new(Notify::new());
        self.run(Running::Wait(Arc::clone(&left)));
        let result = tokio::select! {
            biased;
            () = left.notified() => Err(Error::cancelled().into()),
            result = work => result,
        };
        self.unwatch();
        result
    }

    fn watched<T>(&self, look: impl FnOnce(&mut Watched) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn run(&self, running: Running) {
        let is_first = self.watched(|watched| {
            watched.has_changed |= matches!(running, Running::Operation(..));
            watched.running = Some(running);
            !std::mem::replace(&mut watched.listening, true)
        });
        if is_first {
            let mut signals = Signals::listen();
            let own = self.clone();
            tokio::spawn(async move {
                loop {
                    signals.next().await;
                    own.interrupt();
                }
            });
        }
    }

    fn interrupt(&self) {
        match self.watched(|watched| watched.running.take()) {
            Some(Running::Operation(operation, cancelling)) => {
                output::note(cancelling);
                operation.cancel();
            }
            // The permit stays until somebody waits.
            Some(Running::Wait(left)) => left.notify_one(),
            None => {
                if self.watched(|watched| watched.has_changed) {
                    output::note("ended at once; something may be left behind");
                }
                std::process::exit(i32::from(CANCELLED));
            }
        }
    }
}
