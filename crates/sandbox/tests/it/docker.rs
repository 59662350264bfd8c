//! The life of a box of Docker.

use std::{io, path::Path};

use longshore_sandbox::{Backend as _, Network, Running, SandboxId, Spec, Volume};
use longshore_workspace::{Command, Parents};
use tokio::io::AsyncReadExt as _;

use crate::docker_support::{BUSYBOX, DEBIAN, EMPTY, Place, docker, engine_socket, is_gone, spec, until};

fn image(image: &str) -> Spec {
    Spec { image: Some(image.to_owned()), ..spec() }
}

#[tokio::test]
async fn a_box_lives_from_its_creation_to_its_end() {
    for wanted in [BUSYBOX, DEBIAN] {
        let Some(place) = Place::new().await else { return };
        let (backend, id, spec) = (&place.backend, SandboxId::random(), image(wanted));
        backend.prepare(&spec, &|_, _| ()).await.expect("the image");
        backend.create(id, &spec).await.expect("a box");
        assert_eq!(place.running(id).await, Some(Running::No));
        assert_eq!(backend.open(id).await.err().expect("it does not run").kind(), io::ErrorKind::NotConnected);
        backend.start(id, &spec).await.expect("a start");
        assert_eq!(place.running(id).await, Some(Running::Yes));

        let boxed = place.boxed(id, &spec);
        assert_eq!(boxed.must("pwd; id -u; hostname").await, "/workspace\n0\nbox");
        boxed.must("echo kept > file; echo kept > /root/file; echo kept > /tmp/file").await;

        backend.stop(id).await.expect("a stop");
        assert_eq!(place.running(id).await, Some(Running::No));
        assert_eq!(backend.open(id).await.err().expect("it does not run").kind(), io::ErrorKind::NotConnected);
        backend.start(id, &spec).await.expect("another start");
        assert_eq!(boxed.must("cat file /root/file /tmp/file").await, "kept\nkept\nkept");

        backend.destroy(id).await.expect("no box");
        assert_eq!(place.running(id).await, None);
        assert!(!place.dir(id).exists());
    }
}

#[tokio::test]
async fn every_step_may_be_taken_again() {
    let Some(place) = Place::new().await else { return };
    let (backend, id) = (&place.backend, SandboxId::random());
    backend.stop(id).await.expect("nothing to stop");
    backend.destroy(id).await.expect("nothing to destroy");
    assert!(is_gone(backend.start(id, &spec()).await));
    for _ in 0..2 {
        backend.create(id, &spec()).await.expect("a box");
    }
    backend.start(id, &spec()).await.expect("a start");
    let boxed = place.boxed(id, &spec());
    boxed.must("setsid sleep 1000 > /dev/null 2>&1 & echo $! > pid").await;
    backend.start(id, &spec()).await.expect("it runs already");
    backend.create(id, &spec()).await.expect("it is there already");
    boxed.must("kill -0 $(cat pid)").await;
    for _ in 0..2 {
        backend.pause(id).await.expect("a pause");
    }
    for _ in 0..2 {
        backend.resume(id).await.expect("it goes on");
    }
    boxed.must("kill -0 $(cat pid)").await;
    for _ in 0..2 {
        backend.stop(id).await.expect("a stop");
    }
    assert!(is_gone(backend.pause(id).await) && is_gone(backend.resume(id).await));
    for _ in 0..2 {
        backend.destroy(id).await.expect("no box");
    }
    assert!(is_gone(backend.pause(id).await) && is_gone(backend.stats(id).await.map(drop)));
    assert!(is_gone(backend.set_limits(id, &spec().limits).await));
}

#[tokio::test]
async fn a_paused_box_halts_and_goes_on_where_it_was() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&spec()).await;
    boxed.must("echo > ticks; setsid sh -c 'while :; do echo >> ticks; sleep 0.01; done' > /dev/null 2>&1 &").await;
    place.backend.pause(boxed.id).await.expect("a pause");
    assert_eq!(place.running(boxed.id).await, Some(Running::Paused));
    let length = || place.workspace_file(boxed.id, "ticks").len();
    let before = length();
    // Were it running, a tick would come while a moment passes.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!((length(), place.running(boxed.id).await), (before, Some(Running::Paused)));
    place.backend.resume(boxed.id).await.expect("it goes on");
    until("it ticks", || async { length() > before }).await;

    // A paused one can be stopped, started and removed, too.
    place.backend.pause(boxed.id).await.expect("a pause");
    place.backend.stop(boxed.id).await.expect("a stop");
    place.backend.start(boxed.id, &spec()).await.expect("a start");
    place.backend.pause(boxed.id).await.expect("a pause");
    place.backend.start(boxed.id, &spec()).await.expect("a start of what is only halted");
    boxed.must("true").await;
    place.backend.pause(boxed.id).await.expect("a pause");
    place.backend.destroy(boxed.id).await.expect("no box");
}

#[tokio::test]
async fn boxes_outlive_a_server_and_are_found_by_the_next() {
    let Some(mut place) = Place::new().await else { return };
    let boxed = place.run(&spec()).await;
    boxed.must("setsid sleep 1000 > /dev/null 2>&1 & echo $! > pid").await;
    let paused = place.run(&spec()).await;
    place.backend.pause(paused.id).await.expect("a pause");
    place.restart().await;
    assert_eq!(place.backend.list().await.expect("a list").len(), 2);
    assert_eq!(place.running(boxed.id).await, Some(Running::Yes));
    assert_eq!(place.running(paused.id).await, Some(Running::Paused));
    place.boxed(boxed.id, &spec()).must("kill -0 $(cat pid)").await;
    place.backend.resume(paused.id).await.expect("it goes on");
    place.boxed(paused.id, &spec()).must("true").await;
}

#[tokio::test]
async fn what_a_server_left_half_done_is_found_and_removed() {
    let Some(place) = Place::new().await else { return };
    // A folder, and nothing else.
    let folder = SandboxId::random();
    std::fs::create_dir_all(place.dir(folder)).expect("a folder");
    // A container, and no folder.
    let container = place.run(&spec()).await.id;
    // Only root has a file system mounted there.
    let _ = rustix::mount::unmount(place.dir(container).join("memory"), rustix::mount::UnmountFlags::DETACH);
    std::fs::remove_dir_all(place.dir(container)).expect("no folder");
    // A volume, and no container.
    let volume = SandboxId::random();
    place.backend.create(volume, &spec()).await.expect("a box");
    docker(&["rm", "--force", &place.container(volume)]);
    // Somebody else's, which is left alone.
    let other = docker(&["create", "--label", "longshore.deployment=other", BUSYBOX]);

    let found: Vec<_> = place.backend.list().await.expect("a list").into_iter().map(|found| found.id).collect();
    for id in [folder, container, volume] {
        assert!(found.contains(&id));
        place.backend.destroy(id).await.expect("no box");
    }
    assert_eq!((found.len(), place.backend.list().await.expect("a list").len()), (3, 0));
    docker(&["rm", &other]);
}

#[tokio::test]
async fn an_image_with_nothing_in_it_is_a_place_to_work_in() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&image(EMPTY)).await;
    let workspace = &boxed.workspace;
    let mut writer = workspace.write(Path::new("a/file"), Parents::Created).await.expect("a file");
    writer.write(b"content").await.expect("bytes");
    writer.finish().await.expect("an end");
    let (_, mut reader) = workspace.read(Path::new("/workspace/a/file"), 0).await.expect("the file");
    let mut content = String::new();
    reader.read_to_string(&mut content).await.expect("its content");
    assert_eq!(content, "content");
    let names = workspace.list(Path::new("/")).await.expect("a list");
    assert!(names.iter().any(|entry| entry.name == "folder"), "{names:?}");
    // The only program there is runs, too.
    let command = Command::new("/.longshore/longshore").arg("--version");
    let mut process = workspace.spawn(command).await.expect("it starts");
    assert!(process.control.wait().await.expect("an end").success());
    workspace.spawn(Command::new("sh")).await.expect_err("there is no shell");
}

#[tokio::test]
async fn a_box_is_reached_without_a_shared_socket_as_well() {
    let Some(place) = Place::with(|options| options.only_exec = true).await else { return };
    let boxed = place.run(&spec()).await;
    let mut writer = boxed.workspace.write(Path::new("file"), Parents::Required).await.expect("a file");
    let chunk: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    for _ in 0..20 {
        writer.write(&chunk).await.expect("bytes");
    }
    writer.finish().await.expect("an end");
    let (_, mut reader) = boxed.workspace.read(Path::new("file"), 0).await.expect("the file");
    let mut content = Vec::new();
    reader.read_to_end(&mut content).await.expect("its content");
    assert!(content == chunk.repeat(20));
    assert_eq!(boxed.must("echo out; echo err >&2").await, "out");
    place.backend.stop(boxed.id).await.expect("a stop");
    assert_eq!(place.backend.open(boxed.id).await.err().expect("it does not run").kind(), io::ErrorKind::NotConnected);
}

#[tokio::test]
async fn what_the_image_says_stays_and_what_the_box_says_is_added() {
    let Some(place) = Place::new().await else { return };
    let tag = format!("longshore-test/own-{}", place.deployment.name);
    place.build(
        &tag,
        &format!(
            "FROM {BUSYBOX}\nENV FROM_IMAGE=yes BOTH=image\nRUN mkdir -p /workspace /data && echo old > /workspace/seen \
             && chown -R someone /workspace\nWORKDIR /data\nUSER someone\nENTRYPOINT [\"false\"]\nHEALTHCHECK CMD false\n\
             VOLUME /data\n"
        ),
    );
    let mut spec = image(&tag);
    spec.env = [("BOTH", "box"), ("MORE", "line\nline $X \"'")].map(|(name, value)| (name.into(), value.into())).into();
    let boxed = place.run(&spec).await;
    assert_eq!(boxed.must("id -un; pwd").await, "someone\n/workspace");
    assert_eq!(boxed.must("echo $FROM_IMAGE $BOTH; echo \"$MORE\"").await, "yes box\nline\nline $X \"'");
    // What the image has in the workspace is there, and belongs to its user.
    assert_eq!(boxed.must("cat seen; echo new > seen; cat seen").await, "old\nnew");
    assert!(!place.inspect(boxed.id, ".State").contains("Health"), "nothing checks what does not run");

    let shown = format!("{:?} {:?}", place.backend, place.inspect(boxed.id, ".Config.Labels"));
    assert!(!shown.contains("line $X"), "{shown}");
    let volumes = || docker(&["volume", "ls", "--quiet", "--filter", "dangling=false"]).lines().count();
    let before = volumes();
    place.backend.destroy(boxed.id).await.expect("no box");
    assert!(volumes() < before, "the image's volume is gone");
}

#[tokio::test]
async fn the_operator_chooses_the_user_and_the_folders() {
    let Some(place) = Place::with(|options| options.user = Some("1000:1000".to_owned())).await else { return };
    let folder = place.folder().join("shared");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("file"), "from outside").expect("a file");
    let volume = |path: &str| Volume { host: folder.clone(), path: path.into(), read_only: true };
    let boxed = place.run(&Spec { volumes: vec![volume("/shared")], ..spec() }).await;
    assert_eq!(boxed.must("id -u; id -g; cat /shared/file").await, "1000\n1000\nfrom outside");
    boxed.must("echo mine > /workspace/file").await;
    boxed.must_not("echo mine > /shared/file").await;

    let refused = |volume: Volume| {
        let spec = Spec { volumes: vec![volume], ..spec() };
        let backend = place.backend.clone();
        async move { backend.create(SandboxId::random(), &spec).await.expect_err("it is refused").to_string() }
    };
    for path in ["/", "/.longshore/run", "relative"] {
        refused(volume(path)).await;
    }
    for host in ["/var/run", "/", "/var/run/docker.sock", &*engine_socket().display().to_string()] {
        let cause = refused(Volume { host: host.into(), ..volume("/x") }).await;
        assert!(cause.contains("socket of the engine"), "{host}: {cause}");
    }
    let cause = refused(Volume { host: "/no/such/folder".into(), ..volume("/x") }).await;
    assert!(cause.contains("/no/such/folder is not on the engine's machine"), "{cause}");
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_with_a_reason() {
    let Some(place) = Place::with(|options| options.allowed_images = vec!["longshore-test/deb*".to_owned()]).await
    else {
        return;
    };
    let refused = |spec: Spec| {
        let backend = place.backend.clone();
        async move {
            let early = backend.validate(&spec).expect_err("it is refused").to_string();
            let late = backend.create(SandboxId::random(), &spec).await.expect_err("it is refused").to_string();
            assert_eq!(early, late);
            late
        }
    };
    assert!(refused(image(EMPTY)).await.contains("not allowed here"));
    for name in ["-v", "a b", "../x", "https://example.com/image", ""] {
        assert!(refused(image(name)).await.contains("no name of an image"), "{name}");
    }
    assert!(refused(Spec { working_dir: "relative".into(), ..spec() }).await.contains("absolute path"));
    let secret = Spec { env: [("A=B".to_owned(), "hidden".to_owned())].into(), ..spec() };
    let cause = refused(secret).await;
    assert!(cause.contains("'A=B'") && !cause.contains("hidden"), "{cause}");
    place.backend.validate(&image(DEBIAN)).expect("a pattern allows it");
    place.backend.validate(&spec()).expect("the operator's own image");
}

#[tokio::test]
async fn a_box_that_cannot_start_says_why() {
    let Some(mut place) = Place::new().await else { return };
    place.deployment.program = "/usr/bin/false".into();
    place.restart().await;
    let id = SandboxId::random();
    place.backend.create(id, &image(DEBIAN)).await.expect("a box");
    let cause = place.backend.start(id, &image(DEBIAN)).await.expect_err("it ends at once").to_string();
    assert!(cause.starts_with("cannot start the box: ") && cause.contains("exit code"), "{cause}");
    assert_eq!(place.running(id).await, Some(Running::No));
}

#[tokio::test]
async fn a_box_cannot_put_something_else_in_the_place_of_its_socket() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&spec()).await;
    let socket = place.dir(boxed.id).join("run/boxd.sock");
    if !socket.exists() {
        return;
    }
    let listener = std::os::unix::net::UnixListener::bind(place.folder().join("private.sock")).expect("a socket");
    listener.set_nonblocking(true).expect("a listener");
    let target = place.folder().join("private.sock");
    boxed.must(&format!("cd /.longshore/run && rm boxd.sock && ln -s {} boxd.sock", target.display())).await;
    // The engine's way is left, where the same name leads to nothing in the box.
    let stream = place.backend.open(boxed.id).await;
    if let Ok(mut stream) = stream {
        let mut byte = [0];
        assert!(stream.read(&mut byte).await.is_ok_and(|count| count == 0) || byte == [0]);
    }
    assert_eq!(listener.accept().expect_err("nobody came").kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_proxied_box_has_no_other_way_out() {
    let Some(place) = Place::new().await else { return };
    let boxed = place.run(&Spec { network: Network::Proxied, ..spec() }).await;
    assert_eq!(place.inspect(boxed.id, ".HostConfig.NetworkMode"), "\"none\"");
    assert_eq!(boxed.must("ls /sys/class/net").await, "lo");
    assert!(place.inspect(boxed.id, ".Config.Cmd").contains("\"--proxy-port\",\"13128\""));
}
