//! Microsoft's OpenAPI documents as the judge of what clients ask and of what the local Azure answers.
//!
//! [`Judge::find`] reads the documents, which are not part of this repository; [`Judge::judge`] holds
//! requests against them. What is found and stays is listed as a [`Deviation`] with its reason, and
//! [`assert_explained`] is content when the list is exact.

mod azure;
mod documents;
mod exchange;
mod finding;
mod operations;
mod schema;
mod trial;
mod versions;

use std::path::{Path, PathBuf};

use azure_nixos_emulator::RecordedRequest;

pub use self::azure::{AZURE, AZURE_ELSEWHERE};
pub use self::exchange::Exchange;
pub use self::finding::{
    Deviation, Finding, Rule, Side, assert_exact, assert_explained, unexplained,
};

use self::documents::Documents;
use self::trial::Trial;
use self::versions::Versions;

/// The directory with recordings and documents, which is found beside this repository.
#[must_use]
pub fn shared() -> Option<PathBuf> {
    let place = std::env::var_os("AZURE_NIXOS_RECORDINGS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/arm"),
        PathBuf::from,
    );
    if place.join("specs").is_dir() && place.join("golden").is_dir() {
        return Some(place);
    }
    eprintln!(
        "SKIPPED: there are no documents and recordings in {} (AZURE_NIXOS_RECORDINGS names another place)",
        place.display()
    );
    None
}

/// Holds requests against the documents; nothing when those are not there, which it says aloud.
#[must_use]
pub fn judge(requests: &[RecordedRequest]) -> Vec<Finding> {
    Judge::find().map_or_else(Vec::new, |judge| judge.judge(requests))
}

/// The documents.
#[derive(Debug)]
pub struct Judge {
    documents: Documents,
    place: PathBuf,
}

impl Judge {
    /// Reads the documents, where they are.
    #[must_use]
    pub fn find() -> Option<Self> {
        let place = shared()?;
        Some(Self {
            documents: Documents::load(&place.join("specs")),
            place,
        })
    }

    /// Holds requests to the local Azure and its answers against the documents.
    #[must_use]
    pub fn judge(&self, requests: &[RecordedRequest]) -> Vec<Finding> {
        let exchanges: Vec<Exchange> = requests.iter().map(Exchange::from).collect();
        self.judge_exchanges(&exchanges)
    }

    /// The same for requests of any origin, in the order in which they were sent: what may be asked
    /// about a long-running operation depends on what was answered before.
    #[must_use]
    pub fn judge_exchanges(&self, exchanges: &[Exchange]) -> Vec<Finding> {
        let operations = operations::all(&self.documents);
        let versions = Versions::load(&self.place, &operations);
        let mut trial = Trial::new(&self.documents, operations, versions);
        for exchange in exchanges {
            trial.hear(exchange);
        }
        trial.findings()
    }

    /// The id of the operation that a request is.
    #[must_use]
    pub fn operation(&self, method: &str, path_and_query: &str) -> Option<String> {
        let path = path_and_query.split('?').next().unwrap_or_default();
        let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let operations = operations::all(&self.documents);
        operations::find(&operations, method, &path, None).map(|found| found.id.to_owned())
    }
}
