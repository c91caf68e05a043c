//! The runtime with real containers: everything below needs root and a static busybox.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "containers/world.rs"]
mod world;

use std::fs;
use std::time::{Duration, Instant};

use knarr_node::runtime::{ExecError, ExecSpec, Mount, Propagation, Size, StartReason, State};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use world::{World, output, until};

type Any = Result<(), Box<dyn std::error::Error>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_container_ends_with_its_programs_exit_code() -> Any {
    let world = World::new().await;
    let (exit, out) = world.run(world.shell("echo hello; echo oops >&2; exit 3")).await;
    assert_eq!((exit.code, exit.signal, exit.oom, exit.reason()), (3, None, false, "Error"));
    assert!(out.contains("hello") && out.contains("oops"), "{out}");
    let (exit, _) = world.run(world.shell("exit 0")).await;
    assert_eq!((exit.code, exit.reason()), (0, "Completed"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_counts_as_128_and_its_number() -> Any {
    let world = World::new().await;
    let container = world.sleeper().await;
    let exit = world.runtime.stop(&container.spec.id, libc::SIGTERM, Duration::from_secs(30)).await?;
    assert_eq!((exit.code, exit.signal), (7, None));

    let deaf = world.runtime.start(world.shell("echo ready; while :; do sleep 0.01; done")).await?;
    until(|| output(&deaf.spec.log_path).contains("ready")).await;
    let exit = world.runtime.stop(&deaf.spec.id, libc::SIGTERM, Duration::from_millis(50)).await?;
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn exceeding_the_memory_limit_is_reported_as_oom() -> Any {
    let world = World::new().await;
    let mut spec = world.shell("exec tail /dev/zero");
    spec.limits.memory = Some(16 << 20);
    let (exit, _) = world.run(spec).await;
    assert_eq!((exit.code, exit.oom, exit.reason()), (137, true, "OOMKilled"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_complete_and_in_order() -> Any {
    let world = World::new().await;
    let out = world.print("env; pwd; hostname; cat /etc/hostname", |spec| {
        spec.env = vec![("MINE".into(), "a b=c".into())];
        spec.working_dir = Some("/new/dir".into());
    });
    let out = out.await;
    for line in ["PATH=/bin", "FROM_IMAGE=yes", "HOSTNAME=testhost", "MINE=a b=c", "HOME=/root", "/new/dir", "testhost"]
    {
        assert!(out.lines().any(|found| found == line), "{line} is missing in\n{out}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_those_of_the_image_or_the_pod() -> Any {
    let world = World::new().await;
    let by_name = world.print("id", |spec| spec.image.config.user = "web".into()).await;
    assert_eq!(by_name, "uid=33(web) gid=44(web) groups=44(web),50(logs)");
    let by_pod = world.print("id; echo >/dev/stdout", |spec| {
        spec.security.run_as_user = Some(1000);
        spec.security.run_as_group = Some(1001);
        spec.security.supplemental_groups = vec![2000];
    });
    assert_eq!(by_pod.await.trim(), "uid=1000 gid=1001 groups=1001,2000");
    let mut spec = world.shell("id");
    spec.security.run_as_non_root = true;
    let refused = world.runtime.start(spec).await.unwrap_err();
    assert_eq!(refused.reason, StartReason::CreateContainerConfigError);
    Ok(())
}

fn status<'a>(text: &'a str, field: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap_or_default().trim()
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_filter_and_privileges_are_as_asked() -> Any {
    let world = World::new().await;
    let script = "exec cat /proc/self/status";
    let plain = world.print(script, |_| {}).await;
    assert_eq!(status(&plain, "CapEff"), "00000000a80425fb");
    assert_eq!(status(&plain, "CapBnd"), "00000000a80425fb");
    assert_eq!(status(&plain, "CapInh"), "0000000000000000");
    assert_eq!((status(&plain, "NoNewPrivs"), status(&plain, "Seccomp")), ("0", "2"));
    assert_eq!(status(&plain, "SigIgn"), "0000000000000000");
    assert_eq!(status(&plain, "SigBlk"), "0000000000000000");

    let strict = world.print(script, |spec| {
        spec.security.run_as_user = Some(1000);
        spec.security.allow_privilege_escalation = false;
        spec.security.drop_capabilities = vec!["ALL".into()];
        spec.security.add_capabilities = vec!["NET_BIND_SERVICE".into()];
    });
    let strict = strict.await;
    assert_eq!(status(&strict, "CapEff"), "0000000000000000");
    assert_eq!(status(&strict, "CapBnd"), "0000000000000400");
    assert_eq!((status(&strict, "NoNewPrivs"), status(&strict, "Seccomp")), ("1", "2"));

    let privileged = world.print(script, |spec| spec.security.privileged = true).await;
    let host = fs::read_to_string("/proc/self/status")?;
    assert_eq!(status(&privileged, "CapEff"), status(&host, "CapBnd"));
    assert_eq!(status(&privileged, "Seccomp"), "0");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_filter_forbids_fails_inside_only() -> Any {
    let world = World::new().await;
    let out = world
        .print("mount -t tmpfs none /tmp 2>&1; mknod /tmp/sda b 8 0 && head -c1 /tmp/sda 2>&1; echo end", |_| {})
        .await;
    assert!(out.contains("Operation not permitted") && out.ends_with("end"), "{out}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_root_takes_no_writes_but_mounts_do() -> Any {
    let world = World::new().await;
    let volume = world.dir.path().join("volume");
    fs::create_dir_all(&volume)?;
    let mount = |target: &str, read_only| Mount {
        host: volume.clone(),
        target: target.into(),
        read_only,
        propagation: Propagation::Private,
    };
    let out = world.print("touch /file 2>&1; touch /vol/file; touch /ro/other 2>&1; ls /ro", |spec| {
        spec.security.read_only_root = true;
        spec.mounts = vec![mount("/vol", false), mount("/ro", true)];
    });
    let out = out.await;
    assert_eq!(out.matches("Read-only file system").count(), 2, "{out}");
    assert!(out.ends_with("file") && volume.join("file").exists(), "{out}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_in_cri_format_and_follows_a_rename() -> Any {
    let world = World::new().await;
    let container = world.sleeper().await;
    let log = &container.spec.log_path;
    let first = fs::read_to_string(log)?;
    let (stamp, rest) = first.split_once(' ').unwrap();
    assert!(stamp.len() == 30 && stamp.ends_with('Z') && rest == "stdout F ready\n", "{first}");
    fs::rename(log, log.with_extension("old"))?;
    world.runtime.reopen_log(&container.spec.id).await?;
    assert_eq!(fs::read_to_string(log)?, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_run_is_a_start_error() -> Any {
    let world = World::new().await;
    let cases = [
        ("nope", "failed to start container: exec: \"nope\": executable file not found in $PATH"),
        ("/bin/nope", "failed to start container: exec: \"/bin/nope\": stat /bin/nope: no such file or directory"),
        ("/bin/forbidden", "failed to start container: exec: \"/bin/forbidden\": permission denied"),
        ("/bin/wrong", "failed to start container: exec /bin/wrong: exec format error"),
    ];
    for (program, message) in cases {
        let mut spec = world.shell("");
        spec.command = vec![program.into()];
        let error = world.runtime.start(spec).await.unwrap_err();
        assert_eq!((error.reason, error.message.as_str()), (StartReason::StartError, message));
    }
    let mut spec = world.shell("");
    spec.mounts = vec![Mount {
        host: "/does/not/exist".into(),
        target: "/x".into(),
        read_only: false,
        propagation: Propagation::Private,
    }];
    let error = world.runtime.start(spec).await.unwrap_err();
    assert_eq!(error.reason, StartReason::CreateContainerError);
    assert!(world.runtime.containers().is_empty());
    assert_eq!(fs::read_dir(world.dir.path().join("run/containers"))?.count(), 0);
    assert_eq!(fs::read_dir(world.dir.path().join("data/containers"))?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_in_the_container_and_reports_its_exit_code() -> Any {
    let world = World::new().await;
    let container = world.sleeper().await;
    let id = &container.spec.id;
    let (code, out, err) = world.exec(id, &["sh", "-c", "echo out; echo err >&2; echo $FROM_IMAGE; exit 5"]).await;
    assert_eq!((code, out.as_str(), err.as_str()), (5, "out\nyes\n", "err\n"));
    let (_, confined, _) = world.exec(id, &["cat", "/proc/self/status"]).await;
    assert_eq!((status(&confined, "CapBnd"), status(&confined, "Seccomp")), ("00000000a80425fb", "2"));
    assert_eq!(status(&confined, "NoNewPrivs"), "0");
    let spec = |args: &[&str]| ExecSpec { args: args.iter().map(ToString::to_string).collect(), ..ExecSpec::default() };
    let missing = world.runtime.exec(id, spec(&["nope"])).await.err().unwrap();
    assert!(matches!(&missing, ExecError::NotFound(text) if text.contains("executable file not found")), "{missing}");
    let forbidden = world.runtime.exec(id, spec(&["/bin/forbidden"])).await.err().unwrap();
    assert!(matches!(forbidden, ExecError::PermissionDenied(_)));
    let state = world.dir.path().join("run/containers").join(id);
    let left = |name: fs::DirEntry| name.file_name().to_string_lossy().starts_with("tenant-");
    assert!(!fs::read_dir(state.join("oci/c"))?.flatten().any(left));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_takes_input_until_its_end() -> Any {
    let world = World::new().await;
    let container = world.sleeper().await;
    let spec = ExecSpec { args: vec!["cat".into()], stdin: true, stdout: true, ..ExecSpec::default() };
    let mut session = world.runtime.exec(&container.spec.id, spec).await?;
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"to and fro").await?;
    drop(stdin);
    let mut text = String::new();
    session.stdout.take().unwrap().read_to_string(&mut text).await?;
    assert_eq!((text.as_str(), session.control.wait().await?), ("to and fro", 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_with_a_terminal_sees_its_size() -> Any {
    let world = World::new().await;
    let container = world.sleeper().await;
    let spec = ExecSpec {
        args: vec!["sh".into(), "-c".into(), "tty; stty size; read x; stty size".into()],
        tty: true,
        stdin: true,
        stdout: true,
        size: Some(Size { columns: 132, rows: 40 }),
        ..ExecSpec::default()
    };
    let mut session = world.runtime.exec(&container.spec.id, spec).await?;
    let mut stdout = session.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("40 132") {
        assert!(stdout.read_buf(&mut seen).await? > 0, "{}", String::from_utf8_lossy(&seen));
    }
    session.control.resize(Size { columns: 80, rows: 24 }).await?;
    session.stdin.as_mut().unwrap().write_all(b"\n").await?;
    stdout.read_to_end(&mut seen).await?;
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.starts_with("/dev/pts/") && seen.contains("24 80"), "{seen}");
    assert_eq!(session.control.wait().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_on_a_command_kills_it() -> Any {
    let world = World::new().await;
    let container = world.sleeper().await;
    let spec = ExecSpec { args: vec!["sleep".into(), "4711".into()], ..ExecSpec::default() };
    let session = world.runtime.exec(&container.spec.id, spec).await?;
    let (_, processes, _) = world.exec(&container.spec.id, &["ps"]).await;
    assert!(processes.contains("sleep 4711"), "{processes}");
    drop(session);
    loop {
        let (_, processes, _) = world.exec(&container.spec.id, &["ps"]).await;
        if !processes.contains("sleep 4711") {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attaching_gives_output_and_input_of_the_program() -> Any {
    let world = World::new().await;
    let mut spec = world.shell("echo start; while read line; do echo got $line; done; echo bye");
    (spec.stdin, spec.stdin_once) = (true, true);
    let id = spec.id.clone();
    world.runtime.start(spec).await?;
    let mut session = world.runtime.attach(&id).await?;
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"one\n").await?;
    drop(stdin);
    let mut text = String::new();
    session.stdout.take().unwrap().read_to_string(&mut text).await?;
    assert!(text.contains("got one") && text.ends_with("bye\n"), "{text}");
    assert_eq!(session.control.wait().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_with_a_terminal_logs_what_it_shows() -> Any {
    let world = World::new().await;
    let mut spec = world.shell("tty; echo shown");
    (spec.tty, spec.security.run_as_user) = (true, Some(33));
    let (exit, out) = world.run(spec).await;
    assert_eq!(exit.code, 0);
    assert!(out.contains("/dev/pts/0") && out.contains("shown"), "{out}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_adopts_what_runs_and_learns_what_ended() -> Any {
    let world = World::new().await;
    let running = world.sleeper().await;
    let ended = world.sleeper().await;
    let lost = world.sleeper().await;
    let shim_of = |id: &str| {
        let text = fs::read_to_string(world.dir.path().join("run/containers").join(id).join("pid")).unwrap();
        let started: serde_json::Value = serde_json::from_str(&text).unwrap();
        i32::try_from(started["shim"]["pid"].as_i64().unwrap()).unwrap()
    };
    // SAFETY: kills a shim this test started
    assert_eq!(unsafe { libc::kill(shim_of(&lost.spec.id), libc::SIGKILL) }, 0);
    world.runtime.wait(&lost.spec.id).await?;
    fs::remove_file(world.dir.path().join("run/containers").join(&lost.spec.id).join("exit"))?;
    world.runtime.stop(&ended.spec.id, libc::SIGTERM, Duration::from_secs(30)).await?;

    let later = world.reopened();
    let adopted = later.adopt().await?;
    assert_eq!(adopted.sandboxes.len(), 1);
    let state = |id: &str| adopted.containers.iter().find(|c| c.spec.id == id).unwrap().state.clone();
    assert_eq!(state(&running.spec.id), State::Running);
    assert!(matches!(state(&ended.spec.id), State::Exited(exit) if exit.code == 7));
    assert!(matches!(state(&lost.spec.id), State::Exited(exit) if exit.lost && exit.code == 137));
    assert_eq!(later.container(&running.spec.id).unwrap().pid, running.pid);
    let exit = later.stop(&running.spec.id, libc::SIGTERM, Duration::from_secs(30)).await?;
    assert_eq!(exit.code, 7);
    Ok(())
}

/// Run by the next test in a process of its own; otherwise there is nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_will_be_killed() -> Any {
    let Ok(dir) = std::env::var("KNARR_TEST_AGENT") else { return Ok(()) };
    let world = World::again(std::path::Path::new(&dir)).await;
    let container = world.sleeper().await;
    fs::write(format!("{dir}/started"), format!("{} {}", container.spec.id, container.pid))?;
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_outlives_an_agent_that_is_killed() -> Any {
    let world = World::new().await;
    let started = world.dir.path().join("started");
    let mut agent = std::process::Command::new(std::env::current_exe()?)
        .args(["--exact", "an_agent_that_will_be_killed"])
        .env("KNARR_TEST_AGENT", world.dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    until(|| fs::read_to_string(&started).is_ok_and(|text| text.contains(' '))).await;
    agent.kill()?;
    assert!(!agent.wait()?.success());

    let text = fs::read_to_string(&started)?;
    let (id, pid) = text.split_once(' ').unwrap();
    let later = world.reopened();
    let adopted = later.adopt().await?;
    assert_eq!(adopted.containers.len(), 1);
    assert_eq!((&adopted.containers[0].state, adopted.containers[0].pid), (&State::Running, pid.parse()?));
    let spec = ExecSpec { args: vec!["echo".into(), "alive".into()], stdout: true, ..ExecSpec::default() };
    let mut out = String::new();
    later.exec(id, spec).await?.stdout.take().unwrap().read_to_string(&mut out).await?;
    assert_eq!(out, "alive\n");
    assert_eq!(later.stop(id, libc::SIGTERM, Duration::from_secs(30)).await?.code, 7);
    later.remove(id).await?;
    later.remove_sandbox("pod-uid").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_the_shim_ends_the_container_as_unknown() -> Any {
    let world = World::new().await;
    let container = world.sleeper().await;
    let text = fs::read_to_string(world.dir.path().join("run/containers").join(&container.spec.id).join("pid"))?;
    let started: serde_json::Value = serde_json::from_str(&text)?;
    // SAFETY: kills a shim this test started
    unsafe { libc::kill(i32::try_from(started["shim"]["pid"].as_i64().unwrap())?, libc::SIGKILL) };
    let exit = world.runtime.wait(&container.spec.id).await?;
    assert_eq!((exit.code, exit.reason()), (137, "ContainerStatusUnknown"));
    assert!(!fs::exists(format!("/proc/{}/root", container.pid))?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_pod_share_its_namespaces() -> Any {
    let world = World::with_sandbox(|spec| {
        spec.share_process_namespace = true;
        spec.sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
    });
    let world = world.await;
    let container = world.sleeper().await;
    let script = "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid; cat /proc/sys/kernel/shm_rmid_forced";
    let other = world.print(script, |_| {}).await;
    let (_, own, _) = world.exec(&container.spec.id, &["sh", "-c", script]).await;
    assert_eq!(other.trim(), own.trim());
    let (_, processes, _) = world.exec(&container.spec.id, &["ps"]).await;
    assert!(processes.lines().nth(1).unwrap().contains("pause"), "{processes}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_the_hosts_network_uses_the_hosts_names() -> Any {
    let world =
        World::with_sandbox(|spec| (spec.host_network, spec.host_ipc, spec.host_pid) = (true, true, true)).await;
    assert_eq!(world.sandbox.netns(), None);
    let out =
        world.print("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid", |_| {}).await;
    let host = ["net", "ipc", "pid"].map(|name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap());
    assert_eq!(out.lines().map(std::path::PathBuf::from).collect::<Vec<_>>(), host);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_termination_message_is_read_back() -> Any {
    let world = World::new().await;
    let spec = world.shell("echo because >/dev/termination-log; exit 1");
    let id = spec.id.clone();
    world.runtime.start(spec).await?;
    world.runtime.wait(&id).await?;
    assert_eq!(world.runtime.termination_message(&id), "because\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_is_small_and_has_one_thread() -> Any {
    let world = World::new().await;
    let container = world.sleeper().await;
    let text = fs::read_to_string(world.dir.path().join("run/containers").join(&container.spec.id).join("pid"))?;
    let started: serde_json::Value = serde_json::from_str(&text)?;
    let shim = started["shim"]["pid"].as_i64().unwrap();
    assert_eq!(fs::read_dir(format!("/proc/{shim}/task"))?.count(), 1);
    let memory = fs::read_to_string(format!("/proc/{shim}/smaps_rollup"))?;
    let private = status(&memory, "Private_Dirty").trim_end_matches("kB").trim().parse::<u64>()?;
    println!("private memory of a shim (unoptimised, position independent): {private} kB");
    let stats = world.runtime.stats(&container.spec.id)?;
    assert!(stats.working_set_bytes > 0 && stats.pids >= 1, "{stats:?}");
    assert!(world.runtime.pod_stats("pod-uid")?.cpu_nanoseconds >= stats.cpu_nanoseconds);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_and_purging_leave_nothing() -> Any {
    let world = World::new().await;
    let removed = world.sleeper().await;
    world.runtime.remove(&removed.spec.id).await?;
    world.runtime.remove_sandbox("pod-uid").await?;
    let dir = world.dir.path();
    for empty in ["run/containers", "run/pods", "data/containers"] {
        assert_eq!(fs::read_dir(dir.join(empty))?.count(), 0, "{empty}");
    }
    let other = World::new().await;
    other.sleeper().await;
    let spec = ExecSpec { args: vec!["sleep".into(), "1000".into()], ..ExecSpec::default() };
    let _session = other.runtime.exec(&other.runtime.containers()[0].spec.id, spec).await?;
    other.purge();
    world.purge();
    until(|| other.remains().is_empty() && world.remains().is_empty()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_takes_milliseconds() -> Any {
    let world = World::new().await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let spec = world.shell("exit 0");
        let id = spec.id.clone();
        let begin = Instant::now();
        world.runtime.start(spec).await?;
        times.push(begin.elapsed());
        world.runtime.wait(&id).await?;
        world.runtime.remove(&id).await?;
    }
    times.sort_unstable();
    println!("start to running: median {:?}, fastest {:?}, slowest {:?}", times[10], times[0], times[19]);
    Ok(())
}
