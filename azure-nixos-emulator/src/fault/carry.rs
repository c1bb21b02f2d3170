//! What a fault does to a request and to its answer.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;

use super::FaultAction;

/// How long a connection has to send what it was given before it breaks.
const FLUSH: Duration = Duration::from_millis(50);

/// What a fault does to the bytes that a request writes; an extension of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Harm {
    #[default]
    None,
    /// They are not written.
    Lost,
    /// They are written with this bit flipped, counted modulo the length.
    Flipped(u64),
}

impl Harm {
    /// The harm of an action.
    pub(crate) fn of(action: &FaultAction) -> Self {
        match action {
            FaultAction::LoseUpdate => Self::Lost,
            FaultAction::CorruptStored(bit) => Self::Flipped(*bit),
            _ => Self::None,
        }
    }

    /// The bytes as they are to be stored.
    pub(crate) fn apply(self, chunks: Vec<Bytes>) -> Vec<Bytes> {
        let Self::Flipped(bit) = self else {
            return chunks;
        };
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let mut flip = Flip::new(bit, length);
        chunks.into_iter().map(|chunk| flip.pass(chunk)).collect()
    }
}

/// Flips one bit of bytes that come in pieces.
struct Flip {
    /// The byte, counted from the piece that comes next; `None` when there is none, or it is past.
    byte: Option<u64>,
    mask: u8,
}

impl Flip {
    fn new(bit: u64, length: u64) -> Self {
        Self {
            byte: (bit / 8).checked_rem(length),
            mask: 1 << (bit % 8),
        }
    }

    fn pass(&mut self, piece: Bytes) -> Bytes {
        let Some(byte) = self.byte else {
            return piece;
        };
        match byte.checked_sub(piece.len() as u64) {
            Some(left) => {
                self.byte = Some(left);
                piece
            }
            None => {
                self.byte = None;
                let mut flipped = piece.to_vec();
                // Below the length, which is that of memory.
                flipped[byte as usize] ^= self.mask;
                flipped.into()
            }
        }
    }
}

/// The connection is to break instead of an answer. hyper drops the connection when its service
/// fails with this.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is broken on purpose")]
pub(crate) struct ConnectionReset;

/// An answer that stands for a broken connection.
///
/// hyper gives up the connection when the body fails before the head has been flushed, so the
/// client sees it break without a byte of an answer. An answer to HEAD has no body that could
/// fail: the server must also pass every answer through [`deliver`].
pub(crate) fn reset() -> Response {
    let broken = futures::stream::once(async { Err::<Bytes, _>(ConnectionReset) });
    let mut response = Response::new(Body::from_stream(broken));
    response.extensions_mut().insert(ConnectionReset);
    response
}

/// What the hyper service of a server returns for an answer of the router.
pub(crate) fn deliver(response: Response) -> Result<Response, ConnectionReset> {
    match response.extensions().get::<ConnectionReset>() {
        Some(reset) => Err(*reset),
        None => Ok(response),
    }
}

/// The answer to a request that was served, as its fault leaves it.
pub(crate) async fn spoil(action: &FaultAction, method: &Method, response: Response) -> Response {
    match action {
        FaultAction::ResetAfter => reset(),
        FaultAction::EndlessBody => endless(method, response),
        FaultAction::HalfBody => half(method, response, Duration::ZERO).await,
        FaultAction::StallBody(time) => half(method, response, *time).await,
        FaultAction::CorruptRead(bit) if response.status().is_success() => flipped(response, *bit),
        _ => response,
    }
}

/// The bytes that the body of an answer has, where that is known.
fn length(response: &Response) -> Option<u64> {
    response.body().size_hint().exact().or_else(|| {
        let announced = response.headers().get(header::CONTENT_LENGTH)?;
        announced.to_str().ok()?.parse().ok()
    })
}

/// The head with the whole length and half of the body, silence, and then the end.
async fn half(method: &Method, response: Response, silence: Duration) -> Response {
    let length = length(&response).unwrap_or_default();
    if length == 0 || method == Method::HEAD {
        tokio::time::sleep(silence).await;
        return reset();
    }
    let (mut parts, body) = response.into_parts();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let pieces = body.into_data_stream();
    let state = (pieces, length / 2);
    let first = futures::stream::try_unfold(state, |(mut pieces, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        match pieces.next().await {
            None => Ok(None),
            Some(Err(error)) => Err(error),
            Some(Ok(mut piece)) => {
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - piece.len() as u64;
                Ok(Some((piece, (pieces, left))))
            }
        }
    });
    // While this waits, hyper sends what it has; without a wait it would drop it with the rest.
    let end = futures::stream::once(async move {
        tokio::time::sleep(silence.max(FLUSH)).await;
        Err::<Bytes, _>(axum::Error::new(ConnectionReset))
    });
    Response::from_parts(parts, Body::from_stream(first.chain(end)))
}

/// The head of the answer without a length, and zeros for ever.
fn endless(method: &Method, response: Response) -> Response {
    // These end with their head, whatever it says.
    if method == Method::HEAD || response.status() == StatusCode::NO_CONTENT {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let piece = Bytes::from_static(&[0; 16 << 10]);
    let pieces = futures::stream::repeat_with(move || Ok::<_, axum::Error>(piece.clone()));
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// Reads half of a body of this length, as a server does that fails in the middle of it.
pub(crate) async fn reset_during(mut body: Body, length: u64) -> Response {
    let mut left = length / 2;
    while left > 0 {
        match body.frame().await {
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, Bytes::len);
                left = left.saturating_sub(size as u64);
            }
            // The client was faster.
            _ => break,
        }
    }
    reset()
}

/// The same answer with one bit of its body flipped.
fn flipped(response: Response, bit: u64) -> Response {
    let Some(length) = length(&response) else {
        return response;
    };
    let mut flip = Flip::new(bit, length);
    let (parts, body) = response.into_parts();
    let pieces = body
        .into_data_stream()
        .map(move |piece| piece.map(|piece| flip.pass(piece)));
    Response::from_parts(parts, Body::from_stream(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_bit_is_flipped_wherever_it_falls() {
        let whole: Vec<u8> = (0..=255).collect();
        for bit in [0, 7, 8, 100, 799, 800, 2047, 2048, u64::MAX] {
            let chunks: Vec<Bytes> = [&whole[..100], &whole[100..100], &whole[100..]]
                .map(Bytes::copy_from_slice)
                .to_vec();
            let stored = Harm::Flipped(bit).apply(chunks).concat();
            let differ: Vec<u8> = whole.iter().zip(&stored).map(|(a, b)| a ^ b).collect();
            assert_eq!(stored.len(), whole.len());
            assert_eq!(differ.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
            let byte = (bit / 8 % 256) as usize;
            assert_eq!(differ[byte], 1 << (bit % 8), "{bit}");
        }
        assert!(Harm::Flipped(9).apply(Vec::new()).is_empty());
    }
}
