//! The filter of Resource Manager's own list of resources: `name eq 'web' and location eq 'westus2'`.

use super::answer::Result;
use super::error::ArmError;
use super::id::{ResourceId, same};
use crate::state::Resource;

/// Conditions that all have to hold. Without any, everything is taken.
#[derive(Debug, Default)]
pub(crate) struct Filter(Vec<(Field, String)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Group,
    Type,
    Name,
    Location,
    TagName,
    /// Of the tag that another condition names; of any without one.
    TagValue,
}

impl Filter {
    /// Reads a `$filter`. Only `eq` joined by `and` is known here; Azure also has `ne`, `or`,
    /// `substringof` and `startswith`.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self> {
        let mut conditions = Vec::new();
        let mut rest = text.unwrap_or_default().trim();
        while !rest.is_empty() {
            let (condition, after) = condition(rest).ok_or_else(|| {
                ArmError::not_implemented(format!(
                    "the filter \"{}\"; it has \"FIELD eq 'VALUE'\", joined by \"and\"",
                    text.unwrap_or_default()
                ))
            })?;
            conditions.push(condition);
            rest = after;
        }
        Ok(Self(conditions))
    }

    pub(crate) fn takes(&self, resource: &Resource) -> bool {
        let id = ResourceId::parse(&resource.id);
        let text = |field: &str| resource.body[field].as_str().unwrap_or_default();
        self.0.iter().all(|(field, value)| match field {
            Field::Group => id.as_ref().is_some_and(|id| same(&id.group, value)),
            Field::Type => same(text("type"), value),
            Field::Name => same(text("name"), value),
            Field::Location => same(text("location"), &value.replace(' ', "")),
            Field::TagName => self.tags(resource).next().is_some(),
            Field::TagValue => self.tags(resource).any(|tag| tag == value),
        })
    }

    /// The values of the tags that the filter is about.
    fn tags<'a>(&self, resource: &'a Resource) -> impl Iterator<Item = &'a str> {
        let wanted = self
            .0
            .iter()
            .find(|(field, _)| *field == Field::TagName)
            .map(|(_, name)| name.clone());
        resource.body["tags"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(move |(name, _)| wanted.as_ref().is_none_or(|wanted| same(name, wanted)))
            .filter_map(|(_, value)| value.as_str())
    }
}

/// One condition at the beginning of a text, and what comes after it and its `and`.
fn condition(text: &str) -> Option<((Field, String), &str)> {
    let (name, rest) = text.split_once(' ')?;
    let field = match name.to_ascii_lowercase().as_str() {
        "resourcegroup" => Field::Group,
        "resourcetype" => Field::Type,
        "name" => Field::Name,
        "location" => Field::Location,
        "tagname" => Field::TagName,
        "tagvalue" => Field::TagValue,
        _ => return None,
    };
    let mut rest = rest.trim_start().strip_prefix("eq ")?.trim_start();
    rest = rest.strip_prefix('\'')?;
    // A quote inside of a value is written twice.
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        value.push_str(part);
        rest = after;
        match rest.strip_prefix('\'') {
            Some(after) => {
                value.push('\'');
                rest = after;
            }
            None => break,
        }
    }
    let rest = rest.trim_start();
    if rest.is_empty() {
        return Some(((field, value), rest));
    }
    let next = rest.strip_prefix("and ")?.trim_start();
    (!next.is_empty()).then_some(((field, value), next))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::Inner;

    fn disk() -> Resource {
        Resource {
            id: "/subscriptions/s/resourceGroups/G/providers/Microsoft.Compute/disks/web"
                .to_owned(),
            body: json!({
                "name": "web", "type": "Microsoft.Compute/disks", "location": "westus2",
                "tags": { "owner": "it's me", "a": "b" },
            }),
            inner: Inner::Plain,
        }
    }

    #[test]
    fn every_condition_has_to_hold() {
        for (filter, takes) in [
            ("resourceGroup eq 'g'", true),
            ("resourceGroup eq 'h'", false),
            ("resourceType eq 'microsoft.compute/disks'", true),
            ("resourceType eq 'Microsoft.Compute/images'", false),
            ("name eq 'WEB' and location eq 'West US 2'", true),
            ("name eq 'web' and location eq 'eastus'", false),
            ("tagname eq 'A'", true),
            ("tagName eq 'c'", false),
            ("tagName eq 'a' and tagValue eq 'b'", true),
            ("tagName eq 'owner' and tagValue eq 'b'", false),
            ("tagValue eq 'it''s me'", true),
            ("", true),
        ] {
            let parsed = Filter::parse(Some(filter)).unwrap();
            assert_eq!(parsed.takes(&disk()), takes, "{filter}");
        }
        assert!(Filter::parse(None).unwrap().takes(&disk()));
    }

    #[test]
    fn what_is_not_known_is_refused_and_not_passed_over() {
        for filter in [
            "name ne 'web'",
            "name eq 'web' or name eq 'db'",
            "substringof('w', name)",
            "colour eq 'red'",
            "name eq 'web",
            "name eq 'web' and",
        ] {
            let refused = Filter::parse(Some(filter)).unwrap_err();
            assert_eq!(refused.code, "NotImplemented", "{filter}");
        }
    }
}
