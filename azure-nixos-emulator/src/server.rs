//! Accepts connections and carries HTTP/1.1 over them, with TLS for Resource Manager and login, and
//! with or without for page blobs, as each client likes. What is answered is decided elsewhere.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blob::Secure;
use crate::error::EmulatorError;
use crate::fault::{Cut, Faults, Plane, deliver};

/// How long a connection may take for its first byte, and then for its TLS handshake, before it is
/// given up.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// How long an answer that is under way may take once it is to stop.
const GRACE: Duration = Duration::from_secs(5);

/// The first byte of a TLS connection: a record that holds a handshake message.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a port speaks.
#[derive(Clone)]
pub(crate) enum Speaks {
    /// https only.
    Tls(Arc<ServerConfig>),
    /// https to a client that begins with it, http to any other.
    Either(Arc<ServerConfig>),
}

/// A port that is listened on.
pub(crate) struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Listens on 127.0.0.1; port 0 takes any free one. `what` says in an error whose port it is.
    pub(crate) async fn bind(port: u16, what: &str) -> Result<Self, EmulatorError> {
        let refused = |source: io::Error| {
            let advice = if source.kind() == io::ErrorKind::AddrInUse {
                "another program listens there: end it, or choose another port (0 takes a free one)"
            } else {
                "choose another port (0 takes a free one)"
            };
            EmulatorError::new(format!(
                "cannot listen on 127.0.0.1:{port} for {what}; {advice}"
            ))
            .with_source(source)
        };
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Serves `router` until `stop`, each connection as a task of `tasks`.
    pub(crate) fn serve(
        self,
        router: Router,
        speaks: Speaks,
        faults: (Plane, Faults),
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) {
        let ending = stop.clone();
        self.accept(tasks, stop, move |stream| {
            let (plane, faults) = &faults;
            let cut = faults.cut(*plane);
            connection(stream, speaks.clone(), router.clone(), cut, ending.clone())
        });
    }

    /// Makes a task of `tasks` of every connection until `stop`.
    pub(crate) fn accept<F>(
        self,
        tasks: &TaskTracker,
        stop: CancellationToken,
        connection: impl Fn(TcpStream) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let connections = tasks.clone();
        tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => break,
                    accepted = self.listener.accept() => accepted,
                };
                let stream = match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of descriptors, or a peer that was gone before it was accepted.
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                };
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                connections.spawn(connection(stream));
            }
        });
    }
}

async fn connection(
    stream: TcpStream,
    speaks: Speaks,
    router: Router,
    cut: Option<u64>,
    stop: CancellationToken,
) {
    let config = match speaks {
        Speaks::Tls(config) => config,
        Speaks::Either(config) => {
            let mut first = [0];
            let peeked = tokio::select! {
                () = stop.cancelled() => return,
                peeked = tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)) => peeked,
            };
            match peeked {
                Ok(Ok(1)) if first[0] == TLS_HANDSHAKE => config,
                Ok(Ok(1)) => return speak(Cut::after(cut, stream), router, stop, None).await,
                Ok(Ok(_)) => return,
                Ok(Err(error)) => return tracing::debug!(%error, "connection ended early"),
                Err(_) => return tracing::debug!("a connection stayed silent"),
            }
        }
    };
    let stream = Cut::after(cut, stream);
    let handshake = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream));
    let shaken = tokio::select! {
        () = stop.cancelled() => return,
        shaken = handshake => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => speak(stream, router, stop, Some(Secure)).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake timed out"),
    }
}

async fn speak<S>(stream: S, router: Router, stop: CancellationToken, secure: Option<Secure>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        if let Some(secure) = secure {
            request.extensions_mut().insert(secure);
        }
        let answer = hyper::service::Service::call(&service, request);
        async move {
            let answer: Response<Body> = match answer.await {
                Ok(answer) => answer,
                Err(never) => match never {},
            };
            deliver(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
