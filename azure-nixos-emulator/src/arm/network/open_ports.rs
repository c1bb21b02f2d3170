//! Which ports of a machine its security groups open to the internet.

use serde_json::Value;

/// The most ports of a machine that are opened; further ones stay closed.
const MOST: usize = 16;

/// The TCP ports that rules name one by one, and 22 where a range has it, as far as every group
/// lets them in. Without a group a Basic address is open and any other closed, as in Azure; open
/// means 22 then, as there is no rule that names another.
pub(crate) fn open_ports<'a>(groups: impl Iterator<Item = &'a Value>, is_basic: bool) -> Vec<u16> {
    let groups: Vec<Vec<&Value>> = groups.map(inbound).collect();
    if groups.is_empty() {
        return if is_basic { vec![22] } else { Vec::new() };
    }
    let mut ports: Vec<u16> = groups
        .iter()
        .flatten()
        .flat_map(|rule| ranges(rule))
        .filter_map(|range| range.parse().ok())
        .chain([22])
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports.retain(|port| *port > 0 && groups.iter().all(|rules| lets_in(rules, *port)));
    ports.truncate(MOST);
    ports
}

/// The properties of the inbound rules of a group, the first to count first.
fn inbound(group: &Value) -> Vec<&Value> {
    let mut rules: Vec<&Value> = ["securityRules", "defaultSecurityRules"]
        .into_iter()
        .filter_map(|field| group["properties"][field].as_array())
        .flatten()
        .map(|rule| &rule["properties"])
        .filter(|rule| is(rule, "direction", "Inbound"))
        .collect();
    rules.sort_by_key(|rule| rule["priority"].as_u64());
    rules
}

fn lets_in(rules: &[&Value], port: u16) -> bool {
    rules
        .iter()
        .find(|rule| {
            let is_tcp = is(rule, "protocol", "*") || is(rule, "protocol", "Tcp");
            is_tcp && is_from_internet(rule) && ranges(rule).any(|range| has(range, port))
        })
        .is_some_and(|rule| is(rule, "access", "Allow"))
}

fn is(rule: &Value, field: &str, expected: &str) -> bool {
    rule[field]
        .as_str()
        .is_some_and(|value| value.eq_ignore_ascii_case(expected))
}

/// Whether a rule is about whoever connects here. Which address Azure would see nobody knows, so
/// any address or prefix is taken; tags of Azure's own networks are not, nor is IPv6, as who connects
/// here does so to an IPv4 address.
fn is_from_internet(rule: &Value) -> bool {
    texts(rule, "sourceAddressPrefix", "sourceAddressPrefixes").any(|source| {
        source == "*"
            || source.eq_ignore_ascii_case("Internet")
            || (source.starts_with(|first: char| first.is_ascii_digit()) && !source.contains(':'))
    })
}

fn ranges(rule: &Value) -> impl Iterator<Item = &str> {
    texts(rule, "destinationPortRange", "destinationPortRanges")
}

fn texts<'a>(rule: &'a Value, one: &str, many: &str) -> impl Iterator<Item = &'a str> {
    let many = rule[many].as_array().into_iter().flatten();
    std::iter::once(&rule[one])
        .chain(many)
        .filter_map(Value::as_str)
}

fn has(range: &str, port: u16) -> bool {
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    range == "*"
        || matches!((from.parse(), to.parse()), (Ok(from), Ok(to)) if (from..=to).contains(&port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(rules: &[(u64, &str, &str, &str)]) -> Value {
        let rules: Vec<Value> = rules
            .iter()
            .map(|(priority, access, source, ports)| {
                json!({ "properties": {
                    "priority": priority, "access": access, "direction": "Inbound", "protocol": "TCP",
                    "sourceAddressPrefix": source, "destinationPortRange": ports,
                    "destinationPortRanges": ["8080"],
                }})
            })
            .collect();
        json!({ "properties": { "securityRules": rules, "defaultSecurityRules": [{ "properties": {
            "priority": 65500, "access": "Deny", "direction": "Inbound", "protocol": "*",
            "sourceAddressPrefix": "*", "destinationPortRange": "*",
        }}]}})
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let open =
            |rules: &[(u64, &str, &str, &str)]| open_ports([&group(rules)].into_iter(), true);
        assert_eq!(open(&[(1000, "Allow", "*", "22")]), [22, 8080]);
        assert_eq!(open(&[(1000, "Allow", "10.1.2.3/32", "*")]), [22, 8080]);
        assert_eq!(open(&[(1000, "Allow", "VirtualNetwork", "22")]), [0_u16; 0]);
        assert_eq!(open(&[(1000, "Allow", "Internet", "80-90")]), [8080]);
        assert_eq!(open(&[(1000, "Allow", "2001:db8::/32", "22")]), [0_u16; 0]);
        let denied = [(1000, "Allow", "*", "*"), (900, "Deny", "*", "20-25")];
        assert_eq!(open(&denied), [0_u16; 0]);
        assert_eq!(open(&[]), [0_u16; 0]);
    }

    #[test]
    fn every_group_has_to_let_in_and_none_is_open_or_closed() {
        let (ssh, web) = (
            group(&[(1, "Allow", "*", "22")]),
            group(&[(1, "Allow", "*", "80")]),
        );
        assert_eq!(open_ports([&ssh, &web].into_iter(), true), [8080]);
        assert_eq!(open_ports([].into_iter(), true), [22]);
        assert_eq!(open_ports([].into_iter(), false), [0_u16; 0]);
    }
}
