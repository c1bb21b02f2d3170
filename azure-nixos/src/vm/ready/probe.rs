//! Whether an ssh server answers: a connection, and the line that such a server says first
//! (RFC 4253, section 4.2).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::quote::visible;

/// What a server may say before the line that counts, and what is read at most.
const MOST_READ: u64 = 8 << 10;

/// What came of knocking at a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Knock {
    /// An ssh server, with its first line: `SSH-2.0-OpenSSH_9.9`.
    Ssh(String),
    /// The host is there, and nothing listens at the port.
    Refused,
    /// Nothing came back.
    Silent,
    /// Something listens; what it said is not what an ssh server says.
    Other(String),
    /// The network says that there is no way.
    Unreachable(String),
}

impl fmt::Display for Knock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(banner) => write!(f, "{banner} answers"),
            Self::Refused => f.write_str("the connection is refused: no ssh server listens there"),
            Self::Silent => f.write_str("nothing answers"),
            Self::Other(said) if said.is_empty() => {
                f.write_str("something takes the connection and says nothing")
            }
            Self::Other(said) => write!(f, "what answers is no ssh server: it says {said:?}"),
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

/// Knocks once, and waits no longer than this for the answer.
pub(super) async fn knock(host: IpAddr, port: u16, within: Duration) -> Knock {
    let mut heard = Vec::new();
    let mut is_open = false;
    let asked = async {
        let stream = TcpStream::connect(SocketAddr::from((host, port))).await?;
        is_open = true;
        listen(stream, &mut heard).await
    };
    let asked = tokio::time::timeout(within, asked).await;
    if let Some(banner) = banner(&heard) {
        return Knock::Ssh(banner);
    }
    match asked {
        _ if is_open => Knock::Other(first_line(&heard)),
        Err(_) => Knock::Silent,
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Knock::Refused,
            io::ErrorKind::TimedOut => Knock::Silent,
            _ => Knock::Unreachable(error.to_string()),
        },
        Ok(Ok(())) => Knock::Other(String::new()),
    }
}

/// Reads until there is the line of an ssh server, or no more.
async fn listen(stream: TcpStream, heard: &mut Vec<u8>) -> io::Result<()> {
    let mut stream = stream.take(MOST_READ);
    while banner(heard).is_none() && stream.read_buf(heard).await? > 0 {}
    Ok(())
}

/// The line of an ssh server, once it is whole.
fn banner(heard: &[u8]) -> Option<String> {
    let end = heard.iter().rposition(|byte| *byte == b'\n')?;
    let mut lines = heard[..end].split(|byte| *byte == b'\n');
    let line =
        lines.find(|line| line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-"))?;
    Some(first_line(line))
}

/// The beginning of what a stranger says, as a terminal may be shown it.
fn first_line(heard: &[u8]) -> String {
    let line = heard.split(|byte| matches!(byte, b'\r' | b'\n')).next();
    let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
    line.chars().take(80).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// A server that says this to whoever comes, and hangs up or waits.
    fn says(text: &'static [u8], hangs_up: bool) -> u16 {
        let listener = TcpListener::bind((HERE, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(text);
                if !hangs_up {
                    held.push(stream);
                }
            }
        });
        port
    }

    #[tokio::test]
    async fn only_what_an_ssh_server_says_counts() {
        let long = Duration::from_secs(60);
        for text in [
            &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
            b"be welcome\r\nSSH-2.0-OpenSSH_9.9\r\n",
        ] {
            // It waits for the client's line, as servers do.
            let answer = knock(HERE, says(text, false), long).await;
            assert_eq!(answer, Knock::Ssh("SSH-2.0-OpenSSH_9.9".to_owned()));
        }
        for (text, said) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
                "HTTP/1.1 400 Bad Request",
            ),
            (b"", ""),
            (b"SSH-2.0-cut off", "SSH-2.0-cut off"),
            (b"\x1b[2J\n", "\u{241b}[2J"),
        ] {
            let answer = knock(HERE, says(text, true), long).await;
            assert_eq!(answer, Knock::Other(said.to_owned()));
        }
        static ENDLESS: [u8; 1 << 20] = [b'x'; 1 << 20];
        let answer = knock(HERE, says(&ENDLESS, true), long).await;
        assert!(matches!(answer, Knock::Other(said) if said.len() == 80));

        let short = Duration::from_millis(50);
        let mute = knock(HERE, says(b"", false), short).await;
        assert_eq!(mute, Knock::Other(String::new()));
        let closed = TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap();
        assert_eq!(knock(HERE, closed.port(), long).await, Knock::Refused);
    }
}
