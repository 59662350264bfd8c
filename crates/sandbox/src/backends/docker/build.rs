//! Making images from a `Dockerfile`.

use std::{path::Path, time::Duration};

use bollard::{
    body_try_stream,
    errors::Error as Refusal,
    models::BuildInfo,
    query_parameters::{BuildImageOptionsBuilder, BuilderVersion},
};
use futures::StreamExt;

use super::{Docker, archive, blocking, context::Context, engine::message};
use crate::{Error, Progress};

/// How many bytes of a line of output are told.
const LINE_LIMIT: usize = 1024;
/// How long a step may say nothing.
const SILENCE_LIMIT: Duration = Duration::from_mins(30);

impl Docker {
    /// Makes the image `tag` from the folder `context`, by the rules of the file `dockerfile` in it (a relative path). Tells each
    /// line of output. What `.dockerignore` names stays here.
    ///
    /// Commands in the file run with the engine's ordinary network, so they are the operator's business, and no box's.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such file, or the folder has more than 2 GiB or 1 000 000 files; what the engine says if
    /// a step fails.
    pub async fn build(
        &self,
        tag: &str,
        context: &Path,
        dockerfile: &str,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let (folder, file) = (context.to_owned(), dockerfile.to_owned());
        let context = blocking(move || Context::gather(&folder, &file)).await?;
        progress(&format!("sending {} files, {} bytes", context.files(), context.bytes()), None);

        let content = archive::stream(move |archive| context.write(archive));
        let options = BuildImageOptionsBuilder::default()
            .t(tag)
            .dockerfile(dockerfile)
            .rm(true)
            .forcerm(true)
            .version(BuilderVersion::BuilderV1)
            .build();
        let client = self.engine.client().await?;
        let mut output = client.build_image(options, None, Some(body_try_stream(content))).boxed();
        loop {
            let event = tokio::time::timeout(SILENCE_LIMIT, output.next()).await.map_err(|_| {
                let cause = format!("a step has said nothing for {} minutes", SILENCE_LIMIT.as_secs() / 60);
                Error::failed(format!("build the image {tag}"), cause)
            })?;
            match event {
                None => return Ok(()),
                Some(Ok(event)) => tell(&event, progress),
                Some(Err(refusal)) => return Err(self.build_failed(tag, refusal)),
            }
        }
    }

    fn build_failed(&self, tag: &str, refusal: Refusal) -> Error {
        match &refusal {
            Refusal::DockerStreamError { .. } => Error::failed(format!("build the image {tag}"), message(&refusal)),
            _ => self.engine.failed(format!("build the image {tag}"), refusal),
        }
    }
}

fn tell(event: &BuildInfo, progress: Progress<'_>) {
    let text = event.stream.as_deref().or(event.status.as_deref()).unwrap_or_default();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let end = line.floor_char_boundary(LINE_LIMIT);
        progress(&line[..end], None);
    }
}
