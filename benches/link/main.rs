//! A network link on loopback: a TCP relay with a rate, a delay, and a count of what passed.
//!
//! `link ADDRESS RATE DELAY` leads connections to ADDRESS. RATE is in bytes a second for each
//! direction, shared by all connections; DELAY is in milliseconds, one way. It prints its own address,
//! ends with its standard input, and then prints what passed as one JSON object.
//!
//! What it is: a wire of this rate and length with a fair queue before it, so that many connections
//! share it alike and a sender that is too fast is held up by TCP. What it is not: it loses nothing,
//! and no congestion window has to grow first. Bytes are those of HTTP; headers of TCP are not there.

#![allow(clippy::print_stdout, reason = "what passed is the result")]

mod wire;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use wire::{Wire, carry};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What the kernel may keep for a connection before the wire, in bytes. Linux would let it grow to
/// megabytes, which would count as sent for the client and be nowhere yet.
const BEFORE_THE_WIRE: u32 = 64 << 10;

struct Link {
    to: SocketAddr,
    up: Arc<Wire>,
    down: Arc<Wire>,
    connections: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [to, rate, delay] = arguments.as_slice() else {
        return Err("use: link ADDRESS BYTES-PER-SECOND MILLISECONDS".into());
    };
    let (rate, delay): (u64, u64) = (rate.parse()?, delay.parse()?);
    if rate == 0 {
        return Err("a link without a rate carries nothing".into());
    }
    let delay = Duration::from_millis(delay);
    let link = Arc::new(Link {
        to: to.parse()?,
        up: Arc::new(Wire::new(rate, delay)),
        down: Arc::new(Wire::new(rate, delay)),
        connections: AtomicU64::new(0),
    });
    let socket = TcpSocket::new_v4()?;
    // Connections that are taken inherit it.
    socket.set_recv_buffer_size(BEFORE_THE_WIRE)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(1024)?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let accepting = tokio::spawn(accept(listener, Arc::clone(&link)));
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_to_end(&mut Vec::new())).await??;
    accepting.abort();
    println!(
        "{{\"up\": {}, \"down\": {}, \"connections\": {}}}",
        link.up.passed(),
        link.down.passed(),
        link.connections.load(Ordering::Relaxed)
    );
    Ok(())
}

async fn accept(listener: TcpListener, link: Arc<Link>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                link.connections.fetch_add(1, Ordering::Relaxed);
                let link = Arc::clone(&link);
                // A connection that breaks is the business of its two ends.
                tokio::spawn(async move { relay(client, &link).await });
            }
            // Out of file descriptors, say: one is free again soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn relay(client: TcpStream, link: &Link) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(BEFORE_THE_WIRE)?;
    let server = socket.connect(link.to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    // The first error ends both directions: the sockets are dropped, and both ends see it.
    tokio::try_join!(
        carry(client_reads, server_writes, &link.up),
        carry(server_reads, client_writes, &link.down),
    )?;
    Ok(())
}
