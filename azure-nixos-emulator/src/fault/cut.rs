//! A connection that is cut after a number of bytes, in the middle of whatever they are.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream with bytes left to go over it, both ways together. It lies below TLS, so that where it ends
/// is no boundary of anything, and no end of TLS is announced.
#[derive(Debug)]
pub(crate) struct Cut<S> {
    stream: S,
    /// `None` when it is never cut.
    left: Option<u64>,
}

impl<S> Cut<S> {
    pub(crate) fn after(left: Option<u64>, stream: S) -> Self {
        Self { stream, left }
    }

    /// How many of so many bytes may go. None of them is the end.
    fn allowed(&self, wanted: usize) -> io::Result<usize> {
        match self.left {
            None => Ok(wanted),
            Some(0) => Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the connection is cut on purpose",
            )),
            Some(left) => Ok(usize::try_from(left).unwrap_or(usize::MAX).min(wanted)),
        }
    }

    fn passed(&mut self, bytes: usize) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes as u64);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left.is_none() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let allowed = self.allowed(buffer.remaining())?;
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(allowed));
        let read = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let filled = part.filled().len();
        buffer.advance(filled);
        self.passed(filled);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let allowed = self.allowed(bytes.len())?;
        let written = Pin::new(&mut self.stream).poll_write(context, &bytes[..allowed]);
        if let Poll::Ready(Ok(bytes)) = written {
            self.passed(bytes);
        }
        written
    }

    /// Most connections are never cut: they lose nothing by what could be.
    fn is_write_vectored(&self) -> bool {
        self.left.is_none() && self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.left.is_none() {
            return Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        }
        let first = pieces.iter().find(|piece| !piece.is_empty());
        self.poll_write(context, first.map_or(&[], |piece| piece))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn exactly_so_many_bytes_pass_both_ways_together() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut near = Cut::after(Some(10), near);
        far.write_all(b"abcdef").await.unwrap();
        let mut read = [0; 6];
        near.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"abcdef");
        let error = near.write_all(b"0123456").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(near.read_u8().await.is_err());
        drop(near);
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"0123");

        let (mut far, near) = tokio::io::duplex(64);
        let mut near = Cut::after(None, near);
        far.write_all(b"abc").await.unwrap();
        drop(far);
        let mut whole = Vec::new();
        near.read_to_end(&mut whole).await.unwrap();
        assert_eq!(whole, b"abc");
    }
}
