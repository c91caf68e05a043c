//! The pod network against the real kernel, in a network namespace of its own.
//!
//! The whole test process moves into a fresh namespace first (one test, one thread), so that
//! nothing of the machine's own network is touched and everything goes away with the process.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use knarr_net::proxy::plan::{Change, Front, Held, Protocol, Rules, Spread};
use knarr_net::{Config, Pods};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

const TCP: Protocol = Protocol(6);

/// A pinned network namespace.
struct Namespace(PathBuf);

impl Namespace {
    fn make(dir: &Path, name: &str) -> Self {
        let path = dir.join(name);
        File::create(&path).expect("file");
        let pinned = path.clone();
        std::thread::spawn(move || {
            // SAFETY: this thread ends at once; no other code runs in it.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a network namespace");
            mount_bind("/proc/thread-self/ns/net", &pinned).expect("pin it");
        })
        .join()
        .expect("made");
        Self(path)
    }

    /// Runs `work` on a thread inside the namespace.
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
        let namespace = File::open(&self.0).expect("pinned");
        std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("enter");
            work()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("cannot unpin {}: {error}", self.0.display());
        }
    }
}

/// A server in `namespace` that answers every connection with `name`.
fn server(namespace: &Namespace, address: Ipv4Addr, name: &'static str) {
    let (tell, told) = std::sync::mpsc::channel();
    namespace.inside(move || {
        let listener = TcpListener::bind((address, 8080)).expect("listen in the pod");
        tell.send(()).expect("told");
        for stream in listener.incoming() {
            stream.expect("a client").write_all(name.as_bytes()).expect("written");
        }
    });
    told.recv().expect("it listens");
}

fn ask(to: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn front(address: Option<[u8; 4]>, port: u16) -> Front {
    Front { address: address.map(Ipv4Addr::from), protocol: TCP, port }
}

#[test]
fn pods_reach_each_other_and_services_reach_pods() {
    // SAFETY: the test binary has this one test; later threads inherit the namespaces.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }.expect("needs root");
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).expect("private mounts");
    let dir = tempfile::tempdir().expect("dir");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let config = Config {
        cluster_name: "test".into(),
        pod_cidr: "10.42.0.0/24".into(),
        cluster_cidr: "10.42.0.0/16".into(),
        service_cidr: "10.43.0.0/16".into(),
        run_dir: dir.path().to_owned(),
        mtu: 1500,
    };
    let pods = runtime.block_on(Pods::open(config.clone())).expect("the network opens");
    let (a, b) = (Namespace::make(dir.path(), "a"), Namespace::make(dir.path(), "b"));
    let ip_a = runtime.block_on(pods.attach("uid-a", &a.0)).expect("a is connected");
    let ip_b = runtime.block_on(pods.attach("uid-b", &b.0)).expect("b is connected");
    assert_eq!(runtime.block_on(pods.attach("uid-a", &a.0)).expect("again"), ip_a, "attaching twice changes nothing");
    server(&a, ip_a, "a");
    server(&b, ip_b, "b");

    assert_eq!(ask((ip_a, 8080).into()).expect("host to pod"), "a");
    assert_eq!(a.inside(move || ask((ip_b, 8080).into())).join().expect("thread").expect("pod to pod"), "b");

    let mut table =
        knarr_net::proxy::kernel::Table::for_cluster("test", "10.42.0.0/16", "10.43.0.0/16").expect("ranges");
    let mut held = Held::default();
    let both = Spread { targets: vec![(ip_a, 8080), (ip_b, 8080)], sticky: false };
    let rules = Rules::from([(front(Some([10, 43, 0, 7]), 80), both.clone()), (front(None, 30080), both)]);
    held.replace("web", rules, &mut Change::default());
    table.rebuild(held.all()).expect("the kernel takes the rules");

    let cluster: SocketAddr = ([10, 43, 0, 7], 80).into();
    let from_pod = a
        .inside(move || (0..40).map(|_| ask(cluster).expect("a service answers")).collect::<String>())
        .join()
        .expect("thread");
    assert!(from_pod.contains('a') && from_pod.contains('b'), "both pods are used, also by one of them: {from_pod}");
    let from_host: String = (0..20).map(|_| ask(cluster).expect("the node reaches the service")).collect();
    assert!(from_host.contains('a') && from_host.contains('b'), "{from_host}");
    let node_port = SocketAddr::from((pods.gateway(), 30080));
    assert!(
        ["a", "b"]
            .contains(&b.inside(move || ask(node_port)).join().expect("thread").expect("a node port answers").as_str())
    );
    let unknown = ask(([10, 43, 0, 7], 81).into()).expect_err("no such port");
    assert_eq!(unknown.kind(), std::io::ErrorKind::ConnectionRefused, "refused at once, not timed out");

    let mut change = Change::default();
    let only_b = Spread { targets: vec![(ip_b, 8080)], sticky: true };
    held.replace("web", Rules::from([(front(Some([10, 43, 0, 7]), 80), only_b)]), &mut change);
    table.apply(&change).expect("the kernel takes the change");
    let after: String = (0..10).map(|_| ask(cluster).expect("still answers")).collect();
    assert_eq!(after, "bbbbbbbbbb");
    assert!(ask(node_port).is_err(), "the node port is gone");

    runtime.block_on(pods.detach("uid-a")).expect("disconnects");
    assert!(ask((ip_a, 8080).into()).is_err());
    drop(pods);
    let again = runtime.block_on(Pods::open(config)).expect("opens again");
    assert_eq!(runtime.block_on(again.attach("uid-b", &b.0)).expect("kept"), ip_b, "a restart keeps addresses");
    runtime.block_on(knarr_net::purge("test")).expect("purges");
    assert!(
        !Path::new("/proc/net/dev").exists() || !std::fs::read_to_string("/proc/net/dev").expect("dev").contains("kn-")
    );
}
