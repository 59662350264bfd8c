//! The life of a box of Docker.

use std::{io, path::Path, sync::Arc};

use longshore_sandbox::{Backend as _, Running, SandboxId, Spec};
use longshore_workspace::{Command, Parents};
use tokio::io::AsyncReadExt as _;

use crate::docker_support::{BUSYBOX, DEBIAN, EMPTY, Place, docker, is_gone, spec, until};

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
