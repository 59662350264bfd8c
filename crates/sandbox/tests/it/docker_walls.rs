//! What a box of Docker cannot do, tried from inside.

use longshore_sandbox::{Backend as _, SandboxId, Spec};

use crate::docker_support::{DEBIAN, Place, engine_socket, spec};

#[tokio::test]
async fn root_in_a_box_has_few_rights_and_gets_no_more() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&spec()).await;
    let status = boxed.must("cat /proc/self/status").await;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the field");
        line.split_whitespace().nth(1).expect("a value").to_owned()
    };
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID: the bits 0, 1, 3, 4, 5, 6 and 7.
    for name in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field(name), "00000000000000fb", "{name}");
    }
    assert_eq!((&*field("CapAmb"), &*field("NoNewPrivs"), &*field("Seccomp")), ("0000000000000000", "1", "2"));
    for script in [
        "mount -t tmpfs none /mnt",
        "mknod /tmp/disk b 8 0",
        "unshare -m true",
        "unshare -r true",
        "hostname other",
        "echo 1 > /proc/sys/kernel/printk",
        "echo b > /proc/sysrq-trigger",
        "mount -o remount,rw /sys",
        "mkdir /sys/fs/cgroup/pids/mine",
        "ip link set lo down",
        "dd if=/dev/vda of=/dev/null count=1",
        "dmesg -c",
        "chroot / true",
    ] {
        boxed.must_not(script).await;
    }
}

#[tokio::test]
async fn nothing_of_the_machine_is_seen() {
    let Some(place) = Place::new().await else { return };
    let (boxed, other) = (place.run(&spec()).await, place.run(&spec()).await);
    other.must("echo secret > /workspace/secret").await;
    std::fs::write(place.folder().join("private"), "private").expect("a file");
    let deployment = place.deployment.dir.display().to_string();
    let socket = engine_socket().display().to_string();
    let own = place.folder().join("private").display().to_string();
    for path in
        [&*deployment, &*socket, &*own, "/var/run/docker.sock", "/run/docker.sock", "/etc/machine-id", "/dev/vda"]
    {
        boxed.must_not(&format!("ls -d {path}")).await;
    }
    assert_eq!(boxed.must("ls /.longshore; ls /.longshore/run").await, "longshore\nrun\nboxd.sock");
    boxed.must_not("echo more >> /.longshore/longshore").await;
    boxed.must_not("rm -rf /.longshore/longshore").await;

    let mut marked =
        std::process::Command::new("sleep").arg("1000").env("WALL_TEST", "seen").spawn().expect("a process");
    let seen =
        boxed.must("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; ls -d /proc/[0-9]* | wc -l").await;
    let _ = (marked.kill(), marked.wait());
    assert!(!seen.contains("WALL_TEST"), "{seen}");
    let count: u32 = seen.lines().next_back().expect("a number").parse().expect("a number");
    assert!(count < 12, "{seen}");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    assert!(host.trim() == "box" || !boxed.must("hostname; cat /etc/hosts /etc/hostname").await.contains(host.trim()));
}

#[tokio::test]
async fn what_a_box_writes_beside_its_socket_is_not_on_the_disk_of_the_machine() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&spec()).await;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for _ in 0..2 {
        let run = boxed.must_not("dd if=/dev/zero of=/.longshore/run/fill bs=64k count=64").await;
        assert!(run.stderr.contains("No space left"), "{run:?}");
        boxed.must_not("for i in $(seq 100); do : > /.longshore/run/$i || exit 1; done").await;
        place.backend.stop(boxed.id).await.expect("a stop");
        assert!(!place.dir(boxed.id).join("memory/run").exists());
        place.backend.start(boxed.id, &spec()).await.expect("a start");
        assert_eq!(boxed.must("ls /.longshore/run").await, "boxd.sock");
    }
    // A box that ended by itself starts again, too, whatever it left there.
    boxed.must("rm /.longshore/run/boxd.sock; mkdir /.longshore/run/boxd.sock").await;
    crate::docker_support::docker(&["kill", &place.container(boxed.id)]);
    place.backend.start(boxed.id, &spec()).await.expect("a start");
    assert_eq!(boxed.must("ls /.longshore/run").await, "boxd.sock");
}

#[tokio::test]
async fn a_closed_box_has_no_network() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&Spec { image: Some(DEBIAN.to_owned()), ..spec() }).await;
    assert_eq!(boxed.must("ls /sys/class/net").await, "lo");
    boxed.must_not("ip route get 198.51.100.1").await;
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    for host in ["127.0.0.1", "172.17.0.1", "169.254.169.254", "198.51.100.1"] {
        let script = format!("exec 3<>/dev/tcp/{host}/{port}");
        boxed.must_not(&format!("timeout 5 bash -c '{script}'")).await;
    }
    boxed.must_not("getent hosts example.com").await;
    // Names of sockets without a file are of the network, too.
    let name = format!("wall-{}", place.deployment.name);
    let address = <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address.expect("a name")).expect("a socket");
    let connect = format!("import socket; socket.socket(socket.AF_UNIX).connect('\\0{name}')");
    boxed.must_not(&format!("python3 -c \"{connect}\"")).await;
}

#[tokio::test]
async fn packages_can_be_unpacked_and_users_changed() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&Spec { image: Some(DEBIAN.to_owned()), ..spec() }).await;
    // What installing packages does: owners, modes, users, signals to other users.
    boxed
        .must(
            "set -e; cd /tmp; mkdir p; touch p/a; chown 33:33 p/a; chmod 4755 p/a; tar -cf a.tar p; rm -r p; tar -xpf a.tar; \
             test \"$(stat -c %u:%a p/a)\" = 33:4755; useradd --create-home worker; su worker -c 'touch ~/x'; rm ~worker/x; \
             setpriv --reuid 33 --regid 33 --clear-groups sleep 100 & sleep 0.2; kill $!",
        )
        .await;
    boxed
        .must("git init -q r && cd r && git -c user.name=a -c user.email=b commit -q --allow-empty -m c && git log")
        .await;
}

#[tokio::test]
async fn a_container_is_made_with_all_the_walls() {
    let Some(place) = Place::new().await else { return };
    let id = SandboxId::random();
    place.backend.create(id, &spec()).await.expect("a box");
    for (field, value) in [
        (".HostConfig.Privileged", "false"),
        (".HostConfig.CapDrop", r#"["ALL"]"#),
        (".HostConfig.SecurityOpt", r#"["no-new-privileges"]"#),
        (".HostConfig.NetworkMode", r#""none""#),
        (".HostConfig.IpcMode", r#""private""#),
        (".HostConfig.PidMode", r#""""#),
        (".HostConfig.PidsLimit", "4100"),
        (".HostConfig.OomScoreAdj", "300"),
        (".HostConfig.Init", "true"),
        (".HostConfig.RestartPolicy.Name", r#""no""#),
        (".HostConfig.LogConfig.Type", r#""json-file""#),
        (".HostConfig.LogConfig.Config", r#"{"max-file":"1","max-size":"1m"}"#),
        (".HostConfig.Binds", "null"),
        (".HostConfig.Devices", "null"),
        (".HostConfig.PortBindings", "null"),
    ] {
        let found = place.inspect(id, field);
        assert!(found == value || (value == "null" && ["[]", "{}"].contains(&&*found)), "{field}: {found}");
    }
    for field in [".HostConfig.MaskedPaths", ".HostConfig.ReadonlyPaths"] {
        assert!(place.inspect(id, field).contains("/proc/"), "{field}");
    }
}
