//! Time that passes faster, for the client and the local Azure alike.

use std::future::Future;
use std::time::Duration;

use tokio::time;

/// So much time passes …
const STEP: Duration = Duration::from_millis(400);
/// … in so much.
const TAKES: Duration = Duration::from_millis(2);

/// Runs a future while time goes up to two hundred times as fast for everything on this runtime, which must be
/// one of a single thread. Time stands still while something is being done on that thread, so a busy
/// machine makes no deadline pass sooner.
pub(crate) async fn in_haste<T>(future: impl Future<Output = T>) -> T {
    time::pause();
    let hours_fly = async {
        loop {
            // While blocking work is under way, tokio does not set the clock forward by itself.
            tokio::task::spawn_blocking(|| std::thread::sleep(TAKES))
                .await
                .unwrap();
            time::advance(STEP).await;
        }
    };
    let output = tokio::select! {
        biased;
        output = future => output,
        () = hours_fly => unreachable!("it has no end"),
    };
    time::resume();
    output
}
