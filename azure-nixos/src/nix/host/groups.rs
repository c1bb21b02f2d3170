//! The groups of users on this machine.

const GROUPS: &str = "/etc/group";

/// What `/etc/group` says. Groups that come from elsewhere are not seen.
#[derive(Debug, Default)]
pub(super) struct Groups(Vec<Group>);

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) id: u32,
    pub(super) members: Vec<String>,
}

impl Groups {
    /// Reads the file; one that cannot be read says nothing. It blocks.
    pub(super) fn read() -> Self {
        Self::parse(&std::fs::read_to_string(GROUPS).unwrap_or_default())
    }

    pub(super) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let id = fields.nth(1)?.parse().ok()?;
            let members = fields.next().unwrap_or_default().split(',');
            let members = members.map(str::trim).filter(|member| !member.is_empty());
            Some(Group {
                name,
                id,
                members: members.map(str::to_owned).collect(),
            })
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// The group of a number.
    pub(super) fn of(&self, id: u32) -> Option<&Group> {
        self.0.iter().find(|group| group.id == id)
    }

    /// The users of a group; none where there is no such group.
    pub(super) fn members(&self, name: &str) -> Vec<String> {
        let group = self.0.iter().find(|group| group.name == name);
        group.map(|group| group.members.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_lines_of_four_fields() {
        let groups =
            Groups::parse("root:x:0:\nnixbld:x:30000:nixbld1, nixbld2\nbroken\nkvm:x:104\n");
        assert_eq!(groups.members("nixbld"), ["nixbld1", "nixbld2"]);
        assert_eq!(groups.members("root").len(), 0);
        assert_eq!(groups.members("none").len(), 0);
        assert_eq!(groups.of(104).unwrap().name, "kvm");
        assert!(groups.of(1).is_none());
    }
}
