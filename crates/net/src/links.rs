//! Bridges, pairs of interfaces, addresses and routes, by rtnetlink.
//!
//! A netlink socket belongs to the network namespace it was made in. One for a pod's namespace is
//! made on a throw-away thread that enters it; no thread of the runtime ever changes namespace.

use std::fs::File;
use std::future::Future;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use futures::TryStreamExt as _;
use netlink_packet_route::link::{InfoBridgePort, InfoData, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute};
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::pods::Error;

/// The name of a pod's interface inside the pod.
const INSIDE: &str = "eth0";

/// Runs `work` with a netlink socket of this process's own namespace.
async fn with_host<T, F: Future<Output = Result<T, Error>>>(work: impl FnOnce(Handle) -> F) -> Result<T, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Socket)?;
    drive(connection, work(handle)).await
}

/// Runs `work` with a netlink socket of the namespace pinned at `netns`.
async fn with_namespace<T, F: Future<Output = Result<T, Error>>>(
    netns: &Path,
    work: impl FnOnce(Handle) -> F,
) -> Result<T, Error> {
    let runtime = tokio::runtime::Handle::current();
    let namespace = open(netns)?;
    let opened = std::thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let _entered = runtime.enter();
        rtnetlink::new_connection()
    });
    let opened = opened.join().map_err(|_| Error::Interrupted)?;
    let (connection, handle, _) = opened.map_err(Error::Socket)?;
    drive(connection, work(handle)).await
}

/// The connection only moves messages while somebody waits for an answer.
async fn drive<T>(
    connection: impl Future<Output = ()>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        done = work => done,
        () = connection => Err(Error::Interrupted),
    }
}

fn open(netns: &Path) -> Result<File, Error> {
    File::open(netns).map_err(|source| Error::Namespace { path: netns.to_owned(), source })
}

async fn index(handle: &Handle, name: &str) -> Result<Option<u32>, Error> {
    match handle.link().get().match_name(name.to_owned()).execute().try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(error) if is(&error, rustix::io::Errno::NODEV) => Ok(None),
        Err(source) => Err(Error::Link { what: format!("look up {name}"), source }),
    }
}

fn is(error: &rtnetlink::Error, errno: rustix::io::Errno) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno.raw_os_error())
}

/// Makes the bridge (or keeps it) with `gateway/bits`, and sends `services` to it so that this
/// machine itself can reach service addresses whatever its other routes are.
pub(crate) async fn ensure_bridge(
    name: &str,
    gateway: Ipv4Addr,
    bits: u8,
    mtu: u32,
    services: Option<(Ipv4Addr, u8)>,
) -> Result<(), Error> {
    with_host(|handle| async move {
        let known = index(&handle, name).await?;
        let link = match known {
            Some(link) => link,
            None => {
                let bridge = LinkBridge::new(name).mtu(mtu).address(hardware_address(gateway)).build();
                handle.link().add(bridge).execute().await.map_err(failed(format!("make the bridge {name}")))?;
                index(&handle, name).await?.ok_or(Error::Interrupted)?
            }
        };
        // The loopback of a fresh network namespace is down, and the kernel's own answers need it.
        for own in [LinkUnspec::new_with_index(link), LinkUnspec::new_with_name("lo")] {
            handle
                .link()
                .change(own.up().build())
                .execute()
                .await
                .map_err(failed(format!("bring {name} and lo up")))?;
        }
        let address = AddressMessageBuilder::<Ipv4Addr>::new().index(link).address(gateway, bits).build();
        let mut request = handle.address().add(link, gateway.into(), bits);
        *request.message_mut() = address;
        request.replace().execute().await.map_err(failed(format!("give {name} the address {gateway}/{bits}")))?;
        if let Some((network, bits)) = services {
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(network, bits)
                .output_interface(link)
                .pref_source(gateway)
                .build();
            handle
                .route()
                .add(route)
                .replace()
                .execute()
                .await
                .map_err(failed(format!("route {network}/{bits} to {name}")))?;
        }
        Ok(())
    })
    .await
}

/// Removes the bridge and every interface on it.
pub(crate) async fn remove_bridge(name: &str) -> Result<(), Error> {
    with_host(|handle| async move {
        let Some(bridge) = index(&handle, name).await? else { return Ok(()) };
        let links: Vec<_> =
            handle.link().get().execute().try_collect().await.map_err(failed("list links".to_owned()))?;
        for link in links {
            if link
                .attributes
                .iter()
                .any(|attribute| matches!(attribute, LinkAttribute::Controller(on) if *on == bridge))
            {
                remove(&handle, link.header.index).await?;
            }
        }
        remove(&handle, bridge).await
    })
    .await
}

async fn remove(handle: &Handle, index: u32) -> Result<(), Error> {
    match handle.link().del(index).execute().await {
        Err(error) if !is(&error, rustix::io::Errno::NODEV) => {
            Err(Error::Link { what: format!("remove link {index}"), source: error })
        }
        _ => Ok(()),
    }
}

/// Removes one link, if it is there.
pub(crate) async fn remove_link(name: &str) -> Result<(), Error> {
    with_host(|handle| async move {
        match index(&handle, name).await? {
            Some(link) => remove(&handle, link).await,
            None => Ok(()),
        }
    })
    .await
}

/// A pod's connection.
pub(crate) struct Connection<'a> {
    /// The bridge it goes to.
    pub(crate) bridge: &'a str,
    /// The host's end.
    pub(crate) outside: &'a str,
    /// The pod's namespace.
    pub(crate) netns: &'a Path,
    pub(crate) address: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) bits: u8,
    pub(crate) mtu: u32,
}

/// Connects a pod: a pair of interfaces, one end on the bridge, the other in the pod with its
/// address and a default route. Doing it again for the same pod changes nothing.
pub(crate) async fn connect(pod: &Connection<'_>) -> Result<(), Error> {
    if with_namespace(pod.netns, |handle| async move { index(&handle, INSIDE).await }).await?.is_none() {
        remove_link(pod.outside).await?;
        with_host(|handle| make_pair(handle, pod)).await?;
    }
    with_namespace(pod.netns, |handle| configure_inside(handle, pod)).await
}

async fn make_pair(handle: Handle, pod: &Connection<'_>) -> Result<(), Error> {
    let bridge = index(&handle, pod.bridge).await?.ok_or_else(|| Error::NoBridge(pod.bridge.to_owned()))?;
    let namespace = open(pod.netns)?;
    let inside = LinkMessageBuilder::<LinkUnspec>::new()
        .name(INSIDE)
        .mtu(pod.mtu)
        .address(hardware_address(pod.address))
        .setns_by_fd(namespace.as_raw_fd())
        .build();
    // Hairpin lets a pod reach itself through a service.
    let pair = LinkMessageBuilder::<LinkVeth>::new(pod.outside, INSIDE)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
        .mtu(pod.mtu)
        .controller(bridge)
        .up()
        .build();
    handle.link().add(pair).execute().await.map_err(failed(format!("make the interfaces of {}", pod.address)))?;
    let outside = index(&handle, pod.outside).await?.ok_or(Error::Interrupted)?;
    let hairpin = LinkUnspec::new_with_index(outside)
        .set_port_kind(InfoPortKind::Bridge)
        .set_port_data(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)]))
        .build();
    handle.link().change(hairpin).execute().await.map_err(failed(format!("set hairpin mode of {}", pod.outside)))
}

async fn configure_inside(handle: Handle, pod: &Connection<'_>) -> Result<(), Error> {
    for name in ["lo", INSIDE] {
        let link = index(&handle, name).await?.ok_or(Error::Interrupted)?;
        if name == INSIDE {
            let mut request = handle.address().add(link, pod.address.into(), pod.bits);
            *request.message_mut() =
                AddressMessageBuilder::<Ipv4Addr>::new().index(link).address(pod.address, pod.bits).build();
            request.replace().execute().await.map_err(failed(format!("give the pod {}", pod.address)))?;
        }
        let up = LinkUnspec::new_with_index(link).up().build();
        handle
            .link()
            .set(up)
            .execute()
            .await
            .map_err(failed(format!("bring {name} up in the pod of {}", pod.address)))?;
    }
    let default = RouteMessageBuilder::<Ipv4Addr>::new().gateway(pod.gateway).build();
    handle
        .route()
        .add(default)
        .replace()
        .execute()
        .await
        .map_err(failed(format!("set the default route of {}", pod.address)))
}

/// A locally administered hardware address made from the IP address: stable, so that neighbours
/// need not learn it again after a restart.
fn hardware_address(address: Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0x0a, 0x58];
    bytes.extend(address.octets());
    bytes
}

fn failed(what: String) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |source| Error::Link { what, source }
}
