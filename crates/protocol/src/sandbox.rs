//! Isolated places to work in: what they are made from, what they are doing and what happens to them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::ToSchema;

use crate::{secret::Secret, time::UtcTime};

/// What a box is made from, as an operator or a user wrote it: what is left out is decided by the next one in line, the user
/// before the operator before the built-in values. The names are those of the documents of the official server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxOptions {
    /// `local`, `bubblewrap` or `docker`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// For `docker` an image; for `bubblewrap` a name among the operator's root file systems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_limits: Option<ResourceLimits>,
    /// Seconds that one command may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Seconds without use after which the box sleeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u64>,
    /// What it can reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<NetworkMode>,
    /// Hosts that it can reach, over HTTP, HTTPS and SOCKS proxies: `example.com`, `*.example.com:443`, `198.51.100.0/24:80`.
    /// With them there is no other way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_hosts: Option<Vec<String>>,
    /// Variables that every process in it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub env: Option<BTreeMap<String, Secret>>,
}

impl SandboxOptions {
    /// These options, with `fallback` for what they leave out. Limits fall back one by one, variables by name.
    #[must_use]
    pub fn or(self, fallback: &Self) -> Self {
        let limits = match (self.resource_limits, fallback.resource_limits) {
            (Some(own), Some(fallback)) => Some(own.or(fallback)),
            (own, fallback) => own.or(fallback),
        };
        let env = match (self.env, &fallback.env) {
            (Some(own), Some(fallback)) => {
                let mut env = fallback.clone();
                env.extend(own);
                Some(env)
            }
            (own, fallback) => own.or_else(|| fallback.clone()),
        };
        // A list of hosts is an answer to what can be reached, so it is not mixed with the mode of somebody else.
        let (network_mode, allowed_hosts) = if self.network_mode.is_some() || self.allowed_hosts.is_some() {
            (self.network_mode, self.allowed_hosts)
        } else {
            (fallback.network_mode, fallback.allowed_hosts.clone())
        };
        Self {
            backend: self.backend.or_else(|| fallback.backend.clone()),
            image: self.image.or_else(|| fallback.image.clone()),
            resource_limits: limits,
            timeout: self.timeout.or(fallback.timeout),
            idle_timeout: self.idle_timeout.or(fallback.idle_timeout),
            network_mode,
            allowed_hosts,
            env,
        }
    }
}

/// What a box may use; nothing means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceLimits {
    /// Bytes of memory, swap included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[schemars(with = "Option<String>")]
    pub memory: Option<ByteSize>,
    /// Processors: 0.5 is half of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, minimum = 0.01, maximum = 4096)]
    #[schemars(with = "Option<f64>")]
    pub cpus: Option<Cpus>,
    /// Bytes on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    #[schemars(with = "Option<String>")]
    pub disk: Option<ByteSize>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

impl ResourceLimits {
    /// These limits, with `fallback` for those that are not set.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        Self {
            memory: self.memory.or(fallback.memory),
            cpus: self.cpus.or(fallback.cpus),
            disk: self.disk.or(fallback.disk),
            pids: self.pids.or(fallback.pids),
        }
    }
}

/// A number of bytes: on the wire a number, or text such as `512m` and `10g` (powers of 1024, as Docker reads them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("'{text}' is no size: write bytes, or a number with k, m, g or t, such as 512m");
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let shift = match &lower[digits.len()..] {
            "" | "b" => 0,
            "k" | "kb" | "ki" | "kib" => 10,
            "m" | "mb" | "mi" | "mib" => 20,
            "g" | "gb" | "gi" | "gib" => 30,
            "t" | "tb" | "ti" | "tib" => 40,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        for (shift, unit) in [(40, "t"), (30, "g"), (20, "m"), (10, "k")] {
            if bytes > 0 && bytes % (1 << shift) == 0 {
                return write!(f, "{}{unit}", bytes >> shift);
            }
        }
        write!(f, "{bytes}")
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or text such as 512m")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes).map(ByteSize).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A number of processors in thousandths: on the wire a number, or text such as `1.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpus {
    /// Thousandths of a processor; at least 10.
    pub milli: u32,
}

impl Cpus {
    /// So many processors.
    ///
    /// # Errors
    /// Less than 0.01, more than 4096, or no number.
    pub fn new(number: f64) -> Result<Self, String> {
        if !(0.01..=4096.0).contains(&number) {
            return Err(format!("{number} is no number of processors: write one from 0.01 to 4096, such as 1.5"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        let milli = (number * 1000.0).round() as u32;
        Ok(Self { milli })
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.milli) / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Input {
            Number(f64),
            Text(String),
        }
        let number = match Input::deserialize(deserializer)? {
            Input::Number(number) => number,
            Input::Text(text) => text
                .trim()
                .parse()
                .map_err(|_| de::Error::custom(format_args!("'{text}' is no number of processors, such as 1.5")))?,
        };
        Self::new(number).map_err(de::Error::custom)
    }
}

/// What a box can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Nothing; with `allowed_hosts`, those alone.
    None,
    /// Every public address, but no other box, no private address and nothing of the server's machine.
    Bridge,
}

/// What a box is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SandboxState {
    /// It waits for its turn to be made.
    Queued,
    /// Its image is fetched.
    Pulling,
    /// It is made or started.
    Starting,
    /// It can be used.
    Ready,
    /// It sleeps, memory and processes kept; the next use wakes it.
    Paused,
    /// Its processes are gone, its files kept; the next use starts it.
    Stopped,
    /// It died; the next use starts it again or makes another.
    Lost,
    /// It cannot be made or started; the next use tries again.
    Failed,
}

impl SandboxState {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Pulling => "pulling",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
            Self::Failed => "failed",
        }
    }
}

/// Something that happened to a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxEvent {
    /// Its place in the box's log, from 0.
    pub seq: u64,
    /// When.
    pub timestamp: UtcTime,
    /// What.
    #[serde(flatten)]
    pub body: SandboxEventBody,
}

/// What happened to a box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SandboxEventBody {
    /// It is doing something else now.
    State {
        /// What.
        state: SandboxState,
        /// Why, in words.
        reason: String,
        /// How far, in percent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<u8>,
    },
    /// It tried to reach a host that it may not.
    Denied {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Why it may not.
        reason: String,
    },
    /// It has used much of what it may.
    Warning {
        /// `disk` or `memory`.
        resource: String,
        /// Percent of the limit.
        percent: u8,
        /// What happens next, in words.
        reason: String,
    },
}

/// A box, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxInfo {
    /// Its id: 32 hexadecimal digits.
    pub id: String,
    /// The backend that made it.
    pub backend: String,
    /// What it is doing.
    pub state: SandboxState,
    /// Why, in words.
    pub reason: String,
    /// What it was made from.
    pub options: SandboxOptions,
    /// The folder that commands start in.
    pub working_dir: String,
    /// When it was made.
    pub created_at: UtcTime,
    /// When it was last used.
    pub used_at: UtcTime,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        let sizes = ["1024", "1k", "512m", "2G", "1gib", "0"].map(|text| text.parse::<ByteSize>().unwrap().0);
        assert_eq!(sizes, [1024, 1024, 512 << 20, 2 << 30, 1 << 30, 0]);
        for text in ["", "g", "-1", "1.5g", "1x", "99999999999t"] {
            text.parse::<ByteSize>().unwrap_err();
        }
        assert_eq!([1 << 30, 1536 << 20, 5].map(|bytes| ByteSize(bytes).to_string()), ["1g", "1536m", "5"]);
    }

    #[test]
    fn limits_take_numbers_and_text() {
        let limits: ResourceLimits =
            serde_json::from_value(json!({"memory": "2g", "cpus": "1.5", "disk": 4096, "pids": 64})).unwrap();
        assert_eq!(limits.cpus, Some(Cpus { milli: 1500 }));
        assert_eq!(
            serde_json::to_value(limits).unwrap(),
            json!({"memory": "2g", "cpus": 1.5, "disk": "4k", "pids": 64})
        );
        for wrong in [json!({"cpus": 0}), json!({"cpus": "many"}), json!({"memory": -1}), json!({"ram": 1})] {
            serde_json::from_value::<ResourceLimits>(wrong).unwrap_err();
        }
    }

    #[test]
    fn what_is_left_out_falls_back() {
        let options = |value| serde_json::from_value::<SandboxOptions>(value).unwrap();
        let operator = options(json!({
            "backend": "docker", "image": "a", "resource_limits": {"memory": "1g", "pids": 10},
            "network_mode": "bridge", "env": {"A": "1", "B": "1"},
        }));
        let user = options(json!({
            "image": "b", "resource_limits": {"memory": "2g"}, "allowed_hosts": ["example.com"], "env": {"B": "2"},
        }));
        let both = json!({
            "backend": "docker", "image": "b", "resource_limits": {"memory": "2g", "pids": 10},
            "allowed_hosts": ["example.com"], "env": {"A": "1", "B": "2"},
        });
        assert_eq!(user.or(&operator), options(both));
    }
}
