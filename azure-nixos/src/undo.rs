//! Taking back what was made, when something after it fails.
//!
//! A step is noted before the request that makes the thing is sent: a request whose answer is lost
//! may have made it all the same. Every step tolerates that there is nothing to take back.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream;

use crate::arm::TRIES;
use crate::handle::Work;
use crate::progress::Phase;
use crate::{Error, ErrorKind, Result};

/// Time for one step. Deleting takes seconds; what takes longer is named and left.
const STEP: Duration = Duration::from_secs(600);

/// Things that are taken back side by side: as many as machines are made at a time.
pub(crate) const AT_A_TIME: usize = 8;

/// Steps that take back what was made, to be run last first.
#[derive(Default)]
pub(crate) struct Undo {
    steps: Vec<Step>,
    kept: Vec<String>,
}

enum Step {
    One {
        what: String,
        run: Box<dyn FnOnce() -> BoxFuture<'static, Result<()>> + Send>,
    },
    /// Things of which none needs another, each with steps of its own.
    Beside(Vec<Undo>),
}

/// What became of the steps.
#[derive(Default)]
struct Outcome {
    undone: Vec<String>,
    left: Vec<String>,
    kept: Vec<String>,
}

impl Undo {
    /// Notes how to take back a thing, named as in a sentence: `the disk web`.
    pub(crate) fn push<F>(
        &mut self,
        what: impl Into<String>,
        run: impl FnOnce() -> F + Send + 'static,
    ) where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.steps.push(Step::One {
            what: what.into(),
            run: Box::new(move || Box::pin(run())),
        });
    }

    /// Notes what was made side by side, to be taken back side by side.
    pub(crate) fn push_beside(&mut self, others: Vec<Self>) {
        let some = |undo: &Self| !undo.steps.is_empty() || !undo.kept.is_empty();
        let others: Vec<Self> = others.into_iter().filter(some).collect();
        if !others.is_empty() {
            self.steps.push(Step::Beside(others));
        }
    }

    /// Strikes out the newest step when the request for its thing was [refused](made_nothing).
    pub(crate) fn strike_if_refused(&mut self, error: &Error) {
        if made_nothing(error) {
            self.steps.pop();
        }
    }

    /// Notes a thing that stays on failure, and why: it can be gone on with.
    pub(crate) fn keep(&mut self, what: impl Into<String>) {
        self.kept.push(what.into());
    }

    /// Notes that nothing is to be taken back, and why: what was made can be gone on with.
    pub(crate) fn keep_everything(&mut self, why: &str) {
        let steps = std::mem::take(&mut self.steps);
        if !steps.is_empty() {
            let names: Vec<_> = steps.iter().flat_map(Step::names).collect();
            self.kept.push(format!("{}: {why}", names.join(", ")));
        }
    }

    /// Whether something stays on failure.
    pub(crate) fn keeps_something(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The result, with everything undone if it is an error; the error then says what became of
    /// what was made.
    pub(crate) async fn finish<T>(self, work: &Work, result: Result<T>) -> Result<T> {
        let mut error = match result {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let Outcome { undone, left, kept } = self.run(work).await;
        if !undone.is_empty() {
            error = error.with_context("taken away again", undone.join(", "));
        }
        if !kept.is_empty() {
            error = error.with_context("left as it was", kept.join(", "));
        }
        if !left.is_empty() {
            error = error
                .with_context("left behind", left.join(", "))
                .with_hint("delete by hand what was left behind: it costs money");
        }
        Err(error)
    }
}

impl Undo {
    /// Takes everything back, last first.
    fn run(self, work: &Work) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            let mut outcome = Outcome {
                kept: self.kept,
                ..Outcome::default()
            };
            for step in self.steps.into_iter().rev() {
                match step {
                    Step::One { what, run } => {
                        work.progress.phase(Phase::Undoing, what.clone());
                        let result = tokio::time::timeout(STEP, run())
                            .await
                            .unwrap_or_else(|_| Err(timed_out(&what)));
                        match result {
                            Ok(()) => outcome.undone.push(what),
                            Err(failed) => {
                                tracing::warn!("{what} is left behind: {failed}");
                                outcome.left.push(format!("{what} ({failed})"));
                            }
                        }
                    }
                    Step::Beside(others) => {
                        let all: Vec<_> = others.into_iter().map(|undo| undo.run(work)).collect();
                        let all: Vec<Outcome> =
                            stream::iter(all).buffered(AT_A_TIME).collect().await;
                        for one in all {
                            outcome.undone.extend(one.undone);
                            outcome.left.extend(one.left);
                            outcome.kept.extend(one.kept);
                        }
                    }
                }
            }
            outcome
        })
    }
}

impl Step {
    fn names(&self) -> Vec<String> {
        match self {
            Self::One { what, .. } => vec![what.clone()],
            Self::Beside(others) => others
                .iter()
                .flat_map(|undo| &undo.steps)
                .flat_map(Self::names)
                .collect(),
        }
    }
}

/// Whether this answer to a request that was to make something says that nothing was made. Deleting
/// it all the same would end in the claim that it was taken away, or that it was left behind.
///
/// A request that was sent more than once may have made it with a try whose answer was lost.
pub(crate) fn made_nothing(error: &Error) -> bool {
    let once = error.context().all(|(key, _)| key != TRIES);
    once && error
        .status()
        .is_some_and(|status| (400..500).contains(&status) && status != 408)
}

fn timed_out(what: &str) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("{what} is still there after ten minutes"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn note(log: &Arc<Mutex<Vec<&'static str>>>, undo: &mut Undo, what: &'static str, good: bool) {
        let log = Arc::clone(log);
        undo.push(what, move || async move {
            log.lock().unwrap().push(what);
            if good {
                Ok(())
            } else {
                Err(Error::new(ErrorKind::Conflict, "it is in use"))
            }
        });
    }

    #[tokio::test]
    async fn steps_run_backwards_and_one_failure_stops_none() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut undo = Undo::default();
        note(&log, &mut undo, "the group", true);
        note(&log, &mut undo, "the disk", false);
        note(&log, &mut undo, "the access", true);
        undo.keep("the disk of yesterday");
        let failed = Err::<(), _>(Error::new(ErrorKind::Network, "gone"));
        let error = undo.finish(&Work::default(), failed).await.unwrap_err();
        assert_eq!(
            *log.lock().unwrap(),
            ["the access", "the disk", "the group"]
        );
        assert_eq!(
            error.context().collect::<Vec<_>>(),
            [
                ("taken away again", "the access, the group"),
                ("left as it was", "the disk of yesterday"),
                ("left behind", "the disk (it is in use)"),
            ]
        );
        assert_eq!(error.kind(), ErrorKind::Network);
    }

    #[tokio::test]
    async fn what_was_made_side_by_side_is_taken_back_so_and_each_backwards() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut undo = Undo::default();
        note(&log, &mut undo, "the network", true);
        let (mut one, mut two) = (Undo::default(), Undo::default());
        note(&log, &mut one, "address 1", true);
        note(&log, &mut one, "machine 1", false);
        note(&log, &mut two, "address 2", true);
        two.keep("the disk");
        undo.push_beside(vec![one, Undo::default(), two]);
        undo.push_beside(vec![Undo::default()]);
        let failed = Err::<(), _>(Error::cancelled());
        let error = undo.finish(&Work::default(), failed).await.unwrap_err();
        let log = log.lock().unwrap();
        let at = |what| log.iter().position(|one| *one == what).unwrap();
        assert!(at("machine 1") < at("address 1"), "{log:?}");
        assert_eq!(at("the network"), 3, "{log:?}");
        assert_eq!(
            error.context().collect::<Vec<_>>(),
            [
                ("taken away again", "address 1, address 2, the network"),
                ("left as it was", "the disk"),
                ("left behind", "machine 1 (it is in use)"),
            ]
        );
    }

    #[tokio::test]
    async fn what_was_refused_is_not_said_to_be_taken_away() {
        let refusal = |status| Error::new(ErrorKind::Forbidden, "no").with_status(status);
        for (error, struck) in [
            (refusal(403), true),
            (refusal(409), true),
            (refusal(408), false),
            (refusal(500), false),
            // A failed operation, not a refused request.
            (refusal(200), false),
            // An earlier try may have been carried out.
            (refusal(403).with_context(TRIES, 2), false),
            (Error::new(ErrorKind::Network, "gone"), false),
        ] {
            let log = Arc::new(Mutex::new(Vec::new()));
            let mut undo = Undo::default();
            note(&log, &mut undo, "the group", true);
            note(&log, &mut undo, "the disk", true);
            undo.strike_if_refused(&error);
            let error = undo
                .finish::<()>(&Work::default(), Err(error))
                .await
                .unwrap_err();
            assert_eq!(
                log.lock().unwrap().len(),
                if struck { 1 } else { 2 },
                "{error:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_can_be_gone_on_with_is_kept_and_named() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut undo = Undo::default();
        note(&log, &mut undo, "the group", true);
        note(&log, &mut undo, "the disk", true);
        undo.keep_everything("to go on from");
        note(&log, &mut undo, "the access", true);
        let failed = Err::<(), _>(Error::new(ErrorKind::Network, "gone"));
        let error = undo.finish(&Work::default(), failed).await.unwrap_err();
        assert_eq!(*log.lock().unwrap(), ["the access"]);
        assert!(
            error.context().any(|(key, what)| key == "left as it was"
                && what == "the group, the disk: to go on from"),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_success_undoes_nothing() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut undo = Undo::default();
        note(&log, &mut undo, "the group", true);
        undo.finish(&Work::default(), Ok(())).await.unwrap();
        assert!(log.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_hangs_is_named() {
        let mut undo = Undo::default();
        undo.push("the group", std::future::pending);
        let failed = Err::<(), _>(Error::cancelled());
        let error = undo.finish(&Work::default(), failed).await.unwrap_err();
        assert!(error.context().any(|(key, _)| key == "left behind"));
    }
}
