//! The `$filter` of the list of all resources.

use serde_json::Value;

use super::answer::Result;
use super::error::ArmError;
use super::id::ResourceId;

/// What a filter asks for: each of its comparisons.
pub(crate) struct ResourceFilter(Vec<(Field, String)>);

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Group,
    Kind,
    Name,
    Location,
    TagName,
    TagValue,
}

impl ResourceFilter {
    /// Comparisons by `eq` with `and` between them, which is what clients send.
    pub(crate) fn parse(filter: Option<&str>) -> Result<Self> {
        let mut wanted = Vec::new();
        let filter = filter.map(str::trim).filter(|filter| !filter.is_empty());
        for part in filter.into_iter().flat_map(|filter| filter.split(" and ")) {
            let words: Vec<&str> = part.trim().splitn(3, ' ').collect();
            let refused = || {
                ArmError::not_implemented(format!("the filter \"{part}\" of the list of resources"))
            };
            let [field, operator, value] = words[..] else {
                return Err(refused());
            };
            let field = match field.to_ascii_lowercase().as_str() {
                "resourcegroup" => Field::Group,
                "resourcetype" => Field::Kind,
                "name" => Field::Name,
                "location" => Field::Location,
                "tagname" => Field::TagName,
                "tagvalue" => Field::TagValue,
                _ => return Err(refused()),
            };
            let value = value
                .trim()
                .strip_prefix('\'')
                .and_then(|value| value.strip_suffix('\''))
                .filter(|_| operator.eq_ignore_ascii_case("eq"))
                .ok_or_else(refused)?;
            wanted.push((field, value.replace("''", "'")));
        }
        Ok(Self(wanted))
    }

    /// Whether a resource is one of those asked for.
    pub(crate) fn leaves(&self, id: &ResourceId, body: &Value) -> bool {
        let tag_name = self
            .0
            .iter()
            .find(|(field, _)| *field == Field::TagName)
            .map(|(_, name)| name.as_str());
        self.0.iter().all(|(field, value)| match field {
            Field::Group => id.group.eq_ignore_ascii_case(value),
            Field::Kind => id.kind.full().eq_ignore_ascii_case(value),
            Field::Name => id.leaf().eq_ignore_ascii_case(value),
            Field::Location => body["location"]
                .as_str()
                .is_some_and(|is| is.eq_ignore_ascii_case(&value.replace(' ', ""))),
            Field::TagName => tags(body).any(|(name, _)| name.eq_ignore_ascii_case(value)),
            Field::TagValue => tags(body).any(|(name, is)| {
                is == value && tag_name.is_none_or(|wanted| name.eq_ignore_ascii_case(wanted))
            }),
        })
    }
}

fn tags(body: &Value) -> impl Iterator<Item = (&String, &Value)> {
    body["tags"].as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_comparison_counts() {
        let id = ResourceId::parse(
            "/subscriptions/s/resourceGroups/Rg/providers/Microsoft.Compute/disks/Os",
        )
        .unwrap();
        let body = json!({ "location": "westus2", "tags": { "a": "b", "c": "it's" } });
        for (filter, is) in [
            ("resourceGroup eq 'rg'", true),
            ("resourceGroup eq 'other'", false),
            (
                "resourceType eq 'microsoft.compute/DISKS' and name eq 'os'",
                true,
            ),
            ("name eq 'os' and location eq 'West US 2'", true),
            ("tagName eq 'a' and tagValue eq 'b'", true),
            ("tagName eq 'a' and tagValue eq 'it''s'", false),
            ("tagName eq 'c' and tagValue eq 'it''s'", true),
            ("tagName eq 'd'", false),
        ] {
            let parsed = ResourceFilter::parse(Some(filter)).unwrap();
            assert_eq!(parsed.leaves(&id, &body), is, "{filter}");
        }
        assert!(ResourceFilter::parse(None).unwrap().leaves(&id, &body));
        for bad in [
            "startswith(name, 'a')",
            "name ne 'a'",
            "name eq a",
            "plan eq 'a'",
        ] {
            assert!(ResourceFilter::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
