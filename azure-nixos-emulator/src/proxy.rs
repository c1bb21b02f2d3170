//! A forward proxy that leads Azure's own names to the local Azure, and nothing anywhere else.
//!
//! Clients that cannot be told another endpoint can nearly all be told a proxy. With `HTTPS_PROXY`
//! and the authority's certificate they speak to `management.azure.com`, to a disk's
//! `md-impexp-….blob.storage.azure.net` or to an account's `….blob.core.windows.net`, and it is the
//! local Azure that answers, over TLS with a certificate of that name. The proxy itself carries
//! bytes and looks into none.

use std::io;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::azure_names::{AzureNames, Service, without_port};
use crate::server::Listening;

/// Where the proxy leads to.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    pub(crate) names: AzureNames,
    pub(crate) arm_port: u16,
    pub(crate) blob_port: u16,
}

impl Targets {
    /// The port of the local Azure for the target of a CONNECT; `None` is for the outside.
    fn port(&self, authority: &str) -> Option<u16> {
        let host = without_port(authority);
        let port: u16 = authority
            .strip_prefix(host)?
            .strip_prefix(':')?
            .parse()
            .ok()?;
        let own = [self.arm_port, self.blob_port];
        // Some clients send even loopback through the proxy.
        if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            return own.contains(&port).then_some(port);
        }
        let to = match self.names.service(host)? {
            Service::ResourceManager => self.arm_port,
            Service::Blobs => self.blob_port,
        };
        (port == 443 || port == to).then_some(to)
    }
}

/// Serves a port as the proxy until `stop`.
pub(crate) fn serve(
    listening: Listening,
    targets: Targets,
    tasks: &TaskTracker,
    stop: CancellationToken,
) {
    let (tunnels, ending) = (tasks.clone(), stop.clone());
    listening.accept(tasks, stop, move |stream| {
        connection(stream, targets.clone(), tunnels.clone(), ending.clone())
    });
}

async fn connection(
    stream: TcpStream,
    targets: Targets,
    tunnels: TaskTracker,
    stop: CancellationToken,
) {
    let ending = stop.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answer = connect(request, &targets, &tunnels, &ending);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let ended = tokio::select! {
        ended = connection => ended,
        () = stop.cancelled() => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the proxy ended early");
    }
}

/// Answers a request. The tunnel that a CONNECT asks for is a task of its own.
fn connect(
    request: Request<Incoming>,
    targets: &Targets,
    tunnels: &TaskTracker,
    stop: &CancellationToken,
) -> impl Future<Output = Response<Body>> + Send + use<> {
    let authority = request
        .uri()
        .authority()
        .map(ToString::to_string)
        .unwrap_or_default();
    let port = (request.method() == Method::CONNECT)
        .then(|| targets.port(&authority))
        .flatten();
    let (tunnels, stop) = (tunnels.clone(), stop.clone());
    async move {
        let Some(port) = port else {
            return refused(
                StatusCode::FORBIDDEN,
                &elsewhere(request.method(), &authority),
            );
        };
        let target = match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(target) => target,
            Err(error) => {
                let why = format!("The local Azure does not answer on its own port: {error}.\n");
                return refused(StatusCode::BAD_GATEWAY, &why);
            }
        };
        tunnels.spawn(async move {
            let ended = tokio::select! {
                ended = tunnel(request, target) => ended,
                () = stop.cancelled() => return,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, authority, "a tunnel ended early");
            }
        });
        Response::new(Body::empty())
    }
}

async fn tunnel(request: Request<Incoming>, mut target: TcpStream) -> io::Result<()> {
    target.set_nodelay(true)?;
    let upgraded = hyper::upgrade::on(request)
        .await
        .map_err(io::Error::other)?;
    tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut target).await?;
    Ok(())
}

fn elsewhere(method: &Method, authority: &str) -> String {
    let what = if method == Method::CONNECT {
        format!("'{authority}' is none of them")
    } else {
        format!("{method} is not CONNECT")
    };
    format!(
        "The proxy of the local Azure leads only to the local Azure: CONNECT to one of Azure's own \
         names (management.azure.com, login.microsoftonline.com, *.blob.core.windows.net, \
         *.blob.storage.azure.net) on port 443. {what}.\n"
    )
}

fn refused(status: StatusCode, why: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(why.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_local_azures_own() {
        let targets = Targets {
            names: AzureNames::new(None).unwrap(),
            arm_port: 1001,
            blob_port: 1002,
        };
        for (authority, port) in [
            ("management.azure.com:443", Some(1001)),
            ("login.microsoftonline.com:443", Some(1001)),
            ("a.blob.core.windows.net:443", Some(1002)),
            ("md-impexp-a.z1.blob.storage.azure.net:443", Some(1002)),
            ("md-impexp-a.z1.blob.storage.azure.net:1002", Some(1002)),
            ("localhost:1001", Some(1001)),
            ("127.0.0.1:1002", Some(1002)),
            ("localhost:22", None),
            ("management.azure.com:22", None),
            ("management.azure.com:1002", None),
            ("management.azure.com", None),
            ("example.com:443", None),
            (":443", None),
            ("", None),
        ] {
            assert_eq!(targets.port(authority), port, "{authority}");
        }
    }
}
