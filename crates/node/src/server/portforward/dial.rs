//! A connection to a port of a pod, made from inside its network namespace.
//!
//! Invariant: only a thread of its own enters the namespace, and ends right after; a socket stays in the namespace it was
//! made in, so the connection is then an ordinary one here.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::thread::LinkNameSpaceType;
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(30);

/// Where connections go.
pub(super) struct Place {
    /// `name_namespace`, for what is told to people.
    pub(super) pod: String,
    pub(super) uid: String,
    /// None for a pod in the host's network.
    pub(super) netns: Option<PathBuf>,
}

impl Place {
    /// Connects to `port` as `localhost` inside the pod, by IPv4 and else by IPv6.
    pub(super) async fn connect(&self, port: u16) -> Result<TcpStream, String> {
        let netns = self.netns.clone();
        let made = tokio::task::spawn_blocking(move || inside(netns.as_deref(), port)).await;
        let made = made.unwrap_or_else(|error| Err(error.to_string()));
        let adopted = made.and_then(|stream| {
            let ready = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            ready.map_err(|error| error.to_string())
        });
        adopted.map_err(|why| format!("error forwarding port {port} to pod {}, uid {}: {why}", self.pod, self.uid))
    }
}

fn inside(netns: Option<&Path>, port: u16) -> Result<std::net::TcpStream, String> {
    let Some(netns) = netns else { return local(port, "the host's") };
    let namespace = std::fs::File::open(netns).map_err(|error| format!("the pod has no network: {error}"))?;
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            rustix::thread::move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&namespace),
                Some(LinkNameSpaceType::Network),
            )
            .map_err(|error| format!("cannot enter the pod's network: {error}"))?;
            local(port, &format!("{:?}", netns.display().to_string()))
        });
        made.join().unwrap_or_else(|_| Err("the thread that connects failed".to_owned()))
    })
}

fn local(port: u16, namespace: &str) -> Result<std::net::TcpStream, String> {
    let dial = |address: SocketAddr| {
        let stream = std::net::TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        Ok::<_, io::Error>(stream)
    };
    let four = match dial((Ipv4Addr::LOCALHOST, port).into()) {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    dial((Ipv6Addr::LOCALHOST, port).into()).map_err(|six| {
        let (four, six) = (refused(&four), refused(&six));
        format!(
            "failed to connect to localhost:{port} inside namespace {namespace}, IPv4: dial tcp4 127.0.0.1:{port}: \
             {four} IPv6 dial tcp6: [::1]:{port}: {six}"
        )
    })
}

fn refused(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => format!("connect: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_found_by_either_family_and_a_closed_one_is_told() {
        let place = Place { pod: "web_default".into(), uid: "u".into(), netns: None };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connected, accepted) = tokio::join!(place.connect(port), listener.accept());
        assert_eq!(connected.unwrap().local_addr().unwrap(), accepted.unwrap().1);
        drop(listener);
        let told = place.connect(port).await.unwrap_err();
        assert!(
            told.starts_with(&format!("error forwarding port {port} to pod web_default, uid u: failed to connect"))
        );
        assert!(told.contains("connect: connection refused"), "{told}");
    }
}
