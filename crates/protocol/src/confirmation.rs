//! Who must agree before an action runs (contract: agent §1.9).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::kinds::kinds;

/// How dangerous an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, Default)]
#[serde(rename_all = "UPPERCASE")]
pub enum Risk {
    /// Nobody judged it.
    #[default]
    Unknown,
    /// Looks, or changes little.
    Low,
    /// Changes the workspace.
    Medium,
    /// Reaches beyond the workspace or destroys.
    High,
}

/// Every action waits for the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct AlwaysConfirm {}

/// No action waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct NeverConfirm {}

/// Actions from a risk upwards wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ConfirmRisky {
    /// The lowest risk that waits.
    pub threshold: Risk,
    /// Whether unjudged actions wait.
    pub confirm_unknown: bool,
}

impl Default for ConfirmRisky {
    fn default() -> Self {
        Self { threshold: Risk::High, confirm_unknown: true }
    }
}

kinds! {
    /// Which actions wait for the user.
    pub enum ConfirmationPolicy { AlwaysConfirm, NeverConfirm, ConfirmRisky }
}

impl Default for ConfirmationPolicy {
    fn default() -> Self {
        NeverConfirm {}.into()
    }
}

impl ConfirmationPolicy {
    /// Whether an action of this risk waits. A policy this version does not know lets nothing pass.
    pub fn requires_confirmation(&self, risk: Risk) -> bool {
        match self {
            Self::AlwaysConfirm(_) | Self::Unknown(_) => true,
            Self::NeverConfirm(_) => false,
            Self::ConfirmRisky(policy) if risk == Risk::Unknown => policy.confirm_unknown,
            Self::ConfirmRisky(policy) => risk >= policy.threshold,
        }
    }
}

/// Trusts the risk that the model gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, Default)]
pub struct LLMSecurityAnalyzer {}

kinds! {
    /// Who judges the risk of an action.
    pub enum SecurityAnalyzer { LLMSecurityAnalyzer }
}

/// Analyzers of the official server that this one does not have yet.
pub const UNSUPPORTED_ANALYZERS: [&str; 5] = [
    "EnsembleSecurityAnalyzer",
    "GraySwanAnalyzer",
    "PatternSecurityAnalyzer",
    "PolicyRailSecurityAnalyzer",
    "ToolShieldLLMSecurityAnalyzer",
];

/// Body of `POST /api/conversations/{id}/confirmation_policy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SetConfirmationPolicy {
    /// The new policy.
    pub policy: ConfirmationPolicy,
}

/// Body of `POST /api/conversations/{id}/security_analyzer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SetSecurityAnalyzer {
    /// The new analyzer, or null for none.
    pub security_analyzer: Option<SecurityAnalyzer>,
}

/// Body of `POST /api/conversations/{id}/events/respond_to_confirmation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfirmationResponse {
    /// Whether the pending actions may run.
    pub accept: bool,
    /// Why not; the model reads it.
    #[serde(default = "default_reason")]
    pub reason: String,
}

fn default_reason() -> String {
    "User rejected the action.".to_owned()
}
