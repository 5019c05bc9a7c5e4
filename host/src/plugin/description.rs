//! What a plugin says of itself.

use super::bindings::exports::tidegate::plugin::plugin::Description as Described;
use super::load::{LoadError, LoadOptions};
use crate::aggregate::STATE_VERSION;
use crate::config;
use crate::limits::{PLUGIN_TOPICS_MAX, PLUGIN_VERSION_BYTES_MAX};

/// A plugin's description, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub name: String,
    pub version: String,
    pub publishes: Vec<String>,
    pub uses_state: bool,
    pub state_version: u32,
}

impl Description {
    /// Checks the description of an upcaster or an aggregate, which can be granted neither state nor topics.
    pub(super) fn check_pure(described: Described) -> Result<Self, LoadError> {
        let description = Self::checked(described)?;
        if description.uses_state || !description.publishes.is_empty() {
            return Err(LoadError::NotPure { plugin: description.name });
        }
        Ok(description)
    }

    /// Checks a description, and what it asks for against what is granted.
    pub(super) fn check(described: Described, options: &LoadOptions) -> Result<Self, LoadError> {
        if options.is_aggregate {
            return Self::check_pure(described);
        }
        let description = Self::checked(described)?;
        let granted = &options.grants.publish;
        let publish: Vec<_> =
            description.publishes.iter().filter(|topic| !granted.contains(*topic)).cloned().collect();
        let state = description.uses_state && !options.grants.state;
        if state || !publish.is_empty() {
            let consumer = options.consumer.to_string();
            return Err(LoadError::NotGranted { plugin: description.name, consumer, publish, state });
        }
        Ok(description)
    }

    /// Checks what it says by itself.
    fn checked(described: Described) -> Result<Self, LoadError> {
        check_name("name", &described.name)?;
        check_version(&described.version)?;
        if described.publishes.len() > PLUGIN_TOPICS_MAX {
            return problem(format!(
                "{} topics to publish to; at most {PLUGIN_TOPICS_MAX} are allowed",
                described.publishes.len()
            ));
        }
        for topic in &described.publishes {
            check_name("topic", topic)?;
        }
        if described.state_version == STATE_VERSION {
            return problem(format!(
                "the state version {STATE_VERSION}, which is the host's own: take another one"
            ));
        }
        Ok(Self {
            name: described.name,
            version: described.version,
            publishes: described.publishes,
            uses_state: described.uses_state,
            state_version: described.state_version,
        })
    }
}

/// A name is in metrics and log lines, and a topic's in the configuration: both follow the grammar of names, so that neither
/// holds a path or a control character.
fn check_name(what: &str, name: &str) -> Result<(), LoadError> {
    config::check_name(name).or_else(|error| problem(format!("a wrong {what}: {error}")))
}

/// The form of Semantic Versioning 2.0.0: three numbers, then perhaps a pre-release and a build.
fn check_version(version: &str) -> Result<(), LoadError> {
    if version.len() > PLUGIN_VERSION_BYTES_MAX {
        return problem(format!(
            "a version of {} bytes; at most {PLUGIN_VERSION_BYTES_MAX} are allowed",
            version.len()
        ));
    }
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let is_number = |part: &str| part.parse::<u64>().is_ok_and(|number| number.to_string() == part);
    let is_label = |label: &str| {
        label.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
    };
    if core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre.is_none_or(is_label)
        && build.is_none_or(is_label)
    {
        return Ok(());
    }
    problem(format!("the version {version:?}; a version is like `1.2.3` (Semantic Versioning 2.0.0)"))
}

fn problem<T>(problem: String) -> Result<T, LoadError> {
    Err(LoadError::Description { problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_semantic_versioning() {
        for version in ["0.1.0", "1.2.3", "10.20.30", "1.0.0-alpha.1", "1.0.0+20130313", "1.0.0-rc.1+5.sha-a"]
        {
            assert!(check_version(version).is_ok(), "{version}");
        }
        for version in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "+1.2.3",
            "1.2.x",
            "1.2.3-",
            "1.2.3+",
            "1.2.3-a..b",
            "v1.2.3",
        ] {
            assert!(check_version(version).is_err(), "{version:?}");
        }
        assert!(check_version(&format!("1.2.{}", "3".repeat(PLUGIN_VERSION_BYTES_MAX))).is_err());
    }
}
