//! Images: which may be used, and how they come here.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use bollard::{models::CreateImageInfo, query_parameters::CreateImageOptionsBuilder};
use futures::StreamExt;
use globset::GlobBuilder;
use parking_lot::Mutex;

use super::{
    Build, Docker, DockerOptions,
    engine::{is_missing, message},
    registry,
};
use crate::{Error, Progress};

/// The longest name of an image.
const NAME_LIMIT: usize = 512;
/// The time in which a registry must go on sending.
const SILENCE_LIMIT: Duration = Duration::from_mins(5);

/// Whether a box may ask for an image.
pub(super) fn allow(wanted: Option<&str>, options: &DockerOptions) -> Result<(), Error> {
    let Some(wanted) = wanted.filter(|wanted| *wanted != options.image) else { return Ok(()) };
    if options.builds.contains_key(wanted) {
        return Ok(());
    }
    let name = Name::parse(wanted)?;
    for pattern in &options.allowed_images {
        if Name::split(pattern).covers(&name)? {
            return Ok(());
        }
    }
    if options.allowed_images.is_empty() && options.only_listed_images {
        return Err(Error::Invalid(format!(
            "the image {wanted} is not allowed here: leave image out to get {}, or ask the operator to list it in \
             `allowed_images` of [backend.docker]",
            options.image
        )));
    }
    if options.allowed_images.is_empty() {
        return match registry::objection(name.registry()) {
            None => Ok(()),
            Some(what) => Err(Error::Invalid(format!(
                "the registry {} of the image {wanted} is {what}: the operator must list it in `allowed_images`, such as \
                 '{0}/**', or fetch the image and name it otherwise with `docker tag`",
                name.registry()
            ))),
        };
    }
    Err(Error::Invalid(format!(
        "the image {wanted} is not allowed here: choose one that matches {}, or ask the operator",
        options.allowed_images.join(", ")
    )))
}

/// Who fetches which image now.
#[derive(Debug, Default)]
pub(super) struct Images {
    fetching: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Images {
    /// Makes sure that an image is here.
    pub(super) async fn fetch(
        &self,
        docker: &Docker,
        wanted: Option<&str>,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        allow(wanted, &docker.options)?;
        let image = wanted.unwrap_or(&docker.options.image);
        let name = Name::parse(image)?;
        if is_here(docker, image).await? {
            return Ok(());
        }
        progress(&format!("fetching the image {image}"), None);
        // Others who want it wait here and then find it.
        let turn = self.turn(image);
        let _fetching = turn.lock().await;
        if is_here(docker, image).await? {
            return Ok(());
        }
        match docker.options.builds.get(image) {
            Some(Build { context, dockerfile }) => docker.build(image, context, dockerfile, progress).await,
            None => pull(docker, image, &name, progress).await,
        }
    }

    fn turn(&self, image: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut fetching = self.fetching.lock();
        fetching.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = fetching.get(image).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        fetching.insert(image.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

async fn is_here(docker: &Docker, image: &str) -> Result<bool, Error> {
    match docker.engine.client().await?.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(refusal) if is_missing(&refusal) => Ok(false),
        Err(refusal) => Err(docker.engine.failed(format!("look for the image {image}"), refusal)),
    }
}

async fn pull(docker: &Docker, image: &str, name: &Name<'_>, progress: Progress<'_>) -> Result<(), Error> {
    // Without a tag the engine would fetch all there are.
    let tag = name.digest.or(name.tag).unwrap_or("latest");
    let options = CreateImageOptionsBuilder::default().from_image(name.repository).tag(tag).build();
    let mut events = docker.engine.client().await?.create_image(Some(options), None, None).boxed();
    let mut layers = Layers::default();
    loop {
        let event = tokio::time::timeout(SILENCE_LIMIT, events.next()).await.map_err(|_| {
            let cause = format!("its registry has sent nothing for {} s; try again later", SILENCE_LIMIT.as_secs());
            Error::failed(format!("fetch the image {image}"), cause)
        })?;
        match event {
            None => return Ok(()),
            Some(Ok(event)) => {
                if let Some(percent) = layers.note(event) {
                    progress(&format!("fetching the image {image}"), Some(percent));
                }
            }
            Some(Err(refusal)) => {
                let text = message(&refusal);
                let failed = docker.engine.failed(format!("fetch the image {image}"), refusal);
                if matches!(failed, Error::Unavailable { .. }) {
                    return Err(failed);
                }
                tracing::warn!(image, reason = text, "the engine cannot fetch an image");
                return Err(explain(image, name, &text));
            }
        }
    }
}

/// What a registry's answer means. Nothing of the answer is in it: a hostile registry makes the engine fetch from wherever it
/// likes, and what is there may not be for the eyes of whoever named the image.
fn explain(image: &str, name: &Name<'_>, text: &str) -> Error {
    let lower = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| lower.contains(words));
    let failed = |cause: String| Error::failed(format!("fetch the image {image}"), cause);
    let registry = name.registry();
    if says(&["pull access denied", "unauthorized", "authentication required", "no basic auth", "denied:", "forbidden"])
    {
        return Error::Invalid(format!(
            "the registry {registry} does not hand out the image {image}: there is none of this name, or it needs a login; check \
             the name, or fetch it on the engine's machine with `docker login {registry}` and `docker pull {image}`"
        ));
    }
    if says(&[
        "no such host",
        "connection refused",
        "timeout",
        "deadline exceeded",
        "unreachable",
        "server misbehaving",
        "i/o",
        "eof",
        "tls",
    ]) {
        return failed(format!(
            "the engine cannot reach the registry {registry}; check the network and the engine's proxy settings"
        ));
    }
    if says(&["manifest unknown", "not found", "no such image", "does not exist", "no matching manifest"]) {
        return Error::Invalid(format!(
            "the registry {registry} has no image {image} for this machine: check its name and tag"
        ));
    }
    failed(format!("the registry {registry} or the engine refused it; the engine's log and the server's say why"))
}

/// How far the layers of an image are.
#[derive(Debug, Default)]
struct Layers {
    /// Bytes that are here, and all bytes, by layer.
    bytes: HashMap<String, (u64, u64)>,
    told: u8,
}

impl Layers {
    /// Percent, if that is more than was told before.
    fn note(&mut self, event: CreateImageInfo) -> Option<u8> {
        let layer = event.id?;
        match event.status.as_deref() {
            Some("Downloading") => {
                let detail = event.progress_detail?;
                let (current, total) = (u64::try_from(detail.current?).ok()?, u64::try_from(detail.total?).ok()?);
                self.bytes.insert(layer, (current.min(total), total));
            }
            Some("Download complete" | "Pull complete") => {
                let bytes = self.bytes.get_mut(&layer)?;
                bytes.0 = bytes.1;
            }
            _ => return None,
        }
        let (current, total) = self.bytes.values().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        let percent = u8::try_from(current * 100 / total.max(1)).ok()?;
        // More layers become known on the way, which must not look like a step back.
        (percent > self.told).then(|| {
            self.told = percent;
            percent
        })
    }
}

/// The parts of an image's name, or of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name<'a> {
    /// With the registry, if one is named.
    repository: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Name<'a> {
    /// Reads a name. The engine has stricter rules; these keep out what is no name at all.
    fn parse(text: &'a str) -> Result<Self, Error> {
        let is_sound = text.len() <= NAME_LIMIT
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-/:@+".contains(letter))
            && !["..", "//", "::", "/:"].iter().any(|part| text.contains(part));
        let name = Self::split(text);
        let is_complete = ![Some(name.repository), name.tag, name.digest].contains(&Some("")) && !text.ends_with('/');
        if is_sound && is_complete {
            return Ok(name);
        }
        let shown: String = text.chars().take(100).flat_map(char::escape_debug).collect();
        Err(Error::Invalid(format!(
            "'{shown}' is no name of an image: write one such as python:3.13 or ghcr.io/acme/tools@sha256:…"
        )))
    }

    fn split(text: &'a str) -> Self {
        let (text, digest) = match text.split_once('@') {
            Some((text, digest)) => (text, Some(digest)),
            None => (text, None),
        };
        let (repository, tag) = match text.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (text, None),
        };
        Self { repository, tag, digest }
    }

    fn registry(&self) -> &'a str {
        match self.repository.split_once('/') {
            Some((first, _))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first.contains(|letter: char| letter.is_ascii_uppercase()) =>
            {
                first
            }
            _ => "docker.io",
        }
    }

    /// The repository with what Docker adds to short names.
    fn full_repository(&self) -> String {
        let registry = self.registry();
        let path = self.repository.strip_prefix(registry).map_or(self.repository, |rest| rest.trim_start_matches('/'));
        let library = if registry == "docker.io" && !path.contains('/') && path != "**" { "library/" } else { "" };
        format!("{registry}/{library}{path}")
    }

    /// Whether this pattern covers a name. A tag means little beside a digest, so a pattern with a tag covers no name with one.
    fn covers(&self, name: &Name<'_>) -> Result<bool, Error> {
        let matches = |pattern: &str, text: &str| {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            let glob =
                glob.map_err(|cause| Error::Invalid(format!("the pattern '{pattern}' for images is wrong: {cause}")))?;
            Ok(glob.compile_matcher().is_match(text))
        };
        if !matches(&self.full_repository(), &name.full_repository())? {
            return Ok(false);
        }
        if let Some(digest) = self.digest {
            return Ok(name.digest == Some(digest));
        }
        match self.tag {
            None => Ok(true),
            Some(tag) => Ok(name.digest.is_none() && matches(tag, name.tag.unwrap_or("latest"))?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(image: &str, patterns: &[&str]) -> bool {
        let allowed_images = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let options = DockerOptions { image: "own".to_owned(), allowed_images, ..DockerOptions::default() };
        allow(Some(image), &options).is_ok()
    }

    #[test]
    fn patterns_decide_about_names_as_docker_reads_them() {
        assert!(is_allowed("anything/at:all", &[]));
        assert!(is_allowed("own", &["python"]));
        assert!(is_allowed("python", &["python"]));
        assert!(is_allowed("docker.io/library/python:3.13", &["python"]));
        assert!(is_allowed("python:3.13-slim", &["python:3.*"]));
        assert!(is_allowed("ghcr.io/acme/deep/tool@sha256:00ff", &["debian", "ghcr.io/acme/**"]));
        assert!(is_allowed("localhost:5000/tool", &["localhost:5000/*"]));
        for image in [
            "somebody/python",
            "ghcr.io/library/python",
            "python:2.7",
            "python@sha256:00ff",
            "python.evil.example/python",
        ] {
            assert!(!is_allowed(image, &["python:3.*"]), "{image}");
        }
        assert!(!is_allowed("ghcr.io/acme-evil/tool", &["ghcr.io/acme/**"]));
        assert!(!is_allowed("ghcr.io/acme/deep/tool", &["ghcr.io/acme/*"]));
    }

    #[test]
    fn users_choose_among_listed_images_only() {
        let listed = DockerOptions { image: "own".to_owned(), only_listed_images: true, ..DockerOptions::default() };
        allow(None, &listed).unwrap();
        allow(Some("own"), &listed).unwrap();
        allow(Some("python"), &listed).unwrap_err();
        let listed = DockerOptions { allowed_images: vec!["python".to_owned()], ..listed };
        allow(Some("python"), &listed).unwrap();
        allow(Some("debian"), &listed).unwrap_err();
    }

    #[test]
    fn a_private_registry_must_be_listed() {
        for image in ["localhost:5000/tool", "169.254.169.254/latest/meta-data", "METADATA/v1", "registry:5000/tool"] {
            assert!(!is_allowed(image, &[]), "{image}");
            assert!(!is_allowed(image, &["python", "ghcr.io/**"]), "{image}");
        }
        assert!(is_allowed("10.0.0.5:5000/team/tool", &["10.0.0.5:5000/**"]));
        assert!(is_allowed("own", &[]));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(NAME_LIMIT + 1);
        for text in
            ["", "-v", "/etc", "a b", "a\n", "../a", "a//b", "a:", "a@", "a/", "--privileged", "a;b", long.as_str()]
        {
            assert!(!is_allowed(text, &[]), "{text}");
        }
    }

    #[test]
    fn progress_only_grows() {
        let event = |layer: &str, status: &str, current, total| CreateImageInfo {
            id: Some(layer.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(bollard::models::ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        };
        let mut layers = Layers::default();
        assert_eq!(layers.note(event("a", "Downloading", 50, 100)), Some(50));
        assert_eq!(layers.note(event("b", "Downloading", 0, 100)), None);
        assert_eq!(layers.note(event("a", "Download complete", 0, 0)), None);
        assert_eq!(layers.note(event("b", "Downloading", 20, 100)), Some(60));
        assert_eq!(layers.note(event("b", "Pull complete", 0, 0)), Some(100));
    }

    #[test]
    fn what_a_registry_says_is_explained() {
        let explained = |text: &str| explain("a/b:c", &Name::split("a/b:c"), text).to_string();
        let login = explained("pull access denied for a/b, repository does not exist or may require 'docker login'");
        assert!(login.contains("login docker.io"), "{login}");
        assert!(explained("manifest for a/b:c not found: manifest unknown").contains("check its name and tag"));
        let unreachable =
            explained("Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host");
        assert!(unreachable.contains("cannot reach the registry docker.io"), "{unreachable}");
        for kind in ["unauthorized", "not found", "no such host", "error parsing"] {
            let shown =
                explained(&format!("{kind}: error parsing HTTP 403 response body: \"secret-of-a-private-host\""));
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
