//! From what an operator and a user wrote to what a box is made from.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use longshore_protocol::sandbox::{ByteSize, NetworkMode, ResourceLimits, SandboxOptions};

use super::Settings;
use crate::{
    Backend, Backends, Error, Limits, Network, Spec,
    egress::{Networks, Policy},
};

/// Seconds without use after which a box sleeps, where nobody says otherwise.
const DEFAULT_IDLE_TIMEOUT: u64 = 20 * 60;

/// Seconds of the longest time that can be asked for: a year.
const MAX_SECONDS: u64 = 365 * 24 * 3600;

/// Variables of one box, and bytes of all of them.
const MAX_VARIABLES: usize = 256;
const MAX_VARIABLE_BYTES: usize = 64 * 1024;

/// A box as it is to be, with nothing left open.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) backend: Arc<dyn Backend>,
    /// What was asked for, completed by the operator's choices: what is stored, shown and compared.
    pub(crate) options: SandboxOptions,
    pub(crate) spec: Spec,
    /// What the proxy lets through, if there is one.
    pub(crate) policy: Option<Arc<Policy>>,
    /// Time without use after which it sleeps; never if zero was asked for.
    pub(crate) idle_timeout: Option<Duration>,
}

/// What is to be made for a user who asks for `wish`.
///
/// # Errors
/// [`Error::Invalid`] for a wish that makes no sense here or goes beyond what the operator allows.
pub(crate) fn plan(settings: &Settings, backends: &Backends, wish: &SandboxOptions) -> Result<Plan, Error> {
    check_ceilings(wish, &settings.defaults)?;
    let options = wish.clone().or(&settings.defaults);
    completed(settings, backends, options, &settings.working_dir)
}

/// What options mean that are complete: those of a box that was made before.
///
/// # Errors
/// [`Error::Invalid`].
pub(crate) fn completed(
    settings: &Settings,
    backends: &Backends,
    mut options: SandboxOptions,
    working_dir: &Path,
) -> Result<Plan, Error> {
    let backend = backends.find(options.backend.as_deref())?;
    options.backend = Some(backend.name().to_owned());
    if !backend.is_isolated() {
        check_open(&*backend, &options)?;
    }
    let (network, policy) = network(settings, &*backend, &options)?;
    let seconds = |name: &str, value: Option<u64>| match value {
        Some(seconds) if seconds > MAX_SECONDS => {
            Err(Error::Invalid(format!("{name} is longer than a year: {seconds} seconds")))
        }
        value => Ok(value.filter(|seconds| *seconds > 0).map(Duration::from_secs)),
    };
    let idle_timeout = seconds("idle_timeout", Some(options.idle_timeout.unwrap_or(DEFAULT_IDLE_TIMEOUT)))?;
    let spec = Spec {
        image: options.image.clone(),
        limits: limits(options.resource_limits.unwrap_or_default())?,
        network,
        env: variables(&options)?,
        working_dir: working_dir.to_owned(),
        volumes: settings.volumes.clone(),
        timeout: seconds("timeout", options.timeout)?,
    };
    backend.validate(&spec)?;
    Ok(Plan { backend, options, spec, policy: policy.map(Arc::new), idle_timeout })
}

/// What cannot be kept is not promised.
fn check_open(backend: &dyn Backend, options: &SandboxOptions) -> Result<(), Error> {
    let wishes = [
        ("image", options.image.is_some()),
        ("resource_limits", options.resource_limits.is_some_and(|limits| limits != ResourceLimits::default())),
        ("network_mode", options.network_mode.is_some()),
        ("allowed_hosts", options.allowed_hosts.is_some()),
    ];
    match wishes.iter().find(|(_, is_set)| *is_set) {
        Some((name, _)) => Err(Error::Invalid(format!(
            "{name} has no effect with the backend '{}', which isolates nothing: leave it out, or choose another backend",
            backend.name()
        ))),
        None => Ok(()),
    }
}

/// The plan with other limits.
///
/// # Errors
/// [`Error::Invalid`] for limits that make no sense or go beyond what the operator allows.
pub(crate) fn with_limits(
    settings: &Settings,
    backends: &Backends,
    plan: &Plan,
    limits: ResourceLimits,
) -> Result<Plan, Error> {
    let wish = SandboxOptions { resource_limits: Some(limits), ..SandboxOptions::default() };
    check_ceilings(&wish, &settings.defaults)?;
    completed(settings, backends, wish.or(&plan.options), &plan.spec.working_dir)
}

fn network(
    settings: &Settings,
    backend: &dyn Backend,
    options: &SandboxOptions,
) -> Result<(Network, Option<Policy>), Error> {
    let hosts = options.allowed_hosts.as_deref();
    let private = || Networks::parse(&settings.private_allowed);
    match (options.network_mode, hosts) {
        (Some(NetworkMode::Bridge), Some(_)) => Err(Error::Invalid(
            "network_mode bridge opens every public address and allowed_hosts only some: give one of them".to_owned(),
        )),
        (Some(NetworkMode::Bridge), None) if backend.has_bridge() => Ok((Network::Bridge, None)),
        (Some(NetworkMode::Bridge), None) => Ok((Network::Proxied, Some(Policy::public().with_private(private()?)))),
        (_, Some(hosts)) if !hosts.is_empty() => {
            Ok((Network::Proxied, Some(Policy::parse(hosts)?.with_private(private()?))))
        }
        _ => Ok((Network::Closed, None)),
    }
}

fn limits(limits: ResourceLimits) -> Result<Limits, Error> {
    let ResourceLimits { memory, cpus, disk, pids } = limits;
    let at_least = |name: &str, value: Option<u64>, least: u64, text: &str| match value {
        Some(value) if value < least => {
            Err(Error::Invalid(format!("resource_limits.{name} is too little to start a box: give {text} or more")))
        }
        value => Ok(value),
    };
    Ok(Limits {
        memory: at_least("memory", memory.map(|size| size.0), 16 << 20, "16m")?,
        cpu_milli: cpus.map(|cpus| cpus.milli),
        disk: at_least("disk", disk.map(|size| size.0), 16 << 20, "16m")?,
        pids: match pids {
            Some(pids) if pids < 8 => {
                return Err(Error::Invalid("resource_limits.pids is too little to start a box: give 8 or more".into()));
            }
            pids => pids,
        },
    })
}

fn variables(options: &SandboxOptions) -> Result<std::collections::BTreeMap<String, String>, Error> {
    let Some(env) = &options.env else { return Ok(std::collections::BTreeMap::new()) };
    let bytes: usize = env.iter().map(|(name, value)| name.len() + value.expose().len()).sum();
    if env.len() > MAX_VARIABLES || bytes > MAX_VARIABLE_BYTES {
        return Err(Error::Invalid(format!(
            "env has more than {MAX_VARIABLES} variables or {MAX_VARIABLE_BYTES} bytes: put the rest into a file"
        )));
    }
    env.iter()
        .map(|(name, value)| {
            let is_name = !name.is_empty() && !name.contains(['=', '\0']);
            if !is_name || value.expose().contains('\0') {
                // The value may be a secret, so it is not repeated.
                return Err(Error::Invalid(format!("env: {name:?} or its value cannot be a variable")));
            }
            Ok((name.clone(), value.expose().to_owned()))
        })
        .collect()
}

/// What the operator set is the most that a user may ask for.
fn check_ceilings(wish: &SandboxOptions, operator: &SandboxOptions) -> Result<(), Error> {
    let beyond = |what: &str, most: &str| {
        Err(Error::Invalid(format!("{what} goes beyond what this server allows: ask for {most} or less")))
    };
    if let (Some(wanted), Some(most)) = (&wish.resource_limits, &operator.resource_limits) {
        if let (Some(wanted), Some(most)) = (wanted.memory, most.memory)
            && wanted > most
        {
            return beyond("resource_limits.memory", &most.to_string());
        }
        if let (Some(wanted), Some(most)) = (wanted.disk, most.disk)
            && wanted > most
        {
            return beyond("resource_limits.disk", &most.to_string());
        }
        if let (Some(wanted), Some(most)) = (wanted.cpus, most.cpus)
            && wanted > most
        {
            return beyond("resource_limits.cpus", &format!("{}", f64::from(most.milli) / 1000.0));
        }
        if let (Some(wanted), Some(most)) = (wanted.pids, most.pids)
            && wanted > most
        {
            return beyond("resource_limits.pids", &most.to_string());
        }
    }
    let times =
        [("timeout", wish.timeout, operator.timeout), ("idle_timeout", wish.idle_timeout, operator.idle_timeout)];
    for (name, wanted, most) in times {
        // Zero is no bound.
        if let (Some(wanted), Some(most)) = (wanted, most.filter(|most| *most > 0))
            && (wanted > most || wanted == 0)
        {
            return beyond(name, &format!("{most} seconds"));
        }
    }
    if let (Some(wanted), Some(set)) = (&wish.backend, &operator.backend)
        && wanted != set
    {
        return Err(Error::Invalid(format!("boxes are made by {set} here, not by {wanted}")));
    }
    check_reach(wish, operator)
}

/// Options of a box that was made when the operator may have allowed more: limits and hosts are cut to what is allowed now.
///
/// # Errors
/// [`Error::Invalid`] for what cannot be cut: the kind, or a network.
pub(crate) fn within_ceilings(mut options: SandboxOptions, operator: &SandboxOptions) -> Result<SandboxOptions, Error> {
    if let Some(most) = &operator.resource_limits {
        let own = options.resource_limits.get_or_insert_default();
        let least = |own: Option<u64>, most: Option<u64>| own.into_iter().chain(most).min();
        own.memory = least(own.memory.map(|size| size.0), most.memory.map(|size| size.0)).map(ByteSize);
        own.disk = least(own.disk.map(|size| size.0), most.disk.map(|size| size.0)).map(ByteSize);
        own.cpus = own.cpus.into_iter().chain(most.cpus).min();
        own.pids = own.pids.into_iter().chain(most.pids).min();
    }
    for (own, most) in [(&mut options.timeout, operator.timeout), (&mut options.idle_timeout, operator.idle_timeout)] {
        if let Some(most) = most.filter(|most| *most > 0) {
            *own = Some(own.filter(|own| (1..=most).contains(own)).unwrap_or(most));
        }
    }
    if let (Some(own), Some(allowed)) = (&mut options.allowed_hosts, &operator.allowed_hosts) {
        own.retain(|host| allowed.contains(host));
    } else if operator.network_mode == Some(NetworkMode::None) {
        options.allowed_hosts = None;
    }
    check_ceilings(&options, operator)?;
    Ok(options)
}

fn check_reach(wish: &SandboxOptions, operator: &SandboxOptions) -> Result<(), Error> {
    let wants_all = wish.network_mode == Some(NetworkMode::Bridge);
    let wanted = wish.allowed_hosts.as_deref().unwrap_or_default();
    let refuse = |reason: String| Err(Error::Invalid(reason));
    match (operator.network_mode, &operator.allowed_hosts) {
        (Some(NetworkMode::Bridge), _) | (None, None) => Ok(()),
        (_, Some(allowed)) if !allowed.is_empty() => {
            if wants_all {
                return refuse(format!(
                    "network_mode bridge is not allowed here; hosts that are: {}",
                    allowed.join(", ")
                ));
            }
            match wanted.iter().find(|host| !allowed.contains(host)) {
                Some(host) => refuse(format!(
                    "{host} is not allowed here; write entries as they stand in: {}",
                    allowed.join(", ")
                )),
                None => Ok(()),
            }
        }
        _ if wants_all || !wanted.is_empty() => refuse("boxes have no network here".to_owned()),
        _ => Ok(()),
    }
}

/// The folder in a box that a client means: a relative one starts at the root, as in the official image.
pub(crate) fn folder_in_box(folder: &str) -> PathBuf {
    Path::new("/").join(folder)
}

#[cfg(test)]
mod tests {
    use longshore_protocol::Secret;
    use longshore_workspace::LocalOptions;
    use serde_json::{Value, json};

    use super::*;
    use crate::{BubblewrapOptions, Deployment, Docker, DockerOptions, LocalBackend, backends::bubblewrap::Bubblewrap};

    fn options(value: Value) -> SandboxOptions {
        serde_json::from_value(value).unwrap()
    }

    fn backends() -> Backends {
        let deployment = || Deployment { name: "test".to_owned(), dir: "/none".into(), program: "/none".into() };
        Backends::new(vec![
            Arc::new(Bubblewrap::new(deployment(), BubblewrapOptions::default())),
            Arc::new(Docker::new(deployment(), DockerOptions::default())),
            Arc::new(LocalBackend::new(LocalOptions::new("/"))),
        ])
    }

    /// What comes of a wish where the operator set `operator`.
    fn planned(operator: Value, wish: Value) -> Result<Plan, Error> {
        let settings = Settings { defaults: options(operator), ..Settings::default() };
        plan(&settings, &backends(), &options(wish))
    }

    /// Why a wish is refused.
    fn refused(operator: &Value, wish: &Value) -> String {
        match planned(operator.clone(), wish.clone()) {
            Err(Error::Invalid(reason)) => reason,
            other => panic!("{operator} {wish}: {other:?}"),
        }
    }

    #[test]
    fn nobody_gets_more_than_the_operator_set() {
        let operator = json!({
            "resource_limits": {"memory": "1g", "cpus": 1.5, "disk": "10g", "pids": 100},
            "timeout": 60, "idle_timeout": 600,
        });
        for (wish, reason) in [
            (
                json!({"resource_limits": {"memory": "1025m"}}),
                "resource_limits.memory goes beyond what this server allows: ask for 1g or less",
            ),
            (
                json!({"resource_limits": {"cpus": 1.6}}),
                "resource_limits.cpus goes beyond what this server allows: ask for 1.5 or less",
            ),
            (
                json!({"resource_limits": {"disk": "11g"}}),
                "resource_limits.disk goes beyond what this server allows: ask for 10g or less",
            ),
            (
                json!({"resource_limits": {"pids": 101}}),
                "resource_limits.pids goes beyond what this server allows: ask for 100 or less",
            ),
            (json!({"timeout": 61}), "timeout goes beyond what this server allows: ask for 60 seconds or less"),
            (json!({"timeout": 0}), "timeout goes beyond what this server allows: ask for 60 seconds or less"),
            (
                json!({"idle_timeout": 601}),
                "idle_timeout goes beyond what this server allows: ask for 600 seconds or less",
            ),
            (
                json!({"idle_timeout": 0}),
                "idle_timeout goes beyond what this server allows: ask for 600 seconds or less",
            ),
        ] {
            assert_eq!(refused(&operator, &wish), reason);
        }
        let most = planned(operator.clone(), operator.clone()).unwrap();
        let none = planned(operator.clone(), json!({})).unwrap();
        assert_eq!((most.spec, most.idle_timeout), (none.spec.clone(), none.idle_timeout));
        let limits = Limits { memory: Some(1 << 30), cpu_milli: Some(1500), disk: Some(10 << 30), pids: Some(100) };
        assert_eq!((none.spec.limits, none.spec.timeout), (limits, Some(Duration::from_mins(1))));
        // One limit is changed, the others stay.
        let less = planned(operator, json!({"resource_limits": {"memory": "16m"}, "timeout": 1})).unwrap();
        assert_eq!(less.spec.limits, Limits { memory: Some(16 << 20), ..limits });
    }

    #[test]
    fn where_the_operator_set_no_bound_there_is_none() {
        let wish =
            json!({"resource_limits": {"memory": "900t", "cpus": 4096}, "timeout": 31_536_000, "idle_timeout": 0});
        for operator in [json!({}), json!({"timeout": 0, "idle_timeout": 0, "resource_limits": {"pids": 8}})] {
            assert_eq!(planned(operator, wish.clone()).unwrap().idle_timeout, None);
        }
        let idle_timeout = planned(json!({}), json!({})).unwrap().idle_timeout;
        assert_eq!(idle_timeout, Some(Duration::from_secs(DEFAULT_IDLE_TIMEOUT)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let too_many: serde_json::Map<_, _> = (0..257).map(|number| (format!("V{number}"), json!(""))).collect();
        for wish in [
            json!({"resource_limits": {"memory": "1m"}}),
            json!({"resource_limits": {"disk": 1}}),
            json!({"resource_limits": {"pids": 7}}),
            json!({"timeout": 31_536_001}),
            json!({"idle_timeout": u64::MAX}),
            json!({"network_mode": "bridge", "allowed_hosts": ["example.com"]}),
            json!({"allowed_hosts": ["not a host"]}),
            json!({"env": {"": "x"}}),
            json!({"env": {"A=B": "x"}}),
            json!({"env": {"A": "x\0"}}),
            json!({"env": {"A": "x".repeat(65 << 10)}}),
            json!({"env": too_many}),
            json!({"backend": "none such"}),
            json!({"backend": "local", "image": "x"}),
            json!({"backend": "local", "resource_limits": {"pids": 8}}),
            json!({"backend": "local", "allowed_hosts": []}),
            json!({"backend": "local", "network_mode": "none"}),
        ] {
            refused(&json!({}), &wish);
        }
    }

    #[test]
    fn a_refusal_holds_no_secret() {
        let env = [("A\0".to_owned(), Secret::new("s3cr3t")), ("B".to_owned(), Secret::new("s3cr3t\0"))].into();
        let wish = SandboxOptions { env: Some(env), ..SandboxOptions::default() };
        let error = plan(&Settings::default(), &backends(), &wish).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
    }

    #[test]
    fn nobody_reaches_more_than_the_operator_set() {
        let (closed, open) = (json!({"network_mode": "none"}), json!({"network_mode": "bridge"}));
        let some = json!({"allowed_hosts": ["example.com", "*.example.org:443"]});
        let hosts = |hosts: &[&str]| json!({"allowed_hosts": hosts});
        for (operator, wish) in [
            (&closed, &open),
            (&closed, &some),
            (&hosts(&[]), &open),
            (&hosts(&[]), &some),
            (&some, &open),
            (&some, &hosts(&["example.net"])),
            (&some, &hosts(&["example.com", "*"])),
            (&some, &hosts(&["example.com:*"])),
            (&some, &hosts(&["*.example.org"])),
            (&some, &hosts(&["0.0.0.0/0"])),
        ] {
            refused(operator, wish);
        }
        for (operator, wish, network) in [
            (&json!({}), &json!({}), Network::Closed),
            (&json!({}), &some, Network::Proxied),
            (&closed, &json!({}), Network::Closed),
            (&closed, &hosts(&[]), Network::Closed),
            (&open, &closed, Network::Closed),
            (&open, &some, Network::Proxied),
            (&some, &json!({}), Network::Proxied),
            (&some, &closed, Network::Closed),
            (&some, &hosts(&[]), Network::Closed),
            (&some, &hosts(&["example.com"]), Network::Proxied),
        ] {
            let plan = planned(operator.clone(), wish.clone()).unwrap();
            assert_eq!(plan.policy.is_some(), network == Network::Proxied, "{operator} {wish}");
            assert_eq!(plan.spec.network, network, "{operator} {wish}");
        }
    }

    #[test]
    fn a_backend_without_a_network_opens_all_through_the_proxy() {
        let plan = planned(json!({"network_mode": "bridge"}), json!({"backend": "bubblewrap"})).unwrap();
        assert!(plan.spec.network == Network::Proxied && plan.policy.is_some());
    }

    #[test]
    fn nobody_chooses_another_kind_than_the_operator() {
        let operator = json!({"backend": "docker"});
        assert_eq!(refused(&operator, &json!({"backend": "local"})), "boxes are made by docker here, not by local");
        assert_eq!(planned(operator, json!({"backend": "docker"})).unwrap().backend.name(), "docker");
    }

    #[test]
    fn other_limits_are_bound_by_the_operators() {
        let operator = options(json!({"resource_limits": {"memory": "1g"}, "timeout": 60}));
        let settings = Settings { defaults: operator, ..Settings::default() };
        let made = plan(&settings, &backends(), &options(json!({"resource_limits": {"pids": 50}}))).unwrap();
        let change = |value| with_limits(&settings, &backends(), &made, serde_json::from_value(value).unwrap());
        change(json!({"memory": "2g"})).unwrap_err();
        change(json!({"pids": 1})).unwrap_err();
        let changed = change(json!({"memory": "512m", "disk": "1g"})).unwrap();
        let limits = Limits { memory: Some(512 << 20), disk: Some(1 << 30), pids: Some(50), cpu_milli: None };
        assert_eq!((changed.spec.limits, changed.spec.timeout), (limits, made.spec.timeout));
    }

    #[test]
    fn a_box_of_before_has_no_more_than_is_allowed_now() {
        let made = options(json!({
            "resource_limits": {"memory": "2g", "pids": 50}, "timeout": 0, "idle_timeout": 100,
            "allowed_hosts": ["example.com", "example.org"],
        }));
        let operator = options(json!({
            "resource_limits": {"memory": "1g", "disk": "5g"}, "timeout": 60, "idle_timeout": 600,
            "allowed_hosts": ["example.com"],
        }));
        let now = json!({
            "resource_limits": {"memory": "1g", "disk": "5g", "pids": 50}, "timeout": 60, "idle_timeout": 100,
            "allowed_hosts": ["example.com"],
        });
        assert_eq!(within_ceilings(made.clone(), &operator).unwrap(), options(now));
        let closed = within_ceilings(made.clone(), &options(json!({"network_mode": "none"}))).unwrap();
        assert_eq!(closed.allowed_hosts, None);
        assert_eq!(within_ceilings(made.clone(), &SandboxOptions::default()).unwrap(), made);
        // Also one that had no bounds at all.
        let unbound = within_ceilings(SandboxOptions::default(), &operator).unwrap();
        assert_eq!((unbound.resource_limits, unbound.timeout), (operator.resource_limits, Some(60)));
        let open = options(json!({"network_mode": "bridge"}));
        within_ceilings(open, &operator).unwrap_err();
    }

    #[test]
    fn a_folder_in_a_box_starts_at_its_root() {
        assert_eq!(folder_in_box("workspace/a"), Path::new("/workspace/a"));
        assert_eq!(folder_in_box("/workspace"), Path::new("/workspace"));
    }
}
