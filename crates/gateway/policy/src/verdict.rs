//! What a judgement says: allow, rewrite or deny with the field, the reason and the policy key.

use std::fmt;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The HTTP status that the client gets.
    pub status: u16,
    /// The field, parameter or endpoint.
    pub field: String,
    /// Why.
    pub reason: String,
    /// The policy key that would allow it.
    pub key: Option<&'static str>,
    /// What that key would have to be, or to have in its list.
    pub needs: Option<String>,
}

impl Denied {
    /// Refused by policy.
    pub fn policy(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { status: 403, field: field.into(), reason: reason.into(), key: None, needs: None }
    }

    /// Not understood, hence refused.
    pub fn bad(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { status: 400, ..Self::policy(field, reason) }
    }

    /// Absent, or somebody else's: the two look the same. The texts are the engine's own.
    pub fn absent(kind: &str, name: &str) -> Self {
        let reason = match kind {
            "container" => format!("No such container: {name}"),
            "image" => format!("No such image: {name}"),
            "network" => format!("network {name} not found"),
            "volume" => format!("get {name}: no such volume"),
            "exec" => format!("No such exec instance: {name}"),
            other => format!("no such {other}: {name}"),
        };
        Self { status: 404, ..Self::policy("", reason) }
    }

    /// Names the policy key that would allow it.
    #[must_use]
    pub fn key(mut self, key: &'static str) -> Self {
        self.key = Some(key);
        self
    }

    /// Says what the key would have to be.
    #[must_use]
    pub fn needs(mut self, value: impl ToString) -> Self {
        self.needs = Some(value.to_string());
        self
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.status == 404 && self.field.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "chitin gateway: {}: {}", self.field, self.reason)?;
        match self.key {
            Some(key) => write!(f, " (policy key that allows it: {key})"),
            None => f.write_str(" (no policy key allows it)"),
        }
    }
}

impl std::error::Error for Denied {}

/// A judgement; what is forwarded is always the rebuilt value inside.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<T> {
    /// The rebuilt request means what the client asked for.
    Allow(T),
    /// Something was forced, renamed or bounded.
    Rewrite(T),
    /// Refused.
    Deny(Denied),
}

impl<T> Verdict<T> {
    /// What is to be forwarded.
    pub fn forward(self) -> Result<T, Denied> {
        match self {
            Self::Allow(t) | Self::Rewrite(t) => Ok(t),
            Self::Deny(d) => Err(d),
        }
    }
}
