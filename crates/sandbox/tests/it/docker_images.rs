//! How images come to the engine.

use std::{
    fs::File,
    net::TcpStream,
    path::Path,
    process::{Child, Command as Program, Stdio},
    sync::Mutex,
};

use longshore_sandbox::{Backend as _, Circumstances, Deployment, Error, Kind, Spec};
use longshore_workspace::LocalOptions;
use tempfile::TempDir;

use crate::docker_support::{BUSYBOX, Place, docker, run, skip, spec, until};

fn image(image: &str) -> Spec {
    Spec { image: Some(image.to_owned()), ..spec() }
}

/// Fetches an image, and notes how far it was.
async fn fetch(place: &Place, name: &str) -> (Result<(), Error>, Vec<u8>) {
    let told = Mutex::new(Vec::new());
    let note = |text: &str, percent| {
        assert!(text.contains(name), "{text}");
        told.lock().expect("a list").extend(percent);
    };
    let fetched = place.backend.prepare(&image(name), &note).await;
    (fetched, told.into_inner().expect("a list"))
}

#[tokio::test]
async fn an_image_is_fetched_once_and_says_how_far_it_is() {
    let Some(place) = Place::new().await else { return };
    let Some(registry) = Registry::start(None).await else { return };
    let name = registry.name("big:v1");
    let bytes = "RUN dd if=/dev/urandom of=/bytes bs=1M count=24";
    place.build(&name, &format!("FROM {BUSYBOX}\n{bytes}\nRUN echo more > /more\n"));
    docker(&["push", "--quiet", &name]);
    let digests = docker(&["inspect", "--format", "{{ join .RepoDigests \" \" }}", &name]);
    let pinned = digests.split(' ').find(|digest| digest.contains(&registry.port)).expect("a digest").to_owned();
    docker(&["rmi", &name]);

    let ((one, told), (two, also)) = tokio::join!(fetch(&place, &name), fetch(&place, &name));
    one.expect("the image");
    two.expect("the image");
    let (told, silent) = if told.is_empty() { (also, told) } else { (told, also) };
    assert!(silent.is_empty(), "{silent:?}");
    assert!(told.is_sorted() && told.last() == Some(&100), "{told:?}");
    assert_eq!(place.run(&image(&name)).await.must("cat /more").await, "more");
    assert!(fetch(&place, &name).await.1.is_empty(), "it is here");

    place.destroy_all().await;
    docker(&["rmi", &name]);
    place.own(&pinned);
    fetch(&place, &pinned).await.0.expect("the image");
    assert_eq!(place.run(&image(&pinned)).await.must("cat /more").await, "more");
}

#[tokio::test]
async fn an_image_that_cannot_be_fetched_says_why() {
    let Some(place) = Place::new().await else { return };
    let Some(registry) = Registry::start(None).await else { return };
    let cause = fetch(&place, &registry.name("none:v1")).await.0.expect_err("there is none").to_string();
    assert!(cause.contains(&format!("127.0.0.1:{} has no image", registry.port)) && cause.contains("tag"), "{cause}");

    let closed = registry.name("none:v1");
    drop(registry);
    let error = fetch(&place, &closed).await.0.expect_err("nobody listens");
    let cause = error.to_string();
    assert!(matches!(error, Error::Failed { .. }) && cause.contains("cannot reach the registry 127.0.0.1:"), "{cause}");

    // bcrypt, because the registry takes nothing else.
    let secret = "user:$2b$04$5q9.XWLGRrVLo5t7SRNuDuN9K2UeWfBYoUKLrZ0wSCqgIDz0YfrPW\n";
    let Some(registry) = Registry::start(Some(secret)).await else { return };
    let cause = fetch(&place, &registry.name("secret:v1")).await.0.expect_err("it is closed").to_string();
    assert!(!cause.contains("http"), "what the registry says stays in the log: {cause}");
    assert!(cause.contains("needs a login") && cause.contains("docker login 127.0.0.1:"), "{cause}");
}

#[tokio::test]
async fn a_box_of_an_image_that_is_not_there_is_refused() {
    let Some(place) = Place::new().await else { return };
    let id = longshore_sandbox::SandboxId::random();
    let error = place.backend.create(id, &image("127.0.0.1:1/none")).await.expect_err("there is none");
    assert!(error.to_string().contains("the image 127.0.0.1:1/none is not there"), "{error}");
}

#[test]
fn the_operators_image_needs_no_pattern_and_the_usual_one_does() {
    let folder = TempDir::new().expect("a folder");
    let backend = |default_image: Option<&str>| {
        let circumstances = Circumstances {
            deployment: Deployment {
                name: "test".to_owned(),
                dir: folder.path().into(),
                program: folder.path().into(),
            },
            options: serde_json::json!({ "allowed_images": ["debian:12*"] }),
            local: LocalOptions::new(folder.path()),
            default_image: default_image.map(str::to_owned),
            is_personal: false,
            has_users: false,
        };
        Kind::named("docker").expect("a kind").backend(circumstances).expect("a backend")
    };
    let own = backend(Some("registry.example.com/team/own:1"));
    own.validate(&image("registry.example.com/team/own:1")).expect("the operator says so");
    own.validate(&image("debian:12")).expect("it is listed");
    own.validate(&image("python:3.13")).expect_err("nobody says so");
    backend(None).validate(&image("python:3.13")).expect("the usual one");
}

#[tokio::test]
async fn an_image_is_built_from_a_folder() {
    let Some(place) = Place::new().await else { return };
    let folder = place.folder().join("context");
    let write = |path: &str, text: &str| {
        std::fs::create_dir_all(folder.join(path).parent().expect("a folder")).expect("a folder");
        std::fs::write(folder.join(path), text).expect("a file");
    };
    write(
        "image/Dockerfile",
        &format!("FROM {BUSYBOX}\nCOPY . /all\nRUN echo built; ls -lR /all; : {}\n", place.deployment.name),
    );
    write(".dockerignore", "secret\n*.log\n");
    write("secret/key", "hidden");
    write("a.log", "hidden");
    write("src/run", "#!/bin/sh\necho ran");
    run("chmod", &["0750", &folder.join("src/run").display().to_string()]);
    std::os::unix::fs::symlink("src/run", folder.join("link")).expect("a link");

    let tag = format!("longshore-test/built-{}", place.deployment.name);
    let lines = Mutex::new(String::new());
    let note = |line: &str, _| lines.lock().expect("lines").push_str(&format!("{line}\n"));
    place.backend.build(&tag, &folder, "image/Dockerfile", &note).await.expect("an image");
    place.own(&tag);
    let lines = lines.into_inner().expect("lines");
    assert!(lines.contains("built\n") && lines.contains("Step 3/3"), "{lines}");

    let boxed = place.run(&image(&tag)).await;
    assert_eq!(boxed.must("/all/link; stat -c '%u %a' /all/src/run; ls /all").await, "ran\n0 750\nimage\nlink\nsrc");

    write("image/Broken", &format!("FROM {BUSYBOX}\nRUN exit 3\n"));
    let error = place.backend.build("longshore-test/broken", &folder, "image/Broken", &|_, _| ()).await;
    let error = error.expect_err("a step fails").to_string();
    assert!(error.starts_with("cannot build the image longshore-test/broken: ") && error.contains('3'), "{error}");
    let missing = place.backend.build("longshore-test/none", Path::new("/no/such"), "Dockerfile", &|_, _| ()).await;
    assert!(missing.is_err_and(|error| error.to_string().contains("there is no file Dockerfile")));
}

/// A registry on this machine.
struct Registry {
    process: Child,
    port: String,
    _folder: TempDir,
}

impl Registry {
    /// One for everybody, or one for whom a file of passwords names. None where the program is missing.
    async fn start(passwords: Option<&str>) -> Option<Self> {
        if Program::new("docker-registry").arg("--version").stdout(Stdio::null()).status().is_err() {
            skip("the program docker-registry is missing (scripts/engine images installs it)");
            return None;
        }
        let folder = TempDir::new().expect("a folder");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port().to_string();
        let path = folder.path().display();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {path}\nhttp:\n  addr: 127.0.0.1:{port}\n"
        );
        if let Some(passwords) = passwords {
            std::fs::write(folder.path().join("passwords"), passwords).expect("a file");
            config.push_str(&format!("auth:\n  htpasswd:\n    realm: test\n    path: {path}/passwords\n"));
        }
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).expect("a file");
        let log = File::create(folder.path().join("log")).expect("a file");
        drop(listener);
        let process = Program::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        let registry = Self { process, port, _folder: folder };
        until("the registry listens", || async { TcpStream::connect(format!("127.0.0.1:{}", registry.port)).is_ok() })
            .await;
        Some(registry)
    }

    fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}
