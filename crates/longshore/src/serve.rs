//! `longshore serve`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use longshore_protocol::Secret;
use longshore_server::{Authenticator, Certificate, Chain, Cors, MetricsAccess, Oidc, Server, StaticKeys, StoredKeys};
use longshore_store::Sqlite;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::{
    cli::{DataFlags, Serve},
    config::{Config, ServerSection, TlsSetup},
    logging,
    parts::{Built, Plan, build},
    settings::Environment,
    telemetry::Traces,
};

/// Threads that serve, whatever is asked for.
const MAX_WORKERS: usize = 1024;

/// The port where nobody says anything.
const PORT: u16 = 8000;

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(mut options: Serve) -> Result<()> {
    let environment = Environment::of_process();
    options.insecure_no_auth |= environment.is_on("LONGSHORE_INSECURE_NO_AUTH");
    let config = std::mem::take(&mut options.sandbox).config()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = options.workers.or(config.server.workers) {
        runtime.worker_threads(workers.get().min(MAX_WORKERS));
    }
    let runtime = runtime.enable_all().build().context("the runtime cannot be started")?;
    let mut traces = Traces::new(&config.telemetry, &environment, runtime.handle())?;
    let _flush = logging::start(options.log_format, environment.is_on("LOG_JSON"), traces.layer.take());
    if options.check_browser {
        bail!("there is no browser here: browser tools are not available");
    }
    for (flag, is_set) in [
        ("--import-modules", options.import_modules.is_some()),
        ("--extra-python-path", options.extra_python_path.is_some()),
    ] {
        if is_set {
            tracing::warn!(flag, "ignored: custom tools in Python are not supported");
        }
    }
    raise_file_limit();
    runtime.block_on(serve_until_signal(options, config, &traces, environment))
}

/// Allows as many open files as the system lets this process have: each connection is one.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

async fn serve_until_signal(
    mut options: Serve,
    config: Config,
    traces: &Traces,
    environment: Environment,
) -> Result<()> {
    let keys = environment.session_keys()?;
    let data_dir = environment.data_dir(options.data.data_dir.take())?;
    let has_users = config.auth.oidc()?.is_some() || Sqlite::has_users(&data_dir.join("longshore.db"));
    let address = address(&options, &config.server, !keys.is_empty() || has_users).await?;
    // The port is taken first: a second server on it must not touch the data.
    let listener = listen(address).await?;
    let TlsSetup { tls, certificate } = config.server.tls()?;
    if let Some(certificate) = certificate {
        reload_at_hangup(certificate)?;
    }
    let metrics =
        MetricsAccess { token: config.telemetry.metrics_token.clone(), public: config.telemetry.public_metrics };
    let server_options = longshore_server::Options {
        cors: cors(options.cors_origins, &config.server, &environment)?,
        any_host: options.any_host,
        allowed_hosts: config.server.allowed_hosts.clone(),
        limits: config.limits.clone(),
        tls,
        trusted_proxies: config.server.trusted_proxies()?,
        metrics,
        tracer: traces.tracer.clone(),
        audit: config.audit.options()?,
        ..longshore_server::Options::default()
    };
    let max_concurrent_runs = options.max_concurrent_runs.map_or(config.limits.max_concurrent_runs, u64::from);
    let DataFlags { models_dir, pass_env, .. } = options.data;
    let plan = Plan {
        data_dir,
        models_dir,
        scripts: BTreeMap::new(),
        pass_env,
        max_concurrent_runs: usize::try_from(max_concurrent_runs).unwrap_or(usize::MAX),
        idle_ttl: Duration::from_secs(options.idle_ttl),
        config,
        trace: traces.headers,
    };
    let shutdown = shutdown_signal()?;
    let may_share_machine = options.insecure_shared_machine;
    Serving { listener, keys, plan, options: server_options, environment, may_share_machine }.until(shutdown).await
}

/// Takes a port.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{address} cannot be listened on: choose another with --host and --port, or stop what listens there")
    })
}

/// A server that is ready to start.
pub(crate) struct Serving {
    pub(crate) listener: TcpListener,
    pub(crate) keys: Vec<Secret>,
    pub(crate) plan: Plan,
    pub(crate) options: longshore_server::Options,
    pub(crate) environment: Environment,
    /// Whether several users may work on this machine itself.
    pub(crate) may_share_machine: bool,
}

impl Serving {
    /// Serves until `shutdown` is ready.
    pub(crate) async fn until(self, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        let Self { listener, keys, plan, options, environment, may_share_machine } = self;
        let data_dir = plan.data_dir.clone();
        let (oidc, http) = (plan.config.auth.oidc()?, plan.config.outbound.trusted_client()?);
        let Built { engine, places, sandboxes } = build(plan, &environment).await?;
        sandboxes.recover().await.context("the boxes of the last server cannot be found")?;
        let store = engine.store();
        let stored = StoredKeys::open(Arc::clone(&store)).await.context("the users cannot be read")?;
        if (stored.anybody().is_none() || oidc.is_some()) && !sandboxes.is_isolated() && !may_share_machine {
            bail!(
                "this server has users, and nothing would keep them apart: they would work on this machine itself. Choose \
                 boxes with --sandbox bubblewrap or docker, or insist with --insecure-shared-machine"
            );
        }
        let mut chain: Vec<Arc<dyn Authenticator>> = vec![Arc::new(StaticKeys::new(keys)), Arc::new(stored)];
        if let Some(options) = oidc {
            let oidc = Oidc::start(options, http, Arc::clone(&store));
            chain.push(Arc::new(oidc.context("[auth.oidc] in the configuration file")?));
        }
        let authenticator = Arc::new(Chain(chain));
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let server = Server::builder(engine, places).options(options).authenticator(authenticator).build();
        let address = listener.local_addr().context("the address is not known")?;
        tracing::info!(%address, data_dir = %data_dir.display(), "Longshore serves at {scheme}://{address} (docs at /docs)");
        server.serve(listener, shutdown).await.context("the server stopped")?;
        sandboxes.shutdown().await;
        store.close().await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// The address to listen on. Without a key only this machine may reach the server, unless the operator insists.
async fn address(options: &Serve, section: &ServerSection, has_key: bool) -> Result<SocketAddr> {
    let default = if has_key { "0.0.0.0" } else { "127.0.0.1" };
    let host = options.host.as_deref().or(section.host.as_deref()).unwrap_or(default);
    let port = options.port.or(section.port).unwrap_or(PORT);
    let address = tokio::net::lookup_host((host, port))
        .await
        .with_context(|| format!("the host {host} is not known"))?
        .next()
        .with_context(|| format!("the host {host} has no address"))?;
    let is_open = !is_loopback(address.ip()) && !has_key;
    if is_open && !options.insecure_no_auth {
        bail!(
            "{host} can be reached from other machines, and no session key is set: everybody there could run commands here. \
             Set SESSION_API_KEY, listen on 127.0.0.1, or insist with --insecure-no-auth"
        );
    }
    if is_open {
        tracing::warn!(%address, "no session key is set: everybody who reaches this address can run commands here");
    }
    Ok(address)
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Loads a certificate again at each SIGHUP.
fn reload_at_hangup(certificate: Certificate) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be waited for")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            certificate.refresh().await;
        }
    });
    Ok(())
}

fn cors(mut origins: Vec<String>, section: &ServerSection, environment: &Environment) -> Result<Cors> {
    origins.extend(section.cors_origins.iter().cloned());
    origins.extend(environment.list("OH_ALLOW_CORS_ORIGINS")?);
    let of_environment = environment.get("OH_ALLOW_CORS_ORIGIN_REGEX");
    let pattern = of_environment.or(section.cors_origin_pattern.as_deref());
    let docker_host = environment.get("DOCKER_HOST_ADDR").map(str::to_owned);
    Cors::new(origins, pattern, docker_host)
        .context("OH_ALLOW_CORS_ORIGIN_REGEX, or cors_origin_pattern in the configuration file")
}

/// Ready at the first SIGTERM or SIGINT.
fn shutdown_signal() -> Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be waited for")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
