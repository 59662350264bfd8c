//! The configuration file (TOML). Flags come before it, and it before built-in values.

mod audit;
mod auth;
mod budget;
pub(crate) mod command;
mod models;
mod outbound;
mod reference;
mod server;
mod telemetry;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
pub(crate) use audit::Audit;
use longshore_llm::OperatedModel;
use longshore_protocol::sandbox::SandboxOptions;
use longshore_sandbox::{Kind, OnShutdown, Pool, Settings, Volume};
use longshore_server::Limits;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
pub(crate) use telemetry::Telemetry;

use self::outbound::Outbound;
pub(crate) use self::server::*;
use crate::settings::Environment;

/// Bytes of a configuration file.
const MAX_BYTES: u64 = 1 << 20;

/// Which kind of boxes is meant where nobody names one: the best that works.
pub(crate) const AUTOMATIC: &str = "auto";

/// Boxes that wait in all pools.
const MAX_POOLED: usize = 1000;

/// What stands in a configuration file. What is not known is refused, so that a slip of the pen is not a silent default.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where the server listens, and who may call it.
    pub(crate) server: ServerSection,
    /// Bounds of everything that comes from outside.
    pub(crate) limits: Limits,
    /// What boxes are made from where users say nothing, and the most that users may ask for.
    pub(crate) sandbox: SandboxOptions,
    /// How boxes live.
    pub(crate) lifecycle: Lifecycle,
    /// What users may spend on models.
    pub(crate) budget: budget::Budget,
    /// Which models users may call.
    pub(crate) models: models::ModelsRules,
    /// Models that the operator gives to all users.
    model: Vec<models::ModelEntry>,
    /// Boxes that are made before anybody asks.
    pool: Vec<PoolEntry>,
    /// The log of who did what.
    pub(crate) audit: Audit,
    /// Options of the kinds of boxes, as in `[backend.docker]`; `docs/boxes.md` says what they are.
    pub(crate) backend: BTreeMap<String, Value>,
    /// Who is let in besides those who have a key.
    pub(crate) auth: auth::Auth,
    /// Requests that the server makes for users.
    pub(crate) outbound: Outbound,
    /// Who may watch the server, and where its traces go.
    pub(crate) telemetry: Telemetry,
}

/// How boxes live.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Lifecycle {
    /// What has a box: each `user` (the default) or each `conversation`.
    per: Per,
    /// Folders of this machine that every box sees: `HOST:PATH` or `HOST:PATH:ro`.
    pub(crate) volumes: Vec<String>,
    /// The folder of this machine that is everybody's `/workspace`: for a single user only.
    #[serde(skip)]
    pub(crate) folder: Option<PathBuf>,
    /// Private networks that boxes may reach: `10.1.2.0/24`.
    private_allowed: Vec<String>,
    /// Seconds without use after which a box is removed with its files; 0 for never. Without it: 2592000, which are 30 days.
    retention: Option<u64>,
    /// What happens to boxes when the server stops: `keep` (the default), `stop` or `destroy`.
    pub(crate) on_shutdown: Option<WhenStopped>,
    /// Boxes that are made at the same time; more wait. Without it: 4.
    max_starting: Option<usize>,
    /// Boxes that there may be; nobody gets one more. Without it: 4096.
    max_boxes: Option<usize>,
    /// Seconds between two looks at deadlines, disks and memory. Without it: 5.
    sweep_interval: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Per {
    /// Each user.
    #[default]
    User,
    /// Each conversation.
    Conversation,
}

/// What happens to boxes when the server stops.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WhenStopped {
    /// They go on; the next server finds them.
    Keep,
    /// Their processes end, their files stay.
    Stop,
    /// Nothing of them is left.
    Destroy,
}

/// Boxes that are made before anybody asks.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PoolEntry {
    /// How many wait.
    size: usize,
    /// What they are made from, on top of `[sandbox]`.
    #[serde(default)]
    sandbox: SandboxOptions,
}

impl Config {
    /// No boxes: everything happens on this machine.
    pub(crate) fn local() -> Self {
        let sandbox = SandboxOptions { backend: Some("local".to_owned()), ..SandboxOptions::default() };
        Self { sandbox, ..Self::default() }
    }

    /// A box that sees one folder of this machine and is gone with the program.
    pub(crate) fn for_folder(sandbox: &SandboxOptions, folder: &std::path::Path) -> Self {
        let lifecycle = Lifecycle {
            folder: Some(folder.to_owned()),
            on_shutdown: Some(WhenStopped::Destroy),
            ..Lifecycle::default()
        };
        Self { sandbox: sandbox.clone(), lifecycle, ..Self::default() }
    }

    /// Reads a file.
    pub(crate) fn read(path: &std::path::Path) -> Result<Self> {
        use std::io::Read as _;
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
        read.with_context(|| format!("the configuration file {} cannot be read", path.display()))?;
        if text.len() as u64 > MAX_BYTES {
            bail!("the configuration file {} is larger than {MAX_BYTES} bytes", path.display());
        }
        // The message quotes the line that is wrong, which may hold a variable's value, so only the place and the reason are
        // told.
        let config: Self = toml::from_str(&text).map_err(|error| {
            let line =
                error.span().map_or(1, |span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
            anyhow::anyhow!("the configuration file {}, line {line}: {}", path.display(), error.message())
        })?;
        config.limits.check().with_context(|| format!("the configuration file {}, [limits]", path.display()))?;
        for kind in config.backend.keys() {
            Kind::named(kind).with_context(|| format!("the configuration file {}", path.display()))?;
        }
        Ok(config)
    }

    /// The operator's models, with their keys.
    pub(crate) fn operated(&self, environment: &Environment) -> Result<Vec<OperatedModel>> {
        models::operated(&self.model, environment)
    }

    /// Whether a server would take it, as far as that can be known without starting one.
    fn check(&self, environment: &Environment) -> Result<()> {
        self.settings()?;
        self.audit.options()?;
        self.auth.oidc()?;
        self.outbound.client(true)?;
        self.operated(environment)?;
        self.server.check()?;
        Ok(())
    }

    /// What the operator decides about boxes.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let Lifecycle {
            per,
            volumes,
            folder,
            private_allowed,
            retention,
            on_shutdown,
            max_starting,
            max_boxes,
            sweep_interval,
        } = &self.lifecycle;
        let default = Settings::default();
        let pools: Vec<_> =
            self.pool.iter().map(|pool| Pool { options: pool.sandbox.clone(), size: pool.size }).collect();
        if pools.iter().map(|pool| pool.size).sum::<usize>() > MAX_POOLED {
            bail!("more than {MAX_POOLED} boxes would wait in pools: give smaller sizes");
        }
        let mut volumes = volumes.iter().map(|text| volume(text)).collect::<Result<Vec<_>>>()?;
        volumes.extend(folder.iter().map(|folder| Volume {
            host: folder.clone(),
            path: default.working_dir.clone(),
            read_only: false,
        }));
        Ok(Settings {
            defaults: self.sandbox.clone(),
            per_conversation: matches!(per, Per::Conversation),
            volumes,
            private_allowed: private_allowed.clone(),
            retention: match retention {
                Some(0) => None,
                Some(seconds) => Some(Duration::from_secs(*seconds)),
                None => default.retention,
            },
            on_shutdown: match on_shutdown {
                None | Some(WhenStopped::Keep) => OnShutdown::Keep,
                Some(WhenStopped::Stop) => OnShutdown::Stop,
                Some(WhenStopped::Destroy) => OnShutdown::Destroy,
            },
            max_starting: max_starting.unwrap_or(default.max_starting),
            max_boxes: max_boxes.unwrap_or(default.max_boxes),
            sweep_interval: sweep_interval
                .map_or(default.sweep_interval, |seconds| Duration::from_secs(seconds.max(1))),
            pools,
            ..default
        })
    }
}

/// A volume from `HOST:PATH` or `HOST:PATH:ro`.
fn volume(text: &str) -> Result<Volume> {
    let wrong = || format!("'{text}' is no volume: write HOST:PATH or HOST:PATH:ro with absolute paths");
    let mut parts = text.split(':');
    let (host, path) = parts.next().zip(parts.next()).with_context(wrong)?;
    let read_only = match (parts.next(), parts.next()) {
        (None, _) | (Some("rw"), None) => false,
        (Some("ro"), None) => true,
        _ => bail!(wrong()),
    };
    let volume = Volume { host: host.into(), path: path.into(), read_only };
    let is_plain = |path: &std::path::Path| {
        path.is_absolute() && path.components().all(|part| !matches!(part, std::path::Component::ParentDir))
    };
    if !is_plain(&volume.host) || !is_plain(&volume.path) || volume.path.parent().is_none() {
        bail!(wrong());
    }
    if !volume.host.exists() {
        bail!("the volume '{text}': there is no {host} on this machine");
    }
    Ok(volume)
}

/// What `--sandbox` says: a backend, and perhaps an image.
pub(crate) fn sandbox_flag(text: &str) -> Result<SandboxOptions, String> {
    let (backend, image) = match text.split_once(':') {
        Some((backend, image)) => (backend, Some(image)),
        None => (text, None),
    };
    let is_known = backend == AUTOMATIC || Kind::named(backend).is_ok();
    if !is_known || image == Some("") {
        return Err("give auto, local, bubblewrap, bubblewrap:ROOT, docker or docker:IMAGE".to_owned());
    }
    Ok(SandboxOptions {
        backend: Some(backend.to_owned()),
        image: image.map(str::to_owned),
        ..SandboxOptions::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(file.path())
    }

    #[test]
    fn a_file_says_how_boxes_are_made_and_live() {
        let config = read(
            r#"
            [sandbox]
            backend = "docker"
            image = "busybox"
            resource_limits = { memory = "2g", cpus = 1.5, pids = 64 }
            allowed_hosts = ["example.com"]
            env = { TOKEN = "s3cr3t" }

            [lifecycle]
            per = "conversation"
            volumes = ["/usr:/host/usr:ro"]
            retention = 0
            on_shutdown = "destroy"

            [[pool]]
            size = 2
            sandbox = { image = "debian" }

            [backend.docker]
            runtime = "runsc"
            "#,
        );
        let settings = config.unwrap().settings().unwrap();
        assert!(settings.per_conversation && settings.volumes[0].read_only && settings.retention.is_none());
        assert_eq!(settings.on_shutdown, OnShutdown::Destroy);
        assert_eq!(settings.pools[0].options.image.as_deref(), Some("debian"));
        assert!(!format!("{settings:?}").contains("s3cr3t"));
    }

    #[test]
    fn what_is_wrong_is_said_without_what_may_be_secret() {
        let error = read("[sandbox]\nbackend = \"docker\"\n[sandbox.env]\nTOKEN = s3cr3t\n").unwrap_err().to_string();
        assert!(error.contains("line 4") && !error.contains("s3cr3t"), "{error}");
        read("[backend.podman]\naddress = \"x\"\n").unwrap_err();
        let error = read("[sandbox]\nbakend = \"docker\"\n").unwrap_err().to_string();
        assert!(error.contains("bakend") && error.contains("line 2"), "{error}");
        for volume in ["/usr", "usr:/x", "/usr:/x:maybe", "/no-such-folder:/x", "/usr:/../x", "/usr:/"] {
            super::volume(volume).unwrap_err();
        }
    }

    #[test]
    fn the_operators_models_have_their_keys() {
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), " from-file\n").unwrap();
        let text = format!(
            r#"
            [models]
            own = false

            [[model]]
            name = "a"
            model = "openai/gpt-5"
            api_key = "direct"
            input_cost_per_token = 1e-6

            [[model]]
            name = "b"
            model = "openai/gpt-5"
            api_key_env = "THE_KEY"
            default = true

            [[model]]
            name = "c"
            model = "hosted_vllm/m"
            base_url = "http://10.0.0.1/v1"
            api_key_file = {:?}
            "#,
            key.path()
        );
        let config = read(&text).unwrap();
        let environment = Environment::of([("THE_KEY".to_owned(), "from-env".to_owned())]);
        let models = config.operated(&environment).unwrap();
        let keys: Vec<_> = models.iter().map(|model| model.llm.api_key.as_ref().unwrap().expose()).collect();
        assert_eq!(keys, ["direct", "from-env", "from-file"]);
        assert!(!config.models.own && models[1].is_default && !format!("{config:?} {models:?}").contains("direct"));

        let model = |more: &str| format!("[[model]]\nname = \"a\"\nmodel = \"openai/gpt-5\"\n{more}\n");
        for wrong in [
            model("api_key_env = \"NOT_SET\""),
            model("api_key_file = \"/no/such/file\""),
            model("api_key = \"x\"\napi_key_env = \"THE_KEY\""),
            model("api_key = \" \""),
            model("").repeat(2),
            model("").replace("name = \"a\"", "name = \"a/b\""),
        ] {
            read(&wrong).unwrap().operated(&environment).unwrap_err();
        }
        read(&model("key = \"x\"")).unwrap_err();
    }

    #[test]
    fn the_flag_names_a_backend_and_an_image() {
        let options = sandbox_flag("docker:registry.example:5000/a/b:tag").unwrap();
        assert_eq!(options.image.as_deref(), Some("registry.example:5000/a/b:tag"));
        assert_eq!(sandbox_flag("bubblewrap").unwrap().backend.as_deref(), Some("bubblewrap"));
        for wrong in ["", "podman", "docker:", ":x"] {
            sandbox_flag(wrong).unwrap_err();
        }
    }
}
